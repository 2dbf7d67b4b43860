"""The status server of a running worker: metrics, health, and that it never stands in the way."""

import re
import socket
from collections.abc import Callable

import pytest
import requests

from sandbox.engine_api import EngineApi
from sandbox.sandbox import Sandbox
from tests.conftest import MemoryAlarm
from tests.monitoring.promtool import promtool
from tests.sandbox.processes import eventually
from tests.system.conftest import StartSystem, StartWorker
from tests.system.engine import start_many, wait_for_state
from tests.system.partner import completing
from tests.system.worker_process import WorkerProcess

pytestmark = pytest.mark.usefixtures("samples")

CONSUMERS = 'camunda_worker_queue_consumers{queue="camunda.responses.queue"}'
CLOSE = {"Connection": "close"}
Visit = Callable[[str], requests.Response]


@pytest.fixture
def visit(unused_port: int) -> Visit:
    session = requests.Session()
    session.trust_env = False  # a proxy has no business on the loopback interface
    return lambda path: session.get(f"http://127.0.0.1:{unused_port}{path}", timeout=5, headers=CLOSE)


@pytest.fixture
def start_watched(start_worker: StartWorker, unused_port: int) -> StartWorker:
    """Starts a worker that serves its status."""

    def start(**settings: str) -> WorkerProcess:
        worker = start_worker(STATUS_PORT=str(unused_port), **settings)
        worker.wait_for("status page at")
        return worker

    return start


def samples_of(metrics: str) -> dict[str, float]:
    return {
        line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in metrics.splitlines() if line[0] != "#"
    }


def reasons(visit: Visit) -> str:
    """Returns why the worker is not ready; it must live all the same."""
    assert visit("/livez").text == "ok\n"
    answer = visit("/readyz")
    assert (answer.status_code == 200) is (answer.text == "ok\n")
    return answer.text


def test_work_that_flows_is_counted_from_end_to_end(
    start_watched: StartWorker, start_system: StartSystem, engine_api: EngineApi, visit: Visit
) -> None:
    worker = start_watched().wait_connected()
    start_system(["bitrix24.queue", "python-services.queue"], completing)

    start_many(engine_api, ["bitrix24_task", "email"] * 5)

    assert eventually(lambda: engine_api.finished_count() == 10)
    assert eventually(lambda: reasons(visit) == "ok\n")
    assert eventually(lambda: CONSUMERS in visit("/metrics").text)  # once the queue was looked at
    seen = samples_of(visit("/metrics").text)
    assert seen['camunda_worker_tasks_fetched_total{system="bitrix24",topic="bitrix_create_task"}'] == 5
    assert seen['camunda_worker_tasks_published_total{result="confirmed",system="python-services"}'] == 5
    assert seen['camunda_worker_responses_total{outcome="applied",type="complete"}'] == 10
    assert seen['camunda_worker_round_trip_seconds_count{system="python-services"}'] == 5
    assert seen['camunda_worker_tasks_in_flight{system="bitrix24"}'] == 0
    assert seen[CONSUMERS] == 1
    assert seen["camunda_worker_confirm_seconds_count"] >= 1
    assert seen["process_resident_memory_bytes"] < 75_000_000
    promtool("check", "metrics", given=visit("/metrics").text)
    assert "Work flows" in visit("/").text
    assert worker.stop()[0] == 0


def test_a_worker_without_its_engine_lives_and_says_why_it_is_not_ready(
    start_watched: StartWorker, visit: Visit
) -> None:
    start_watched(CAMUNDA_BASE_URL="http://127.0.0.1:9/engine-rest")

    assert eventually(lambda: "engine: no engine at CAMUNDA_BASE_URL http://127.0.0.1:9/" in reasons(visit))
    assert "camunda_worker_engine_reachable 0.0" in visit("/metrics").text


def test_a_worker_without_its_broker_lives_and_says_why_it_is_not_ready(
    start_watched: StartWorker, visit: Visit
) -> None:
    start_watched(RABBITMQ_PORT="9")

    assert eventually(lambda: "RabbitMQ at 127.0.0.1:9 (RABBITMQ_HOST, RABBITMQ_PORT)" in reasons(visit))
    assert re.search("^connection for tasks", reasons(visit))
    assert 'camunda_worker_broker_connected{connection="tasks"} 0.0' in visit("/metrics").text


def test_a_broker_that_blocks_is_a_reason(
    start_watched: StartWorker, visit: Visit, memory_alarm: MemoryAlarm
) -> None:
    start_watched().wait_connected()
    assert eventually(lambda: reasons(visit) == "ok\n")

    with memory_alarm():
        # The idle publisher's own trial message lets the broker say so.
        assert eventually(lambda: "RabbitMQ is short of memory or disk" in reasons(visit))
        blocked = 'camunda_worker_broker_blocked{connection="tasks"} 1.0'
        assert eventually(lambda: blocked in visit("/metrics").text)
    assert eventually(lambda: reasons(visit) == "ok\n")


def test_a_right_that_is_missing_is_a_reason_and_nothing_is_locked_until_it_is_granted(
    sandbox: Sandbox,
    vhost: str,
    start_watched: StartWorker,
    start_system: StartSystem,
    engine_api: EngineApi,
    visit: Visit,
) -> None:
    api, user = sandbox.broker.api, f"weak-{vhost}"
    api.add_user(user, "secret-of-weak")
    api.set_permissions(user, vhost, write=r"^(?!camunda\.external)")
    (instance,) = start_many(engine_api, ["bitrix24_task"])
    start_system(["bitrix24.queue"], completing)

    start_watched(RABBITMQ_USERNAME=user, RABBITMQ_PASSWORD="secret-of-weak")

    assert eventually(lambda: "lacks the write permission on exchange 'camunda.external.tasks'" in reasons(visit))
    assert "access to exchange 'camunda.external.tasks' in vhost" in visit("/readyz").text  # in the broker's words
    assert engine_api.external_tasks(workerId="universal-worker") == []
    api.set_permissions(user, vhost)
    wait_for_state(engine_api, instance)
    assert reasons(visit) == "ok\n"


def test_after_a_reload_the_same_port_serves_again(start_watched: StartWorker, visit: Visit) -> None:
    worker = start_watched().wait_connected()
    assert eventually(lambda: reasons(visit) == "ok\n")

    worker.reload()
    worker.wait_for("status page at", count=2)
    worker.wait_for("connected to RabbitMQ", count=6)

    assert eventually(lambda: reasons(visit) == "ok\n")
    assert worker.lines("WARNING") == []
    assert worker.stop()[0] == 0


def test_a_port_that_is_taken_hinders_no_work(
    start_worker: StartWorker, start_system: StartSystem, engine_api: EngineApi, unused_port: int
) -> None:
    with socket.create_server(("127.0.0.1", unused_port)):
        worker = start_worker(STATUS_PORT=str(unused_port)).wait_connected()
        start_system(["bitrix24.queue"], completing)

        start_many(engine_api, ["bitrix24_task"])

        assert eventually(lambda: engine_api.finished_count() == 1)
    assert len(worker.lines("WARNING", f"STATUS_PORT {unused_port}")) == 1
    assert worker.stop()[0] == 0
