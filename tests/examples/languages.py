"""The contract in other languages, built and started as each README says; only `./run examples` collects this."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pika.adapters.blocking_connection import BlockingChannel
from pika.spec import BasicProperties

from sandbox.engine_api import EngineApi
from sandbox.sandbox import Sandbox
from tests.examples.warehouse import KEY, PROCESS, QUEUE, ROUTING, Warehouse
from tests.sandbox.processes import REPOSITORY, eventually
from tests.system.conftest import Deploy, StartWorker
from tests.system.engine import stored_variables, task_of, wait_for_state
from tests.system.example_process import build_example
from tests.system.partner import ANSWERS, ANSWERS_EXCHANGE, TASKS
from tests.system.worker_process import WorkerProcess

LANGUAGES = ["node", "go", "java", "php"]
SECONDS = 120.0
UUID = 36
GOODS = {"item": "чай", "quantity": 3}


@pytest.fixture(scope="module", params=LANGUAGES)
def language(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def built(language: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the sources in which the README's commands have built the system."""
    checkout = tmp_path_factory.mktemp(language)
    sources = f"examples/languages/{language}"
    shutil.copytree(REPOSITORY / sources, checkout / sources)
    build_example(f"languages/{language}", checkout)
    return checkout


@pytest.fixture
def start_bridge(start_worker: StartWorker, deploy: Deploy, tmp_path: Path) -> StartWorker:
    """Starts a worker that knows the warehouse; there is a process for it."""
    (tmp_path / "routing.toml").write_text(ROUTING, encoding="utf-8")
    (tmp_path / "reserve.bpmn").write_text(PROCESS, encoding="utf-8")
    deploy(tmp_path / "reserve.bpmn")
    settings = {"ROUTING_FILE": str(tmp_path / "routing.toml"), "CAMUNDA_RETRY_TIMEOUT": "500"}
    return lambda: start_worker(**settings).wait_connected()


@pytest.fixture
def bridge(start_bridge: StartWorker) -> WorkerProcess:
    return start_bridge()


@pytest.fixture
def idle(language: str, built: Path, sandbox: Sandbox, vhost: str, tmp_path: Path) -> Iterator[Warehouse]:
    """A warehouse that has not been started."""
    broker = sandbox.broker
    url = f"amqp://{broker.username}:{broker.password}@{broker.host}:{broker.port}/{vhost}"
    warehouse = Warehouse(language, built, tmp_path, {"AMQP_URL": url})
    yield warehouse
    warehouse.kill()


@pytest.fixture
def warehouse(idle: Warehouse, bridge: WorkerProcess) -> Warehouse:
    """A warehouse at work, and a worker that serves it."""
    assert bridge.running()
    idle.start()
    return idle


def test_it_waits_for_its_queue(idle: Warehouse, start_bridge: StartWorker, engine_api: EngineApi) -> None:
    idle.start()
    idle.process.wait_for(f"no queue '{QUEUE}'")

    start_bridge()

    wait_for_state(engine_api, engine_api.start_instance(KEY, GOODS))


def start(engine_api: EngineApi, count: int, **values: float) -> list[str]:
    goods = ({"item": f"tea {number}", "quantity": 1} for number in range(count))
    return [engine_api.start_instance(KEY, one | values) for one in goods]


def test_a_hundred_tasks_are_done_once_each_though_worker_and_connections_are_killed_half_way(
    warehouse: Warehouse,
    bridge: WorkerProcess,
    start_bridge: StartWorker,
    engine_api: EngineApi,
    sandbox: Sandbox,
    vhost: str,
) -> None:
    instances = start(engine_api, 100, seconds=0.02)
    assert eventually(lambda: len(warehouse.answers) >= 40, seconds=SECONDS), warehouse.output

    bridge.kill()
    sandbox.broker.ctl("close_all_connections", "--vhost", vhost, "a test")
    start_bridge()

    assert eventually(lambda: engine_api.finished_count(KEY) == 100, seconds=SECONDS), warehouse.output
    assert warehouse.output.count("begins") == len(warehouse.answers) == 100
    assert engine_api.end_events(KEY) == {"done": 100}
    assert engine_api.variables(instances[7])["reservation"] == "1 tea 7"
    assert engine_api.incidents() == []


def test_a_hundred_tasks_are_done_once_each_though_the_system_is_killed_half_way(
    warehouse: Warehouse, engine_api: EngineApi
) -> None:
    start(engine_api, 100, seconds=0.02)
    assert eventually(lambda: len(warehouse.answers) >= 40, seconds=SECONDS), warehouse.output

    warehouse.kill()
    done_before = len(warehouse.answers)
    warehouse.start()

    assert eventually(lambda: engine_api.finished_count(KEY) == 100, seconds=SECONDS), warehouse.output
    assert done_before < 100
    assert len({name[:UUID] for name in warehouse.answers}) == len(warehouse.answers) == 100
    assert engine_api.end_events(KEY) == {"done": 100}


