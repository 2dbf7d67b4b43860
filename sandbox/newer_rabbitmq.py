"""RabbitMQ of the next Debian release, beside the installed one: in a folder of its own."""

import subprocess
import tempfile
from pathlib import Path

from sandbox.cache import cache_folder, only_builder
from sandbox.debian_mirror import mirror
from sandbox.errors import SandboxError

_RELEASE = "trixie"
# The server, and what a shell script of Debian's takes for granted.
_PACKAGES = (
    "rabbitmq-server", "bash", "dash", "coreutils", "sed", "grep", "mawk", "findutils", "hostname", "util-linux",
)  # fmt: skip
_MERGED = ("bin", "lib", "lib64", "sbin")  # which Debian has as links into /usr
_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
# Mounts for this process alone, which sees the machine's own devices, processes and temporary files in there.
_ENTER = (
    'root=$1; shift; for place in /dev /proc "$TMPDIR"; do mkdir -p "$root$place"; '
    'mount --rbind "$place" "$root$place"; done; exec /usr/sbin/chroot "$root" "$@"'
)


def within(program: list[str]) -> list[str]:
    """Returns the command that runs a program there, and becomes it; `TMPDIR` is the same folder inside."""
    root = _root()
    return ["unshare", "--mount", "--map-root-user", "sh", "-c", _ENTER, "sh", str(root), *program]


def _root() -> Path:
    """Returns the folder; the first call takes as long as apt's downloads."""
    folder = cache_folder() / f"rabbitmq-{_RELEASE}"
    root = folder / "root"
    if not root.exists():
        with only_builder(folder):
            if not root.exists():
                _build(folder, root)
    return root


def _build(folder: Path, root: Path) -> None:
    print(f"sandbox: unpacking RabbitMQ of Debian {_RELEASE} into {folder}, once (70 MB of downloads)", flush=True)
    with tempfile.TemporaryDirectory(dir=folder) as name:
        packages = _download(Path(name))
        unpacked = Path(name) / "root"
        for place in _MERGED:
            (unpacked / "usr" / place).mkdir(parents=True)
            (unpacked / place).symlink_to(f"usr/{place}")
        for package in packages:
            _run(f"dpkg-deb --fsys-tarfile {package} | tar -x -C {unpacked} --keep-directory-symlink", shell=True)
        unpacked.replace(root)


def _download(folder: Path) -> list[Path]:
    """Returns the packages and all that they need, fetched with an apt that knows nothing of this machine's."""
    for part in ("state/lists/partial", "cache/archives/partial"):
        (folder / part).mkdir(parents=True)
    (folder / "sources.list").write_text(f"deb [signed-by={_KEYRING}] {mirror()} {_RELEASE} main\n")
    options = {
        "Dir::State": folder / "state",
        "Dir::State::status": "/dev/null",
        "Dir::Cache": folder / "cache",
        "Dir::Etc::SourceList": folder / "sources.list",
        "Dir::Etc::SourceParts": "/dev/null",
        "APT::Sandbox::User": "root",
    }
    apt = ["apt-get", "-qq", *(f"-o{name}={value}" for name, value in options.items())]
    _run([*apt, "update"])
    _run([*apt, "-y", "--download-only", "--no-install-recommends", "install", *_PACKAGES])
    return sorted((folder / "cache/archives").glob("*.deb"))


def _run(command: str | list[str], *, shell: bool = False) -> None:
    done = subprocess.run(command, shell=shell, capture_output=True, text=True)
    if done.returncode != 0:
        raise SandboxError(f"RabbitMQ of {_RELEASE} cannot be unpacked: {(done.stderr or done.stdout).strip()}")
