"""A partner that rejects messages or gives them back again and again: its tasks fail within seconds."""

import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from pika.adapters.blocking_connection import BlockingChannel
from pika.spec import Basic, BasicProperties

from sandbox.engine_api import EngineApi
from sandbox.sandbox import Sandbox
from tests.sandbox.processes import eventually
from tests.system.conftest import Deploy, StartWorker
from tests.system.engine import process_file, task_of, wait_for_task
from tests.system.partner import connect
from tests.system.tools import Tools

NOTICED_SECONDS = 5.0
LIMIT = 20


def set_policy(sandbox: Sandbox, vhost: str, **changes: str) -> None:
    """Lets the tool apply its policies."""
    tools = Tools(sandbox.environment(vhost)).but(**changes)
    done = tools.run("broker_policy", "--apply", sandbox.broker.management_url)
    assert done.code == 0, done.err


@pytest.fixture
def policy(sandbox: Sandbox, vhost: str) -> None:
    """The policies of the tool, applied."""
    set_policy(sandbox, vhost)


@pytest.fixture
def instances(engine_api: EngineApi, deploy: Deploy, tmp_path: Path) -> Sequence[str]:
    deploy(process_file(tmp_path, "refused", "bitrix_create_task"))
    return [engine_api.start_instance("refused") for _ in range(3)]


def refuse(channel: BlockingChannel, queue: str, *, requeue: bool, times: int) -> float:
    """Take messages and refuse each; returns when the last one was refused."""
    refused = 0

    def take(on: BlockingChannel, delivery: Basic.Deliver, _: BasicProperties, _body: bytes) -> None:
        nonlocal refused
        refused += 1
        on.basic_nack(int(delivery.delivery_tag or 0), requeue=requeue)
        if refused == times:
            on.stop_consuming()

    channel.connection.call_later(30, channel.stop_consuming)
    channel.basic_consume(queue, take)
    channel.start_consuming()
    assert refused == times
    return time.monotonic()


@pytest.mark.usefixtures("policy")
def test_a_rejected_message_fails_its_task_within_seconds(
    start_worker: StartWorker, engine_api: EngineApi, instances: Sequence[str], channel: BlockingChannel
) -> None:
    worker = start_worker(CAMUNDA_RETRY_TIMEOUT="600000").wait_connected()

    refused_at = refuse(channel, "bitrix24.queue", requeue=False, times=3)
    for instance in instances:
        wait_for_task(engine_api, instance, retries=3)
    seconds = time.monotonic() - refused_at

    assert {task_of(engine_api, one)["errorMessage"] for one in instances} == {
        "bitrix24 rejected the message of this task"
    }
    assert seconds < NOTICED_SECONDS
    assert len(worker.lines("ERROR", "rejected the message of this task")) == 3


def test_a_message_given_back_too_often_fails_its_task(
    sandbox: Sandbox, vhost: str, start_worker: StartWorker, engine_api: EngineApi, instances: Sequence[str]
) -> None:
    set_policy(sandbox, vhost, RABBITMQ_QUEUE_TYPE="quorum")
    start_worker(CAMUNDA_RETRY_TIMEOUT="600000", RABBITMQ_QUEUE_TYPE="quorum").wait_connected()

    with connect(sandbox, vhost) as connection:
        refused_at = refuse(
            connection.channel(), "bitrix24.queue", requeue=True, times=len(instances) * (LIMIT + 1)
        )
    for instance in instances:
        wait_for_task(engine_api, instance, retries=3)
    seconds = time.monotonic() - refused_at

    assert {task_of(engine_api, one)["errorMessage"] for one in instances} == {
        "bitrix24 gave the message of this task back too often"
    }
    assert seconds < NOTICED_SECONDS


@pytest.mark.usefixtures("policy")
def test_a_message_that_expires_costs_its_task_nothing(
    start_worker: StartWorker, engine_api: EngineApi, instances: Sequence[str], channel: BlockingChannel
) -> None:
    start_worker(CAMUNDA_LOCK_DURATION="10000").wait_connected()
    time.sleep(14)

    assert eventually(
        lambda: channel.queue_declare("camunda.rejected.queue", passive=True).method.message_count == 0, seconds=10
    )
    assert {task_of(engine_api, one)["retries"] for one in instances} == {None}


def test_a_worker_that_may_not_read_the_rejected_messages_works_without_them(
    sandbox: Sandbox, vhost: str, start_worker: StartWorker, engine_api: EngineApi, instances: Sequence[str]
) -> None:
    worker = start_worker(RABBITMQ_TOPOLOGY="declare").wait_connected()
    worker.stop()
    with connect(sandbox, vhost) as connection:
        connection.channel().queue_delete("camunda.rejected.queue")

    passive = start_worker(RABBITMQ_TOPOLOGY="passive").wait_connected()
    passive.wait_for("camunda.rejected.queue", "until then what it should take waits")
    passive.wait_for("camunda.rejected.queue is not read until the next connection")
    time.sleep(1)

    assert passive.running()
    assert eventually(
        lambda: all(task_of(engine_api, one)["workerId"] == "universal-worker" for one in instances), seconds=20
    )
