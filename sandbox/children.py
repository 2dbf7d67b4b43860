"""Server processes that never outlive the process that started them."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sandbox.errors import SandboxError

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_POLL_SECONDS = 0.05
# The kernel tells of no death that came before the asking: a starter killed meanwhile is not the parent any more.
_ONLY_WITH_STARTER = ("setpriv", "--pdeathsig", "KILL", "sh", "-c", '[ "$PPID" = "$0" ] && exec "$@"')


@dataclass(frozen=True)
class ProcessMark:
    """One process and no other: a pid alone may belong to a stranger by now."""

    pid: int
    started: str

    @classmethod
    def of(cls, pid: int) -> "ProcessMark":
        """Marks a process that runs; of one that does not, the mark is never alive."""
        return cls(pid, _start_of(pid))

    def alive(self) -> bool:
        """Says whether this very process still runs."""
        return self.started != "" and _start_of(self.pid) == self.started

    def send(self, number: signal.Signals) -> None:
        """Sends a signal to this very process, and does nothing if it is gone."""
        if self.alive():
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def wait_gone(self, seconds: float) -> bool:
        """Waits until the process is gone; False if it still runs after `seconds`."""
        deadline = time.monotonic() + seconds
        pause = threading.Event()
        while self.alive():
            if time.monotonic() > deadline:
                return False
            pause.wait(_POLL_SECONDS)
        return True


def _start_of(pid: int) -> str:
    """Returns when a process started, in ticks since a given boot; empty if it does not run."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else f"{_BOOT_ID.read_text()[:8]}-{fields[19]}"


class Child:
    """A server process, killed by the kernel when its starter ends, whatever ends it."""

    def __init__(self, name: str, command: Sequence[str], *, environment: Mapping[str, str], log: Path) -> None:
        """Starts the command with exactly this environment; its output is appended to `log`."""
        if threading.current_thread() is not threading.main_thread():
            # The kernel's parent is the thread that forked: the server would die with that thread.
            raise SandboxError(f"{name} must be started from the main thread")
        self.name = name
        self._log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [*_ONLY_WITH_STARTER, str(os.getpid()), *command],
                cwd=log.parent,  # a crash dump belongs beside the log
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C in the terminal is for the starter alone
            )
        self.mark = ProcessMark.of(self._process.pid)

    @property
    def pid(self) -> int:
        """The server's own pid: the commands replace themselves, none leaves a shell in between."""
        return self._process.pid

    def running(self) -> bool:
        """Says whether the process still runs."""
        return self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """The exit code, negative after a signal; None while the process runs."""
        return self._process.poll()

    def wait_until(self, ready: Callable[[], bool], *, seconds: float) -> None:
        """Waits for `ready`; a process that ended or is late is an error with the end of its log."""
        deadline = time.monotonic() + seconds
        while not ready():
            if not self.running():
                raise SandboxError(f"{self.name} ended with {self._process.returncode}:\n{self._log_end()}")
            if time.monotonic() > deadline:
                raise SandboxError(f"{self.name} is not ready after {seconds:.0f} s:\n{self._log_end()}")
            self._wait(_POLL_SECONDS)

    def stop(self, seconds: float = 30) -> None:
        """Asks the process to end, and kills it if it still runs after `seconds`."""
        self._process.terminate()
        self._wait(seconds)
        self.kill()

    def kill(self) -> None:
        """Ends the process at once (SIGKILL)."""
        self._process.kill()
        self._process.wait()

    def _wait(self, seconds: float) -> None:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=seconds)

    def _log_end(self, lines: int = 25) -> str:
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-lines:])
