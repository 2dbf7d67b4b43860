"""A PostgreSQL server of one's own, apart from any of the machine, for engines to share."""

import os
import shutil
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

from sandbox.children import Child
from sandbox.errors import SandboxError
from sandbox.ports import LOOPBACK, accepts_connections, free_ports
from sandbox.runs import Run

_VERSIONS = Path("/usr/lib/postgresql")
_BOOT_SECONDS = 60.0


class Postgres:
    """The server's process; its data are gone with the run's folder. Everybody on this machine may log in."""

    username = "camunda"

    def __init__(self, run: Run) -> None:
        """Prepares a port and a folder; starts nothing."""
        self._run = run
        self._folder = run.folder / "postgres"
        (self.port,) = free_ports(1)
        self._child: Child | None = None

    @property
    def url(self) -> str:
        """The database for Java."""
        return f"jdbc:postgresql://{LOOPBACK}:{self.port}/postgres"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._child is not None:
            self._child.kill()

    def start(self) -> None:
        """Makes the data folder and starts the server; returns when it takes connections."""
        self._folder.mkdir()
        if os.getuid() == 0:  # which PostgreSQL refuses to be
            shutil.chown(self._folder, "postgres")
            self._run.folder.chmod(0o711)
        initdb = [str(_program("initdb")), "-D", str(self._folder), "-U", self.username, "-A", "trust", "-N"]
        done = subprocess.run([*_as_nobody_special(), *initdb], capture_output=True, text=True)
        if done.returncode != 0:
            raise SandboxError(f"initdb: {done.stderr.strip()}")
        server = [str(_program("postgres")), "-D", str(self._folder), "-p", str(self.port), "-h", LOOPBACK]
        # Nobody needs these data after a power cut.
        options = ["-c", "fsync=off", "-c", "max_connections=200", "-c", "unix_socket_directories="]
        command = [*_as_nobody_special(), *server, *options]
        self._child = self._run.start("postgres", command, {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"})
        self._child.wait_until(lambda: accepts_connections(self.port), seconds=_BOOT_SECONDS)


def _program(name: str) -> Path:
    found = sorted(_VERSIONS.glob(f"*/bin/{name}"))
    if not found:
        raise SandboxError("PostgreSQL is not installed: apt-get install postgresql")
    return found[-1]


def _as_nobody_special() -> list[str]:
    if os.getuid() != 0:
        return []
    return ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", "--pdeathsig", "KILL"]
