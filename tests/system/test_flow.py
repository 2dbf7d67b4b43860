"""Tasks go from the engine to the systems and back, and only those that are ours."""

import random
import secrets
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from subprocess import DEVNULL, Popen

import pytest
from pika.adapters.blocking_connection import BlockingChannel

from sandbox.engine_api import EngineApi
from sandbox.sandbox import Sandbox
from tests.sandbox.processes import REPOSITORY, eventually
from tests.system.conftest import Deploy, StartSystem, StartWorker
from tests.system.engine import (
    deploy_for_tenant,
    finishers,
    process_file,
    start_many,
    wait_for_state,
)
from tests.system.partner import ERRORS, Watcher, completing

# One system sleeps a little over each of its tasks; 1100 tasks in 1000 instances.
SHARES = {
    "email": 350,
    "openproject_project": 200,
    "one_c_sync": 150,
    "order_approval": 50,
    "legacy_archive": 100,
    "project_launch": 50,
    "bitrix24_task": 50,
    "customer_onboarding": 50,
}
TASKS = sum(SHARES.values()) + SHARES["project_launch"] + SHARES["customer_onboarding"]
SYSTEMS = ("bitrix24", "default", "one_c", "openproject", "python_services")


@contextmanager
def python(script: str, *arguments: str, environment: dict[str, str]) -> Iterator[None]:
    surroundings = {"PATH": "/usr/bin:/bin", **environment}
    command = ["setpriv", "--pdeathsig", "KILL", sys.executable, script, *arguments]
    process = Popen(command, cwd=REPOSITORY, env=surroundings, stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL)
    try:
        yield
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def sample_systems(sandbox: Sandbox, vhost: str) -> Iterator[None]:
    """The sample systems of the demo, each a process of its own."""
    with ExitStack() as systems:
        for name in SYSTEMS:
            environment = sandbox.environment(vhost)
            systems.enter_context(python("-m", f"sandbox.systems.{name}", environment=environment))
        yield


@pytest.mark.usefixtures("samples", "sample_systems")
def test_a_thousand_instances_are_carried_without_loss_or_repeat(
    sandbox: Sandbox, vhost: str, start_worker: StartWorker, engine_api: EngineApi, channel: BlockingChannel
) -> None:
    watcher = Watcher(channel)
    keys = [key for key, count in SHARES.items() for _ in range(count)]
    random.Random(24).shuffle(keys)
    worker = start_worker().wait_connected()

    began = time.monotonic()
    instances = start_many(engine_api, keys)
    started = time.monotonic()
    over = eventually(lambda: engine_api.finished_count() == len(keys), seconds=240)
    ended = time.monotonic()

    print(
        f"\n{len(instances)} instances, {TASKS} tasks: started in {started - began:.1f} s, "
        f"all done after {ended - began:.1f} s, {TASKS / (ended - began):.0f} tasks/s"
    )
    assert over, engine_api.finished_count()
    assert (
        engine_api.request("GET", "/history/process-instance/count", params={"completed": "true"})["count"] == 1000
    )
    seen = watcher.look()
    assert len(seen) == TASKS
    assert set(seen.values()) == {1}
    assert sandbox.broker.api.queue(vhost, ERRORS).ready == 0
    worker.stop()
    assert f"Обработано: {TASKS} | Успешно: {TASKS} | Ошибки: 0" in worker.output
    assert worker.lines("| ERROR") == []


@pytest.mark.usefixtures("samples")
def test_systems_with_a_backlog_take_turns_and_priorities_come_first(
    start_worker: StartWorker, engine_api: EngineApi, start_system: StartSystem
) -> None:
    for key in ("bitrix24_task", "email"):  # one after the other: the engine offers the first ones first
        start_many(engine_api, [key] * 30)
    urgent = engine_api.external_tasks(topicName="send_email")[-1]["id"]
    engine_api.request("PUT", f"/external-task/{urgent}/priority", json={"priority": 10})
    system = start_system(["bitrix24.queue", "python-services.queue"], completing)

    start_worker(CAMUNDA_MAX_TASKS="3")

    tasks = system.receive(60)
    queues = [task.queue for task in tasks]
    assert next(task.id for task in tasks if task.queue == "python-services.queue") == urgent
    assert len({task.id for task in tasks}) == 60
    for queue in set(queues):
        assert queues[:30].count(queue) >= 10, queues


def test_a_topic_that_nobody_knew_is_found_within_ten_seconds(
    sandbox: Sandbox,
    vhost: str,
    start_worker: StartWorker,
    engine_api: EngineApi,
    start_system: StartSystem,
    deploy: Deploy,
    tmp_path: Path,
) -> None:
    worker = start_worker(CAMUNDA_ASYNC_RESPONSE_TIMEOUT=None).wait_connected()
    system = start_system(["default.queue"], completing)

    deploy(process_file(tmp_path, "brand_new", "Совсем новая тема"))
    began = time.monotonic()
    instance = engine_api.start_instance("brand_new")
    (task,) = system.receive(1)
    found = time.monotonic() - began

    assert found < 10
    assert (task.body["topic"], task.body["system"]) == ("Совсем новая тема", "default")
    wait_for_state(engine_api, instance)
    wait_for_state(engine_api, engine_api.start_instance("brand_new"))
    assert len(worker.lines("WARNING", "Совсем новая тема", "default.queue")) == 1
    assert len(worker.lines("WARNING")) == 1


