"""The tools as an operator runs them: a process with an environment, an exit code, stdout and stderr."""

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.sandbox.processes import REPOSITORY

SECONDS = 60
TERMINAL = (24, 80)
COLOURS = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


@dataclass(frozen=True)
class Done:
    """A tool that ended."""

    code: int
    out: str
    err: str

    @property
    def rows(self) -> list[dict[str, Any]]:
        """What it printed as JSON lines."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def words(self) -> str:
        """All of stdout with each run of blanks as one."""
        return " ".join(self.out.split())


class Tools:
    """Runs tools with the settings of one test; every run must end without a traceback."""

    def __init__(self, settings: Mapping[str, str]) -> None:
        self.settings = dict(settings)

    def but(self, **changes: str) -> "Tools":
        """The same with other settings."""
        return Tools({**self.settings, **changes})

    def run(self, tool: str, *arguments: str, folder: Path = REPOSITORY, answer: str | None = None) -> Done:
        """Runs `tools/<tool>.py` in a folder; with an answer its standard input is a terminal."""
        if answer is None:
            return self._run(tool, arguments, folder, subprocess.DEVNULL)
        keyboard, terminal = pty.openpty()
        try:
            os.write(keyboard, answer.encode())
            return self._run(tool, arguments, folder, terminal)
        finally:
            os.close(terminal)
            os.close(keyboard)

    def on_terminal(self, tool: str, *arguments: str, answer: str = "") -> list[str]:
        """Runs it on a terminal of 80 columns; returns the lines that stand there, without their colours."""
        master, terminal = pty.openpty()
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", *TERMINAL, 0, 0))
        os.write(master, answer.encode())
        program = [sys.executable, str(REPOSITORY / "tools" / f"{tool}.py")]
        command = ["timeout", "--foreground", str(SECONDS), *program, *arguments]
        environment = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "TERM": "xterm", **self.settings}
        with subprocess.Popen(
            command, cwd=REPOSITORY, env=environment, stdin=terminal, stdout=terminal, stderr=terminal
        ) as process:
            os.close(terminal)
            shown = COLOURS.sub("", _all_of(master).decode())
            assert process.wait(SECONDS) in (0, 1, 2), shown
        assert "Traceback" not in shown
        ends = r"[\r\n]+|(?<=\[(?:y/N|д/Н)\] )"  # the key Enter came before its question, and was echoed there
        return [line.rstrip() for line in re.split(ends, shown)]

    def _run(self, tool: str, arguments: Sequence[str], folder: Path, stdin: int) -> Done:
        done = subprocess.run(
            [sys.executable, str(REPOSITORY / "tools" / f"{tool}.py"), *arguments],
            cwd=folder,
            env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "COLUMNS": "250", **self.settings},
            stdin=stdin,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
        assert "Traceback" not in done.stderr + done.stdout, done.stderr
        return Done(done.returncode, done.stdout, done.stderr)


def _all_of(master: int) -> bytes:
    """Returns what is written to a terminal until nobody has it open any more, which is an error to Linux."""
    written = b""
    with open(master, "rb", buffering=0) as terminal:
        try:
            while chunk := terminal.read(65_536):
                written += chunk
        except OSError:
            pass
    return written
