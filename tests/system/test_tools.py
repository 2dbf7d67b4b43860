"""Each tool with all well, with the engine down and with the broker down: what it prints and how it ends."""

import signal
import subprocess
import sys
import time

import pytest
from pika.adapters.blocking_connection import BlockingChannel
from pika.spec import BasicProperties

from sandbox.sandbox import Sandbox
from tests.sandbox.processes import REPOSITORY
from tests.system.conftest import StartWorker
from tests.system.tools import Tools

SECRET = "a-secret-nobody-may-read"
TOOLS = ["check_queues"]


@pytest.fixture
def tools(sandbox: Sandbox, vhost: str) -> Tools:
    return Tools(sandbox.environment(vhost))


@pytest.fixture
def topology(start_worker: StartWorker) -> None:
    """The queues of a worker that ran and was stopped."""
    start_worker().wait_connected().stop()


@pytest.mark.parametrize("tool", TOOLS)
def test_each_tool_explains_itself(tools: Tools, tool: str) -> None:
    done = tools.run(tool, "--help")

    assert done.code == 0
    assert f"python tools/{tool}.py" in done.out
    assert "Exit code" in done.out


def test_the_queues_are_shown_and_what_is_wrong_with_them(
    tools: Tools, topology: None, channel: BlockingChannel
) -> None:
    channel.basic_publish("", "1c.queue", b"{}", BasicProperties(timestamp=int(time.time()) - 600))

    table = tools.run("check_queues", "--peek")
    rows = {row["queue"]: row for row in tools.run("check_queues", "--json").rows}

    assert table.code == 1
    assert "1c.queue │ 1 │ - │ 0 │ 10 min │ messages wait and nobody listens" in table.words
    assert (len(rows), rows["bitrix24.queue"]["problem"]) == (10, "")
    assert channel.queue_declare("1c.queue", passive=True).method.message_count == 1


def test_the_queues_are_well_while_they_are_empty(tools: Tools, topology: None, unused_port: int) -> None:
    """Also where the engine is down: it is not asked."""
    without_engine = tools.but(CAMUNDA_BASE_URL=f"http://127.0.0.1:{unused_port}/engine-rest")

    assert without_engine.run("check_queues").code == 0


def test_the_management_api_tells_what_consumers_hold(
    tools: Tools, topology: None, sandbox: Sandbox, channel: BlockingChannel
) -> None:
    channel.basic_publish("", "1c.queue", b"{}")
    assert channel.basic_get("1c.queue")[0] is not None

    done = tools.run("check_queues", "--json", "--management", sandbox.broker.management_url)

    assert {row["queue"]: row["unacked"] for row in done.rows}["1c.queue"] == 1


def test_a_management_api_that_is_not_there_or_refuses_us_is_one_line(
    tools: Tools, sandbox: Sandbox, unused_port: int
) -> None:
    url = f"http://127.0.0.1:{unused_port}"

    absent = tools.run("check_queues", "--management", url)
    refused = tools.but(RABBITMQ_PASSWORD=SECRET).run(
        "check_queues", "--management", sandbox.broker.management_url
    )

    assert (absent.code, len(absent.err.splitlines())) == (1, 1)
    assert f"no management API at --management {url}" in absent.err
    assert "refuses RABBITMQ_USERNAME 'sandbox'" in refused.err
    assert SECRET not in refused.err + refused.out


def test_queues_that_are_not_there_yet_are_a_problem(tools: Tools) -> None:
    done = tools.run("check_queues")

    assert done.code == 1
    assert "is missing: the worker declares it when it starts" in done.words


def test_a_broker_that_is_down_is_one_line_with_the_settings(tools: Tools, unused_port: int) -> None:
    done = tools.but(RABBITMQ_PORT=str(unused_port)).run("check_queues")

    assert (done.code, done.out, len(done.err.splitlines())) == (1, "", 1)
    assert done.err.startswith(f"check_queues: RabbitMQ at 127.0.0.1:{unused_port} (RABBITMQ_HOST, RABBITMQ_PORT)")


def test_a_watch_goes_on_until_ctrl_c(tools: Tools, topology: None) -> None:
    watch = subprocess.Popen(
        [sys.executable, "tools/check_queues.py", "--watch", "0.2", "--json"],
        cwd=REPOSITORY,
        env={"PATH": "/usr/bin:/bin", **tools.settings},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert watch.stdout is not None
        seen = [watch.stdout.readline() for _ in range(11)]  # ten queues, and once more
        watch.send_signal(signal.SIGINT)
        _, complaints = watch.communicate(timeout=10)
    finally:
        watch.kill()

    assert '"queue": "bitrix24.queue"' in seen[0]
    assert '"queue": "bitrix24.queue"' in seen[10]
    assert (watch.returncode, complaints) == (130, "")


@pytest.mark.parametrize("arguments", [["--watch", "never"], ["--watch", "--peek"], ["all"]])
def test_wrong_use_of_check_queues_is_exit_code_2(tools: Tools, arguments: list[str]) -> None:
    assert tools.run("check_queues", *arguments).code == 2
