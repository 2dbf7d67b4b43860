"""The product as a user runs it: a process with an environment, an exit code and lines on stderr."""

import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Self

from tests.sandbox.processes import REPOSITORY, eventually

READY_SECONDS = 60.0
STOP_SECONDS = 30.0


class WorkerProcess:
    """One process of the product, killed by the kernel when the tests end."""

    def __init__(self, folder: Path, environment: Mapping[str, str], script: str = "main.py") -> None:
        """Starts a script with this environment and nothing of ours; `folder` takes its output."""
        folder.mkdir(parents=True)
        self._output = folder / "output"
        self.log_folder = folder / "logs"
        surroundings = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "LOG_DIR": str(self.log_folder)}
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", sys.executable, script],
                cwd=REPOSITORY,
                env=surroundings | dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Ends it in order: the poll of one that is killed goes on and locks the next test's tasks for nobody."""
        with suppress(subprocess.TimeoutExpired):
            self.stop()
        self.kill()

    def lines(self, *words: str) -> list[str]:
        """Returns the lines printed so far that hold all the words."""
        lines = self.output.splitlines()
        return [line for line in lines if all(word in line for word in words)]

    @property
    def output(self) -> str:
        """All that was printed so far."""
        return self._output.read_text(encoding="utf-8")

    def running(self) -> bool:
        return self._process.poll() is None

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait_for(self, *words: str, count: int = 1, seconds: float = READY_SECONDS) -> list[str]:
        """Waits until that many lines hold all the words, and returns them."""
        wanted = eventually(lambda: len(self.lines(*words)) >= count or not self.running(), seconds=seconds)
        lines = self.lines(*words)
        assert wanted, self.output
        assert len(lines) >= count, self.output
        return lines

    def wait_connected(self) -> Self:
        """Waits until all its connections to the broker are open."""
        self.wait_for("connected to RabbitMQ", count=3)
        return self

    def exit_code(self, *, seconds: float = STOP_SECONDS) -> int:
        """Waits until the process ends by itself, and returns its exit code."""
        return self._process.wait(timeout=seconds)

    def terminate(self) -> None:
        """Sends SIGTERM."""
        self._process.send_signal(signal.SIGTERM)

    def reload(self) -> None:
        """Sends SIGHUP."""
        self._process.send_signal(signal.SIGHUP)

    def stop(self) -> tuple[int, float]:
        """Ends the process as systemd does; returns the exit code and the seconds that it took."""
        asked = time.monotonic()
        self.terminate()
        return self.exit_code(), time.monotonic() - asked

    def kill(self) -> None:
        if self.running():
            self._process.kill()
        self._process.wait()
