"""The tool for dead letters, run as an operator runs it."""

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pika.adapters.blocking_connection import BlockingChannel
from pika.spec import BasicProperties

from bridge.broker import Broker, Topology
from bridge.broker.topology import ERROR_QUEUE
from bridge.contract import RESPONSE_QUEUE
from sandbox.sandbox import Sandbox
from tests.conftest import MemoryAlarm
from tests.sandbox.processes import REPOSITORY, eventually

# A child is counted with what its parent held when it began, so the parent is a small one.
MEASURED = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)
"""
LARGE_ONES = 1_500
LARGE_BYTES = 100_000


@pytest.fixture(autouse=True)
def queues(broker: Broker, topology: Topology) -> None:
    topology.declare(broker.parameters("tests"))


class Tool:
    """The tool with the settings of one vhost."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._environment = {"PATH": "/usr/bin:/bin", "COLUMNS": "200", **environment}

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "tools/dead_letters.py", *arguments],
            cwd=REPOSITORY,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def most_memory(self, *arguments: str) -> tuple[int, int]:
        """Run it; return the most bytes of memory that it held, and how many lines it printed."""
        command = [sys.executable, "-c", MEASURED, sys.executable, "tools/dead_letters.py", *arguments]
        done = subprocess.run(
            command, cwd=REPOSITORY, env=self._environment, capture_output=True, text=True, check=True
        )
        return int(done.stderr) * 1024, len(done.stdout.splitlines())


@pytest.fixture
def tool(sandbox: Sandbox, vhost: str) -> Tool:
    return Tool(sandbox.environment(vhost))


@pytest.fixture
def letters(queues: None, channel: BlockingChannel) -> None:
    """Three dead letters: one old, one of a topic that is known."""
    now = datetime.now(UTC)
    put(channel, "t1", "invalid", now - timedelta(days=8))
    put(channel, "t2", "retries_exhausted", now, topic="1c_sync_data")
    put(channel, "t3", "retries_exhausted", now)


def put(
    channel: BlockingChannel, task_id: str, reason: str, failed_at: datetime, topic: str | None = None
) -> None:
    headers = {
        "x-error-reason": reason,
        "x-task-id": task_id,
        "x-failed-at": failed_at.isoformat(),
        "of": "partner",
    }
    headers |= {"x-topic": topic} if topic else {}
    body = json.dumps({"task_id": task_id, "response_type": "complete"})
    properties = BasicProperties(headers=headers, correlation_id=task_id, delivery_mode=2)
    channel.basic_publish("", ERROR_QUEUE, body, properties)


def left(channel: BlockingChannel, queue: str) -> int:
    return channel.queue_declare(queue, passive=True).method.message_count


@pytest.mark.usefixtures("letters")
def test_list_shows_all_and_takes_nothing(tool: Tool, channel: BlockingChannel) -> None:
    table = tool.run("list")
    rows = [json.loads(line) for line in tool.run("list", "--json").stdout.splitlines()]

    assert table.returncode == 0, table.stderr
    assert "retries_exhausted" in table.stdout
    assert [(row["task_id"], row["reason"], row["topic"]) for row in rows] == [
        ("t1", "invalid", ""),
        ("t2", "retries_exhausted", "1c_sync_data"),
        ("t3", "retries_exhausted", ""),
    ]
    assert left(channel, ERROR_QUEUE) == 3


@pytest.mark.usefixtures("letters")
@pytest.mark.parametrize(
    ("choice", "count"),
    [
        (("--reason", "retries_exhausted"), 2),
        (("--topic", "1c_sync_data"), 1),
        (("--older-than", "7d"), 1),
        (("t3",), 1),
    ],
)
def test_a_choice_narrows_the_list(tool: Tool, choice: tuple[str, ...], count: int) -> None:
    assert len(tool.run("list", "--json", *choice).stdout.splitlines()) == count


def test_many_large_ones_are_read_one_by_one(tool: Tool, channel: BlockingChannel) -> None:
    properties = BasicProperties(headers={"x-error-reason": "invalid"})
    for _ in range(LARGE_ONES):
        channel.basic_publish("", ERROR_QUEUE, b"x" * LARGE_BYTES, properties)
    eventually(lambda: left(channel, ERROR_QUEUE) == LARGE_ONES)

    most_bytes, lines = tool.most_memory("drop", "--yes")

    assert lines == LARGE_ONES + 1
    assert most_bytes < LARGE_ONES * LARGE_BYTES / 2


@pytest.mark.usefixtures("letters")
def test_a_dry_run_changes_nothing(tool: Tool, channel: BlockingChannel) -> None:
    done = tool.run("replay", "--dry-run")

    assert "would replay retries_exhausted t2" in done.stdout
    assert (left(channel, ERROR_QUEUE), left(channel, RESPONSE_QUEUE)) == (3, 0)


@pytest.mark.usefixtures("letters")
def test_a_replay_sends_the_answer_again_as_it_came(tool: Tool, channel: BlockingChannel) -> None:
    tool.run("replay", "t2")

    _, properties, body = channel.basic_get(RESPONSE_QUEUE, auto_ack=True)
    assert properties is not None
    assert (json.loads(body or b"")["task_id"], properties.headers) == ("t2", {"of": "partner"})
    assert left(channel, ERROR_QUEUE) == 2


@pytest.mark.usefixtures("letters")
def test_nobody_drops_all_by_mistake(tool: Tool, channel: BlockingChannel) -> None:
    done = tool.run("drop")

    assert done.returncode == 2
    assert "add --yes to act without a question" in done.stderr
    assert left(channel, ERROR_QUEUE) == 3


@pytest.mark.usefixtures("letters")
def test_a_drop_takes_out_what_was_chosen(tool: Tool, channel: BlockingChannel) -> None:
    tool.run("drop", "--older-than", "7d")

    assert left(channel, ERROR_QUEUE) == 2
    assert tool.run("list", "--reason", "invalid").returncode == 1


@pytest.mark.usefixtures("letters")
def test_a_replay_ends_where_the_broker_blocks_all_that_publish(
    tool: Tool, channel: BlockingChannel, memory_alarm: MemoryAlarm
) -> None:
    with memory_alarm():
        done = tool.run("replay", "t2")

    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert "RabbitMQ blocks all that publish: it is short of memory or disk" in done.stderr
    assert eventually(lambda: left(channel, ERROR_QUEUE) == 3)


def test_a_wrong_password_is_one_line_and_never_printed(sandbox: Sandbox, vhost: str) -> None:
    wrong = Tool({**sandbox.environment(vhost), "RABBITMQ_PASSWORD": "wrong-secret"})

    done = wrong.run("list")

    assert done.returncode == 1
    assert "refuses the login" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "wrong-secret" not in done.stderr + done.stdout


def test_wrong_use_is_exit_code_2(tool: Tool, tmp_path: Path) -> None:
    assert tool.run("bury").returncode == 2
    assert Tool({}).run("list").returncode == 2
