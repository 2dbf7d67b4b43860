"""Processes that a test starts or looks at."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def start_python(*arguments: str, environment: dict[str, str] | None = None) -> subprocess.Popen[str]:
    """Starts this Python in the repository; its standard output is a pipe."""
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=REPOSITORY,
        env=os.environ | (environment or {}),
        stdout=subprocess.PIPE,
        text=True,
    )


def eventually(condition: Callable[[], bool], *, seconds: float = 15) -> bool:
    """Waits until the condition holds; False if it does not within `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def processes_of(folder: str) -> list[str]:
    """Returns the command lines of running processes that mention a folder."""
    lines = [_command_line(path) for path in Path("/proc").glob("[0-9]*/cmdline")]
    return [line for line in lines if folder in line]


def _command_line(path: Path) -> str:
    try:
        return path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""
