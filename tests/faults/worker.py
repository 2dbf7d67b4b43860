"""The worker under test: a process of its own, watched and hit only from outside."""

import os
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sandbox.children import Child

ROOT = Path(__file__).resolve().parents[2]
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
PASSED_ON = ("PATH", "HOME", "LANG", "TMPDIR")


@dataclass(frozen=True, slots=True)
class Usage:
    """What the process has used and written up to a moment on the monotonic clock."""

    moment: float
    cpu_seconds: float
    log_lines: int

    def since(self, before: "Usage") -> tuple[float, float]:
        """Return the share of one core and the log lines per second since `before`."""
        seconds = max(0.001, self.moment - before.moment)
        return (self.cpu_seconds - before.cpu_seconds) / seconds, (self.log_lines - before.log_lines) / seconds


class Worker:
    """One worker process. `part` names one of the components; `spoilt` is what the launcher does to it."""

    def __init__(
        self,
        folder: Path,
        name: str,
        settings: Mapping[str, str],
        *,
        part: str = "main",
        spoilt: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.is_wanted = False
        self.stop_seconds = 0.0
        self.log = folder / f"{name}.log"
        self._part = part
        self._spoilt = dict(spoilt or {})
        inherited = {key: os.environ[key] for key in PASSED_ON if key in os.environ}
        self._environment = {**inherited, **settings, **self._spoilt, "PYTHONPATH": str(ROOT)}
        self._environment["LOG_DIR"] = str(folder / f"{name}-logs")
        self._child: Child | None = None

    def start(self) -> None:
        """Start the process. Only from the main thread."""
        self.is_wanted = True
        command = [sys.executable, "-m", "tests.faults.launcher", self._part]
        if not self._spoilt:
            command = [sys.executable, str(ROOT / f"{self._part}.py")]
        self._child = Child(self.name, command, environment=self._environment, log=self.log)

    @property
    def pid(self) -> int:
        """The process's own pid."""
        return self._process().pid

    def running(self) -> bool:
        """Whether the process runs."""
        return self._child is not None and self._child.running()

    @property
    def exit_code(self) -> int | None:
        """The exit code of a process that has ended."""
        return self._process().exit_code

    def kill(self) -> None:
        """End the process as a power cut would."""
        self.is_wanted = False
        if self._child is not None:
            self._child.kill()

    def stop(self) -> None:
        """Ask the process to end and wait for it; note the seconds it took."""
        self.is_wanted = False
        begun = time.monotonic()
        self._process().stop()
        self.stop_seconds = max(self.stop_seconds, time.monotonic() - begun)

    def freeze(self) -> None:
        """Stop the process's clock, as a paused machine does."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let the process go on."""
        os.kill(self.pid, signal.SIGCONT)

    def text(self) -> str:
        """Return the log of all runs of this worker so far."""
        return self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""

    def usage(self) -> Usage:
        """Return what the process has used so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        cpu_seconds = (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND
        return Usage(time.monotonic(), cpu_seconds, self.text().count("\n"))

    def memory_kb(self) -> int:
        """Return the resident memory."""
        return self._status("VmRSS")

    def peak_memory_kb(self) -> int:
        """Return the most resident memory so far."""
        return self._status("VmHWM")

    def threads(self) -> int:
        """Return how many threads the process has."""
        return self._status("Threads")

    def open_files(self) -> int:
        """Return how many file descriptors the process holds."""
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    def _status(self, name: str) -> int:
        for line in Path(f"/proc/{self.pid}/status").read_text(encoding="utf-8").splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1])
        raise LookupError(name)

    def _process(self) -> Child:
        assert self._child is not None, f"{self.name} was not started"
        return self._child
