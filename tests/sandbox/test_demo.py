"""The demo as a newcomer meets it: with a terminal, without one, and ended in the middle."""

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sandbox.processes import REPOSITORY, eventually, processes_of

SECONDS = 120.0
ENDED = "instances: 24 started, 24 ended as they should; tasks: 0 lost, 0 doubled"


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return os.environ | {"SANDBOX_STATE_FOLDER": str(tmp_path), "TMPDIR": str(tmp_path), "COLUMNS": "120"}


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "sandbox.demo", *arguments]


def test_without_a_terminal_it_ends_with_a_table_and_leaves_nothing(
    environment: dict[str, str], tmp_path: Path
) -> None:
    done = subprocess.run(
        command("--instances", "24"),
        cwd=REPOSITORY,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert ENDED in done.stdout
    rows = {
        cells[1]: cells
        for line in done.stdout.splitlines()
        if len(cells := line.replace("│", " | ").split(" | ")) > 6
    }
    published = {name.strip(): int(cells[2]) for name, cells in rows.items() if cells[2].strip().isdigit()}
    assert published.keys() == {"1c", "bitrix24", "default", "openproject", "python-services"}
    assert all(count > 0 for count in published.values())
    assert processes_of(str(tmp_path)) == []


def test_with_a_terminal_it_stays_until_ctrl_c(environment: dict[str, str], tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    demo = subprocess.Popen(
        command("--instances", "8"), cwd=REPOSITORY, env=environment, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)

    seen = read_until(ours, "Ctrl-C ends it")
    demo.send_signal(signal.SIGINT)
    seen += read_until(ours, "nothing is left running")

    assert demo.wait(10) == 130
    assert "Traceback" not in seen
    assert processes_of(str(tmp_path)) == []
    os.close(ours)


def test_killed_in_the_middle_it_leaves_no_process(environment: dict[str, str], tmp_path: Path) -> None:
    with (tmp_path / "output").open("wb") as output:
        demo = subprocess.Popen(
            command(), cwd=REPOSITORY, env=environment, stdin=subprocess.DEVNULL, stdout=output
        )
    assert eventually(lambda: any("main.py" in line for line in workers_of(tmp_path)), seconds=SECONDS)

    demo.kill()
    demo.wait()

    assert eventually(lambda: processes_of(str(tmp_path)) == [] and workers_of(tmp_path) == [], seconds=10)


def workers_of(folder: Path) -> list[str]:
    """Returns the workers and systems that a demo with this state folder started."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if str(folder).encode() in (path / "environ").read_bytes():
                found.append((path / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue  # it ended meanwhile
    return found


def read_until(terminal: int, words: str) -> str:
    seen = ""
    while words not in seen:
        seen += os.read(terminal, 4096).decode(errors="replace").replace("\r\n", " ")
    return seen
