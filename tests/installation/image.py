"""The image of the Containerfile, built without a daemon, and a container of it.

buildah builds it. Its root filesystem is entered by chroot, read-only, as the user, with the variables and in the
folder that the image names: an OCI runtime would need control groups, which a machine of tests may not have.
"""

import json
import subprocess
from pathlib import Path

from tests.installation.debian import SOURCE, Debian

ENTER = (
    'root=$1; folder=$2; shift 2; mount --bind "$root" "$root"; mount -o remount,bind,ro "$root"; '
    'for place in /dev /proc; do mount --rbind "$place" "$root$place"; done; '
    'exec /usr/sbin/chroot "$root" /usr/bin/env -C "$folder" "$@"'
)
BASE = "localhost/fresh-debian"
NAME = "localhost/camunda-worker"
SECONDS = 60


class Image:
    """The image, built on the Debian that is given; its files are kept in a folder."""

    def __init__(self, debian: Debian, folder: Path) -> None:
        self._storage = [f"--root={folder}/storage", f"--runroot={folder}/run", "--storage-driver=overlay"]
        checkout = debian.file(SOURCE).rename(folder / "checkout")
        base = self._buildah("from", "scratch")
        self._buildah("add", "--quiet", base, str(debian.root), "/")
        self._buildah("commit", "--quiet", "--rm", base, BASE)
        options = ["--isolation=chroot", "--format=docker", f"--build-arg=BASE={BASE}", f"--tag={NAME}"]
        self._buildah("build", "--quiet", *options, str(checkout))
        self.config = json.loads(self._buildah("inspect", "--type=image", NAME))["Docker"]["config"]
        self._container = self._buildah("from", NAME)
        self._root = self._buildah("mount", self._container)

    def _buildah(self, *words: str) -> str:
        done = subprocess.run(["buildah", *self._storage, *words], capture_output=True, text=True)
        assert done.returncode == 0, f"buildah {words[0]}: {done.stdout[-2000:]}{done.stderr[-4000:]}"
        return done.stdout.strip()

    def close(self) -> None:
        self._buildah("rm", self._container)

    def start(self, settings: dict[str, str]) -> subprocess.Popen[str]:
        """Start what the image starts, with these variables besides its own."""
        words = self._inside(settings, self.config["Entrypoint"])
        return subprocess.Popen(words, stderr=subprocess.PIPE, text=True)

    def run(self, settings: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
        """Run something beside it."""
        return subprocess.run(self._inside(settings, words), capture_output=True, text=True, timeout=SECONDS)

    def _inside(self, settings: dict[str, str], words: "list[str] | tuple[str, ...]") -> list[str]:
        user, _, group = self.config["User"].partition(":")
        unprivileged = ["setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups", "--no-new-privs"]
        unprivileged += ["--bounding-set=-all", "--inh-caps=-all"]
        variables = [*self.config["Env"], *(f"{name}={value}" for name, value in settings.items())]
        enter = ["unshare", "--mount", "sh", "-c", ENTER, "sh", self._root, self.config["WorkingDir"]]
        return [*enter, "-i", *variables, *unprivileged, *words]
