"""The demo as a newcomer meets it: without a terminal, in one, killed; and that it would see what goes wrong."""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pika
import pytest

from sandbox.demo_figures import compare
from sandbox.demo_observer import Observer
from sandbox.demo_samples import Sample
from sandbox.sandbox import Sandbox
from tests.sandbox.processes import REPOSITORY, eventually

SECONDS = 120.0
ALL_PROCESSES = 9  # engine, broker, its name service, worker and five systems
STAYS_UP = "Ctrl-C ends them"
CTRL_C = b"\x03"


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Keeps what this demo starts in a folder of its own, so that it can be told from other sandboxes."""
    return os.environ | {"SANDBOX_STATE_FOLDER": str(tmp_path), "TMPDIR": str(tmp_path), "COLUMNS": "100"}


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """Yields a pseudo terminal: the side of the one who types, and the side of the programs."""
    ours, theirs = os.openpty()
    yield ours, theirs
    os.close(ours)
    os.close(theirs)


def demo(instances: int) -> list[str]:
    return [sys.executable, "-m", "sandbox.demo", "--instances", str(instances)]


def read_until(terminal: int, words: str) -> str:
    seen = b""
    while words.encode() not in seen:
        seen += os.read(terminal, 4096)
    return seen.decode(errors="replace")


def processes_in(folder: Path) -> int:
    """Counts the processes that run in a folder, as all that a sandbox starts do."""
    links = [path / "cwd" for path in Path("/proc").glob("[0-9]*")]
    return sum(_target(link).startswith(str(folder)) for link in links)


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError:
        return ""  # it ended meanwhile


def counts_of(shown: str) -> dict[str, list[str]]:
    """Returns the counts in the table by system: published, answered, retried, BPMN errors."""
    rows = [line.split() for line in shown.splitlines()]
    return {row[0]: row[1:5] for row in rows if len(row) == 7 and row[6] == "ms"}


def test_without_a_terminal_it_ends_with_a_table_and_leaves_nothing(
    environment: dict[str, str], tmp_path: Path
) -> None:
    done = subprocess.run(
        demo(20),
        cwd=REPOSITORY,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert counts_of(done.stdout) == {
        "bitrix24": ["4", "4", "0", "0"],
        "openproject": ["4", "4", "0", "0"],
        "1c": ["12", "12", "2", "2"],
        "python-services": ["4", "4", "0", "0"],
        "default": ["2", "2", "0", "0"],
    }
    assert "started 20, ended as they should 20, lost 0. Messages doubled: 0." in done.stdout
    assert eventually(lambda: processes_in(tmp_path) == 0)


def test_in_a_terminal_it_stays_up_until_ctrl_c(
    environment: dict[str, str], terminal: tuple[int, int], tmp_path: Path
) -> None:
    ours, theirs = terminal
    # setsid: a terminal turns Ctrl-C into a signal only for the session that it controls.
    process = subprocess.Popen(
        ["setsid", "--ctty", *demo(10)],
        cwd=REPOSITORY,
        env=environment,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    seen = read_until(ours, STAYS_UP)
    running = processes_in(tmp_path)

    os.write(ours, CTRL_C)
    seen += read_until(ours, "all that it started has ended")

    assert running >= ALL_PROCESSES
    assert process.wait(15) == 0
    assert "Traceback" not in seen
    assert eventually(lambda: processes_in(tmp_path) == 0)


def test_killed_in_the_middle_it_leaves_no_process(environment: dict[str, str], tmp_path: Path) -> None:
    with (tmp_path / "output").open("wb") as output:
        process = subprocess.Popen(
            demo(300), cwd=REPOSITORY, env=environment, stdin=subprocess.DEVNULL, stdout=output
        )
    assert eventually(lambda: processes_in(tmp_path) >= ALL_PROCESSES, seconds=SECONDS)

    process.kill()
    process.wait()

    assert eventually(lambda: processes_in(tmp_path) == 0)


def test_a_lost_instance_and_one_that_ended_otherwise_are_seen() -> None:
    started = {
        "1": Sample("email"),
        "2": Sample("email"),
        "3": Sample("order_approval", "refused"),
        "4": Sample("order_approval", "refused"),
        "5": Sample("email"),
    }

    compared = compare(started, {"1": ["done"], "3": ["refused"], "4": ["approved"], "5": [], "6": ["done"]})

    assert compared.as_they_should == 2
    assert compared.lost == Counter({"email": 1})
    assert compared.astray == Counter(
        {"order_approval at approved instead of refused": 1, "email at no end event instead of done": 1}
    )


def test_a_message_that_comes_again_is_counted_as_doubled(sandbox: Sandbox, vhost: str) -> None:
    login = pika.PlainCredentials(sandbox.broker.username, sandbox.broker.password)
    parameters = pika.ConnectionParameters(sandbox.broker.host, sandbox.broker.port, vhost, login)
    with pika.BlockingConnection(parameters) as connection:
        channel = connection.channel()
        channel.exchange_declare("camunda.external.tasks", "topic")
        with Observer(sandbox.broker, vhost) as observer:
            for message_id in ("a:first", "b:first", "a:3", "a:first"):
                properties = pika.BasicProperties(message_id=message_id)
                channel.basic_publish("camunda.external.tasks", "1c.sync", b"{}", properties)

            observer.watch(1)

        assert observer.published == Counter({"1c": 4})
        assert observer.doubled == 1