def test_what_the_business_refuses_goes_on_at_the_error_event(warehouse: Warehouse, engine_api: EngineApi) -> None:
    instance = engine_api.start_instance(KEY, GOODS | {"quantity": 101})

    wait_for_state(engine_api, instance)

    stored = {name: row["value"] for name, row in stored_variables(engine_api, instance).items()}
    assert stored["error_code"] == "OUT_OF_STOCK"
    assert stored["error_message"] == "There are not 101 of чай"
    assert engine_api.end_events(KEY) == {"refused": 1}


def test_work_that_fails_is_counted_down_to_an_incident(warehouse: Warehouse, engine_api: EngineApi) -> None:
    instance = engine_api.start_instance(KEY, {"quantity": 1})

    assert eventually(lambda: len(engine_api.incidents(KEY)) == 1, seconds=SECONDS), warehouse.output
    assert task_of(engine_api, instance)["retries"] == 0
    assert "item" in engine_api.incidents(KEY)[0]["incidentMessage"]
    assert engine_api.task_log_count(processInstanceId=instance, failureLog="true") == 4


def test_work_that_outlasts_its_lock_is_kept_by_heartbeats(warehouse: Warehouse, engine_api: EngineApi) -> None:
    instance = engine_api.start_instance(KEY, GOODS | {"seconds": 14})

    wait_for_state(engine_api, instance)

    assert warehouse.output.count("extend_lock") >= 3
    assert warehouse.output.count("begins") == 1
    assert engine_api.task_log_count(processInstanceId=instance, failureLog="true") == 0
    assert len(warehouse.answers) == 1


def taken(channel: BlockingChannel, queue: str) -> tuple[BasicProperties, dict[str, Any]]:
    """Waits for one message of a queue and takes it."""
    found: list[tuple[BasicProperties, dict[str, Any]]] = []

    def has_come() -> bool:
        _, properties, body = channel.basic_get(queue, auto_ack=True)
        if properties and body:
            found.append((properties, json.loads(body)))
        return bool(found)

    assert eventually(has_come, seconds=SECONDS)
    return found[0]


def copies(channel: BlockingChannel, exchange: str, key: str) -> str:
    """Returns a queue of our own that gets a copy of what goes to an exchange."""
    queue = str(channel.queue_declare("", exclusive=True).method.queue)
    channel.queue_bind(queue, exchange, key)
    return queue


def test_a_message_that_comes_again_gets_the_same_answer_without_the_work(
    warehouse: Warehouse, engine_api: EngineApi, channel: BlockingChannel
) -> None:
    tasks, answers = copies(channel, TASKS, "#"), copies(channel, ANSWERS_EXCHANGE, ANSWERS)
    wait_for_state(engine_api, engine_api.start_instance(KEY, GOODS))
    properties, task = taken(channel, tasks)
    _, answer = taken(channel, answers)

    channel.basic_publish("", QUEUE, json.dumps(task).encode(), properties)

    assert taken(channel, answers)[1] == answer
    assert {name: answer[name] for name in ("task_id", "attempt", "worker_id")} == {
        name: task[name] for name in ("task_id", "attempt", "worker_id")
    }
    assert warehouse.output.count("begins") == 1


def test_a_message_whose_lock_is_over_is_dropped(
    warehouse: Warehouse, engine_api: EngineApi, channel: BlockingChannel, sandbox: Sandbox, vhost: str
) -> None:
    tasks = copies(channel, TASKS, "#")
    wait_for_state(engine_api, engine_api.start_instance(KEY, GOODS))
    properties, task = taken(channel, tasks)
    properties.message_id = "late:first"

    late = task | {"lock_expires_at": "2026-11-24T12:10:00.000+00:00"}
    channel.basic_publish("", QUEUE, json.dumps(late).encode(), properties)

    wait_for_state(engine_api, engine_api.start_instance(KEY, GOODS))
    assert eventually(lambda: is_empty(sandbox, vhost), seconds=20)
    assert warehouse.output.count("begins") == 2
    assert "late-first" not in warehouse.answers


def is_empty(sandbox: Sandbox, vhost: str) -> bool:
    state = sandbox.broker.api.queue(vhost, QUEUE)
    return state.ready == state.unacked == 0


def test_a_lost_connection_is_made_anew_and_the_work_in_hand_goes_on(
    warehouse: Warehouse, engine_api: EngineApi, sandbox: Sandbox, vhost: str
) -> None:
    instance = engine_api.start_instance(KEY, GOODS | {"seconds": 5})
    warehouse.process.wait_for("begins")

    sandbox.broker.ctl("close_all_connections", "--vhost", vhost, "a test")

    wait_for_state(engine_api, instance)
    assert "no broker" in warehouse.output
    assert warehouse.output.count("begins") == 1


def test_sigterm_ends_what_is_in_hand_and_gives_back_the_rest(
    warehouse: Warehouse, engine_api: EngineApi, sandbox: Sandbox, vhost: str
) -> None:
    for _ in range(3):
        engine_api.start_instance(KEY, GOODS | {"seconds": 2})
    warehouse.process.wait_for("begins")

    assert warehouse.process.stop() == 0

    assert len(warehouse.answers) == 1
    assert eventually(lambda: sandbox.broker.api.queue(vhost, QUEUE).ready == 2)
    warehouse.start()
    assert eventually(lambda: engine_api.finished_count(KEY) == 3, seconds=SECONDS), warehouse.output
    assert warehouse.output.count("begins") == 3