TEAMS = ["ours", "theirs"] * 50


@pytest.fixture
def their_topic(deploy: Deploy, tmp_path: Path) -> str:
    """Deploys a process of ours and one of another team; returns the other's topic.

    It has another name in each test: the last poll of the other worker goes on after its end.
    """
    topic = f"their_{secrets.token_hex(4)}"
    deploy(process_file(tmp_path, "ours", "bitrix_x"), process_file(tmp_path, "theirs", topic))
    return topic


def test_a_stock_worker_lives_beside_ours_on_its_own_topic(
    sandbox: Sandbox,
    start_worker: StartWorker,
    engine_api: EngineApi,
    start_system: StartSystem,
    their_topic: str,
) -> None:
    start_worker(CAMUNDA_TOPICS_EXCLUDE="other_*, their_*").wait_connected()
    system = start_system(["bitrix24.queue", "default.queue"], completing)

    with python("tests/system/stock_worker.py", sandbox.engine.url, their_topic, environment={}):
        instances = start_many(engine_api, TEAMS)
        assert eventually(lambda: engine_api.finished_count() == 100, seconds=40)

    assert finishers(engine_api, instances[0::2]) == ["universal-worker"] * 50
    assert finishers(engine_api, instances[1::2]) == ["stock-worker"] * 50
    assert {task.body["topic"] for task in system.tasks} == {"bitrix_x"}


def test_only_included_topics_are_taken(
    start_worker: StartWorker, engine_api: EngineApi, start_system: StartSystem, their_topic: str
) -> None:
    start_worker(CAMUNDA_TOPICS_INCLUDE="bitrix_*").wait_connected()
    start_system(["bitrix24.queue", "default.queue"], completing)

    start_many(engine_api, TEAMS)

    assert eventually(lambda: engine_api.finished_count("ours") == 50, seconds=40)
    theirs = engine_api.external_tasks(topicName=their_topic)
    assert [task["workerId"] for task in theirs] == [None] * 50


@pytest.mark.usefixtures("deploy")
def test_only_the_given_tenants_are_served(
    start_worker: StartWorker, engine_api: EngineApi, start_system: StartSystem, tmp_path: Path
) -> None:
    for tenant in ("north", "south", "west"):
        deploy_for_tenant(engine_api, process_file(tmp_path, "of_tenant", "bitrix_x"), tenant)
    start_worker(CAMUNDA_TENANT_IDS="north,west").wait_connected()
    system = start_system(["bitrix24.queue"], completing)

    for tenant in ("south", "north", "west"):
        for _ in range(5):
            path = f"/process-definition/key/of_tenant/tenant-id/{tenant}/start"
            engine_api.request("POST", path, json={})

    assert eventually(lambda: engine_api.finished_count("of_tenant") == 10)
    assert {task.body["tenant_id"] for task in system.tasks} == {"north", "west"}
    left = engine_api.external_tasks(topicName="bitrix_x")
    assert [(task["tenantId"], task["workerId"]) for task in left] == [("south", None)] * 5


@pytest.mark.usefixtures("samples")
def test_the_two_components_run_apart_do_the_same_job(
    start_worker: StartWorker, engine_api: EngineApi, start_system: StartSystem
) -> None:
    system = start_system(["bitrix24.queue", "python-services.queue"], completing)
    parts = [start_worker(script=script) for script in ("camunda_worker.py", "response_handler.py")]

    start_many(engine_api, ["bitrix24_task", "email"] * 25)

    assert eventually(lambda: engine_api.finished_count() == 50, seconds=40)
    assert len({task.properties.message_id for task in system.tasks}) == len(system.tasks) == 50
    assert [part.stop()[0] for part in parts] == [0, 0]


@pytest.mark.usefixtures("samples")
def test_a_message_that_is_too_large_raises_an_incident_that_names_the_variable(
    start_worker: StartWorker, engine_api: EngineApi, start_system: StartSystem
) -> None:
    worker = start_worker(RABBITMQ_MAX_MESSAGE_BYTES="5000").wait_connected()
    start_system(["bitrix24.queue"], completing)

    engine_api.start_instance("bitrix24_task", {"small": "x", "huge": "x" * 3000, "text": "y" * 2000})
    instance = engine_api.start_instance("bitrix24_task")

    wait_for_state(engine_api, instance)
    assert eventually(lambda: len(engine_api.incidents()) == 1)
    assert "'huge'" in engine_api.incidents()[0]["incidentMessage"]
    assert len(worker.lines("ERROR", "'huge'")) == 1
