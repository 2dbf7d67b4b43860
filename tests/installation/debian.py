"""A fresh Debian in a folder: programs run there as on a machine of their own, with this machine's network."""

import os
import shutil
import subprocess
from pathlib import Path

from sandbox.cache import cache_folder, only_builder
from sandbox.debian_mirror import mirror
from tests.sandbox.processes import REPOSITORY

RELEASE = "bookworm"
PACKAGES = "ca-certificates,systemd,python3,python3-venv"
SOURCE = "/root/camunda-worker"
STAND_IN = Path(__file__).with_name("systemctl")
# Mounts for this process alone.
ENTER = (
    'root=$1; shift; for place in /dev /proc; do mount --rbind "$place" "$root$place"; done; '
    'exec /usr/sbin/chroot "$root" "$@"'
)
SECONDS = 600


class Debian:
    """A copy of a Debian that was made once, with a checkout of the worker in /root/camunda-worker."""

    def __init__(self, root: Path) -> None:
        self.root = root
        subprocess.run(["cp", "-a", str(_made_once()), str(root)], check=True)
        (root / "run/systemd/system").mkdir(parents=True)  # as if systemd ran
        shutil.copy(STAND_IN, root / "usr/bin/systemctl")  # apt looks nowhere else
        self._lend("/etc/pip.conf", "/etc/resolv.conf", os.environ.get("PIP_CERT", ""))
        checkout = root / SOURCE.lstrip("/")
        checkout.mkdir(parents=True)
        listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        files = subprocess.run(listed, cwd=REPOSITORY, check=True, capture_output=True).stdout
        packed = ["tar", "-c", "--null", "-T", "-"]
        content = subprocess.run(packed, cwd=REPOSITORY, check=True, input=files, capture_output=True).stdout
        subprocess.run(["tar", "-x", "-C", str(checkout)], check=True, input=content)

    def _lend(self, *files: str) -> None:
        """Give it what this machine needs to get Python packages."""
        for name in files:
            if name and Path(name).is_file():
                place = self.root / name.lstrip("/")
                place.parent.mkdir(parents=True, exist_ok=True)
                place.unlink(missing_ok=True)
                shutil.copy(name, place)

    def file(self, name: str) -> Path:
        """Return where a file of it lies here."""
        return self.root / name.lstrip("/")

    def run(self, command: str, *, user: str = "root", **settings: str) -> subprocess.CompletedProcess[str]:
        """Run a line of shell as a user, with these variables alone, in its checkout."""
        usual = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
        usual |= {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": "/root",
            "LANG": "C.UTF-8",
        }
        inside = [] if user == "root" else ["setpriv", f"--reuid={user}", "--clear-groups"]
        return subprocess.run(
            [
                "unshare",
                "--mount",
                "sh",
                "-c",
                ENTER,
                "sh",
                str(self.root),
                *inside,
                "sh",
                "-c",
                f"cd {SOURCE}; {command}",
            ],
            env=usual | settings,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )


def _made_once() -> Path:
    folder = cache_folder() / f"debian-{RELEASE}"
    root = folder / "root"
    if not root.exists():
        with only_builder(folder):
            if not root.exists():
                print(f"making a Debian {RELEASE} in {folder}, once", flush=True)
                part = folder / "part"
                shutil.rmtree(part, ignore_errors=True)
                command = [
                    "debootstrap",
                    "--variant=minbase",
                    f"--include={PACKAGES}",
                    RELEASE,
                    str(part),
                    mirror(),
                ]
                subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
                part.replace(root)
    return root
