"""The worker ends in good order, and what it left is finished by the next one."""

import signal
import socket
import threading

import pytest
from pika.adapters.blocking_connection import BlockingChannel

from sandbox.engine_api import EngineApi
from sandbox.sandbox import Sandbox
from tests.conftest import MemoryAlarm
from tests.sandbox.processes import eventually
from tests.system.conftest import StartSystem, StartWorker
from tests.system.engine import start_many, wait_for_state
from tests.system.partner import ERRORS, Watcher, completing
from tests.system.worker_process import WorkerProcess

pytestmark = pytest.mark.usefixtures("samples")
KEYS = ["bitrix24_task", "email", "one_c_sync"] * 100
QUEUES = ["bitrix24.queue", "python-services.queue", "1c.queue"]
STOP_SECONDS = 25
STOP_SECONDS_AT_START = 2


def test_a_stop_under_load_loses_nothing_and_doubles_nothing(
    sandbox: Sandbox,
    vhost: str,
    start_worker: StartWorker,
    engine_api: EngineApi,
    start_system: StartSystem,
    channel: BlockingChannel,
) -> None:
    watcher = Watcher(channel)
    start_many(engine_api, KEYS)
    system = start_system(QUEUES, completing)

    for part in (60, 120, 180):
        worker = start_worker()
        system.receive(part)
        code, seconds = worker.stop()
        assert code == 0, worker.output
        assert seconds < STOP_SECONDS
    start_worker()

    assert eventually(lambda: engine_api.finished_count() == len(KEYS), seconds=60)
    seen = watcher.look()
    assert len(seen) == len(KEYS)
    assert set(seen.values()) == {1}
    assert sandbox.broker.api.queue(vhost, ERRORS).ready == 0


def test_no_task_is_left_locked_that_is_in_no_queue(
    start_worker: StartWorker, engine_api: EngineApi, channel: BlockingChannel
) -> None:
    watcher = Watcher(channel)
    start_many(engine_api, KEYS)
    worker = start_worker()
    assert eventually(lambda: len(watcher.look()) > 50)

    assert worker.stop()[0] == 0

    locked = {f"{task['id']}:first" for task in engine_api.external_tasks(workerId="universal-worker")}
    assert locked == set(watcher.look())


def test_a_stop_while_the_answers_wait_for_the_engine_is_quick(
    start_worker: StartWorker, engine_api: EngineApi, start_system: StartSystem, channel: BlockingChannel
) -> None:
    system = start_system(["bitrix24.queue"], completing)
    with_engine = start_worker().wait_connected()
    instance = engine_api.start_instance("bitrix24_task")
    system.receive(1)
    with_engine.stop()
    without = start_worker(CAMUNDA_BASE_URL="http://127.0.0.1:9/engine-rest").wait_connected()
    without.wait_for("WARNING", "127.0.0.1:9")

    code, seconds = without.stop()

    assert code == 0, without.output
    assert seconds < 10
    start_worker()
    wait_for_state(engine_api, instance)


def test_a_stop_while_the_broker_blocks_all_publishing_is_in_good_order(
    start_worker: StartWorker, engine_api: EngineApi, start_system: StartSystem, memory_alarm: MemoryAlarm
) -> None:
    worker = start_worker().wait_connected()

    with memory_alarm():
        start_many(engine_api, ["bitrix24_task"] * 50)
        assert eventually(lambda: len(engine_api.external_tasks(workerId="universal-worker")) > 0)
        code, seconds = worker.stop()

    assert code == 0, worker.output
    assert seconds < STOP_SECONDS


@pytest.mark.parametrize("words", ["starts as", "connected to RabbitMQ"])
def test_a_stop_at_the_very_start_is_in_good_order(start_worker: StartWorker, words: str) -> None:
    worker: WorkerProcess = start_worker()
    worker.wait_for(words)

    code, seconds = worker.stop()

    assert code == 0, worker.output
    assert seconds < STOP_SECONDS_AT_START


@pytest.mark.parametrize("poll", ["500", "5000"])
def test_a_stop_at_any_moment_after_the_start_is_quick(start_worker: StartWorker, poll: str) -> None:
    for tenths in range(13):
        worker = start_worker(CAMUNDA_ASYNC_RESPONSE_TIMEOUT=poll)
        threading.Event().wait(tenths / 10)

        code, seconds = worker.stop()

        assert code in (0, -signal.SIGTERM), worker.output  # before it listens, the kernel ends it
        assert seconds < STOP_SECONDS_AT_START


def test_a_stop_does_not_wait_for_an_engine_that_says_nothing(start_worker: StartWorker) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        worker = start_worker(CAMUNDA_BASE_URL=f"http://127.0.0.1:{deaf.getsockname()[1]}/engine-rest")
        worker.wait_connected()

        code, seconds = worker.stop()

    assert code == 0, worker.output
    assert seconds < STOP_SECONDS_AT_START


def test_a_restart_of_the_broker_in_mid_flow_loses_nothing(
    sandbox: Sandbox, vhost: str, start_worker: StartWorker, engine_api: EngineApi, start_system: StartSystem
) -> None:
    worker = start_worker().wait_connected()
    start_many(engine_api, KEYS)
    assert eventually(lambda: sandbox.broker.api.queue(vhost, "1c.queue").ready > 10)

    sandbox.broker.stop()
    sandbox.broker.start()

    start_system(QUEUES, completing)
    done = eventually(lambda: engine_api.finished_count() == len(KEYS), seconds=90)
    assert done, engine_api.finished_count()
    assert sandbox.broker.api.queue(vhost, ERRORS).ready == 0
    assert "Traceback" not in worker.output
