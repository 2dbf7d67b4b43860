"""The sample systems: they answer as the contract asks, repeats included."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel

from sandbox.sandbox import Sandbox
from tests.sandbox.processes import eventually, start_python

ANSWERS = "camunda.responses.queue"


@pytest.fixture
def channel(sandbox: Sandbox, vhost: str) -> Iterator[BlockingChannel]:
    broker = sandbox.broker
    login = pika.PlainCredentials(broker.username, broker.password)
    with pika.BlockingConnection(pika.ConnectionParameters(broker.host, broker.port, vhost, login)) as connection:
        channel = connection.channel()
        channel.queue_declare(ANSWERS, durable=True)
        yield channel


@contextmanager
def system(name: str, sandbox: Sandbox, vhost: str) -> Iterator[None]:
    process = start_python("-m", f"sandbox.systems.{name}", environment=sandbox.environment(vhost))
    try:
        yield
    finally:
        process.terminate()
        process.communicate()


def send(
    channel: BlockingChannel,
    queue: str,
    *,
    attempt: str | int = "first",
    until: str = "2999-01-01T00:00:00.000+00:00",
    **variables: object,
) -> None:
    body = {
        "task_id": "task-1",
        "topic": "a_topic",
        "variables": {name: {"value": value, "type": "Any"} for name, value in variables.items()},
        "worker_id": "a-worker",
        "attempt": attempt,
        "lock_expires_at": until,
    }
    message_id = f"task-1:{attempt}"
    properties = pika.BasicProperties(reply_to=ANSWERS, correlation_id="task-1", message_id=message_id)
    channel.queue_declare(queue, durable=True)
    channel.basic_publish("", queue, json.dumps(body).encode(), properties)


def receive(channel: BlockingChannel, count: int) -> list[dict[str, Any]]:
    answers: list[dict[str, Any]] = []

    def all_there() -> bool:
        _, properties, body = channel.basic_get(ANSWERS, auto_ack=True)
        if body is not None:
            assert properties is not None
            assert properties.correlation_id == "task-1"
            answers.append(json.loads(body))
        return len(answers) >= count

    assert eventually(all_there), answers
    return answers


@pytest.mark.parametrize(
    ("name", "queue"),
    [
        ("bitrix24", "bitrix24.queue"),
        ("openproject", "openproject.queue"),
        ("one_c", "1c.queue"),
        ("python_services", "python-services.queue"),
        ("default", "default.queue"),
    ],
)
def test_a_system_completes_its_task(
    name: str, queue: str, sandbox: Sandbox, vhost: str, channel: BlockingChannel
) -> None:
    send(channel, queue, title="Call back")

    with system(name, sandbox, vhost):
        (answer,) = receive(channel, 1)

    assert {name: answer[name] for name in ("task_id", "worker_id", "attempt", "response_type")} == {
        "task_id": "task-1",
        "worker_id": "a-worker",
        "attempt": "first",
        "response_type": "complete",
    }
    assert answer["variables"]


def test_a_repeat_is_answered_again_and_a_failed_one_is_done(
    sandbox: Sandbox, vhost: str, channel: BlockingChannel
) -> None:
    send(channel, "1c.queue", fails_first=True)
    send(channel, "1c.queue", attempt=2, fails_first=True)
    send(channel, "1c.queue", attempt=2, customer_blocked=True)

    with system("one_c", sandbox, vhost):
        answers = receive(channel, 3)

    assert [answer["response_type"] for answer in answers] == ["failure", "complete", "complete"]


def test_1c_refuses_a_blocked_customer(sandbox: Sandbox, vhost: str, channel: BlockingChannel) -> None:
    send(channel, "1c.queue", customer_blocked=True)

    with system("one_c", sandbox, vhost):
        (answer,) = receive(channel, 1)

    assert (answer["response_type"], answer["error_code"]) == ("bpmn_error", "CUSTOMER_BLOCKED")


def test_a_task_whose_lock_is_over_is_left_alone(sandbox: Sandbox, vhost: str, channel: BlockingChannel) -> None:
    send(channel, "default.queue", until="2020-01-01T00:00:00.000+00:00", attempt=9)
    send(channel, "default.queue", attempt=8)

    with system("default", sandbox, vhost):
        (answer,) = receive(channel, 1)

    assert answer["attempt"] == 8
