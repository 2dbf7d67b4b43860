"""What a system's table in the routing file asks for, on the real engine and broker."""

import time
from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from pika.adapters.blocking_connection import BlockingChannel

from sandbox.engine_api import EngineApi
from tests.sandbox.processes import eventually
from tests.system.conftest import Deploy, StartSystem, StartWorker
from tests.system.engine import deploy_for_tenant, process_file, start_typed, task_of, wait_for_state
from tests.system.partner import Reply, TaskMessage, completing
from tests.system.worker_process import WorkerProcess

TOPIC = "crm_sync"
MODELLED = """<?xml version="1.0" encoding="UTF-8"?>
<definitions xmlns="http://www.omg.org/spec/BPMN/20100524/MODEL"
             xmlns:camunda="http://camunda.org/schema/1.0/bpmn" targetNamespace="tests">
  <process id="{key}" isExecutable="true" camunda:historyTimeToLive="P1D" camunda:versionTag="{tag}">
    <startEvent id="start" /><sequenceFlow id="in" sourceRef="start" targetRef="task" />
    <serviceTask id="task" camunda:type="external" camunda:topic="{topic}" camunda:taskPriority="${{priority}}">
      <extensionElements>
        <camunda:properties><camunda:property name="retries" value="{cycle}" /></camunda:properties>
        <camunda:inputOutput><camunda:inputParameter name="near">1</camunda:inputParameter></camunda:inputOutput>
      </extensionElements>
    </serviceTask>
    <sequenceFlow id="out" sourceRef="task" targetRef="done" /><endEvent id="done" />
  </process>
</definitions>
"""


class Failing:
    """A system that reports a failure without saying what it costs, and notes when each attempt came."""

    def __init__(self) -> None:
        self.attempts: list[tuple[float, str]] = []

    def __call__(self, task: TaskMessage) -> Sequence[Reply]:
        self.attempts.append((time.monotonic(), task.attempt))
        return ({"task_id": task.id, "response_type": "failure", "error_message": "not today"},)

    @property
    def pauses(self) -> list[float]:
        times = [moment for moment, _ in self.attempts]
        return [later - before for before, later in pairwise(times)]


@pytest.fixture
def routing_file(tmp_path: Path) -> Path:
    return tmp_path / "routing.toml"


@pytest.fixture
def start_routed(start_worker: StartWorker, routing_file: Path) -> Any:
    """Starts a worker with a routing file of this text."""

    def start(text: str, **changes: str | None) -> WorkerProcess:
        routing_file.write_text(text, encoding="utf-8")
        return start_worker(ROUTING_FILE=str(routing_file), **changes).wait_connected()

    return start


def modelled(folder: Path, key: str, *, cycle: str = "", tag: str = "1") -> Path:
    """Writes a process whose task has a priority, an input parameter and retries of its own."""
    file = folder / f"{key}.bpmn"
    file.write_text(MODELLED.format(key=key, topic=TOPIC, cycle=cycle, tag=tag), encoding="utf-8")
    return file


def test_two_systems_share_a_topic_by_the_key_of_the_process(
    start_routed: Any, start_system: StartSystem, engine_api: EngineApi, deploy: Deploy, tmp_path: Path
) -> None:
    keys = ("orders", "invoices", "returns")
    deploy(*(process_file(tmp_path, key, TOPIC) for key in keys))
    start_routed("""
        [systems.first]
        topics = ["crm_sync"]
        process_keys = ["orders"]
        [systems.second]
        topics = ["crm_sync"]
        process_keys = ["invoices"]
        [systems.others]
        topics = ["another_topic"]
    """)
    came: defaultdict[str, list[str]] = defaultdict(list)

    def note(task: TaskMessage) -> Sequence[Reply]:
        came[task.queue].append(task.body["process_definition_key"])
        return completing(task)

    start_system(["first.queue", "second.queue"], note)
    done = [engine_api.start_instance(key) for _ in range(30) for key in ("orders", "invoices")]
    nobodys = engine_api.start_instance("returns")

    for instance in done:
        wait_for_state(engine_api, instance)
    assert came == {"first.queue": ["orders"] * 30, "second.queue": ["invoices"] * 30}
    assert task_of(engine_api, nobodys)["workerId"] is None


def test_each_failure_waits_for_the_next_pause_of_its_system(
    start_routed: Any, start_system: StartSystem, engine_api: EngineApi, deploy: Deploy, tmp_path: Path
) -> None:
    deploy(process_file(tmp_path, "paused", TOPIC))
    start_routed('[systems.crm]\ntopics = ["crm_sync"]\nretries = 3\nretry_pauses = ["1s", "4s"]\n')
    failing = Failing()
    start_system(["crm.queue"], failing)

    instance = engine_api.start_instance("paused")

    assert eventually(lambda: len(failing.attempts) == 4, seconds=60), failing.attempts
    assert [attempt for _, attempt in failing.attempts] == ["first", "3", "2", "1"]
    lows = [1.0, 4.0, 4.0]
    assert all(low <= pause < low + 3 for low, pause in zip(lows, failing.pauses, strict=True)), failing.pauses
    assert eventually(lambda: task_of(engine_api, instance)["retries"] == 0, seconds=30)


@pytest.mark.parametrize("script", ["main.py", "split"])
def test_the_retries_of_a_model_win_over_those_of_the_system(
    start_routed: Any,
    start_worker: StartWorker,
    start_system: StartSystem,
    engine_api: EngineApi,
    deploy: Deploy,
    tmp_path: Path,
    routing_file: Path,
    script: str,
) -> None:
    deploy(modelled(tmp_path, "modelled", cycle="R2/PT2S"))
    text = '[systems.crm]\ntopics = ["crm_sync"]\nretries = 9\nretry_pauses = ["1h"]\n'
    if script == "split":  # the process that applies the failure has never seen the task
        routing_file.write_text(text, encoding="utf-8")
        start_worker(script="camunda_worker.py", ROUTING_FILE=str(routing_file))
        start_worker(script="response_handler.py", ROUTING_FILE=str(routing_file))
    else:
        start_routed(text)
    failing = Failing()
    start_system(["crm.queue"], failing)

    instance = engine_api.start_instance("modelled", {"priority": 1})

    assert eventually(lambda: len(failing.attempts) == 3, seconds=60), failing.attempts
    assert [attempt for _, attempt in failing.attempts] == ["first", "2", "1"]
    assert all(2.0 <= pause < 5.0 for pause in failing.pauses), failing.pauses
    assert eventually(lambda: task_of(engine_api, instance)["retries"] == 0, seconds=30)


def test_the_answer_s_own_values_win_over_both(
    start_routed: Any, start_system: StartSystem, engine_api: EngineApi, deploy: Deploy, tmp_path: Path
) -> None:
    deploy(modelled(tmp_path, "answered", cycle="R2/PT1H"))
    start_routed('[systems.crm]\ntopics = ["crm_sync"]\n')
    failure = {"response_type": "failure", "error_message": "x", "retries": 7, "retry_timeout": 1000}
    system = start_system(["crm.queue"], lambda task: ({"task_id": task.id, **failure},))

    engine_api.start_instance("answered", {"priority": 1})

    assert [task.attempt for task in system.receive(2)] == ["first", "7"]


def test_a_queue_that_exists_already_gets_the_tasks_by_their_priority(
    start_routed: Any, engine_api: EngineApi, deploy: Deploy, tmp_path: Path, channel: BlockingChannel
) -> None:
    deploy(modelled(tmp_path, "urgent", cycle="R1/PT1S"))
    channel.queue_declare("crm.in", durable=True, arguments={"x-max-priority": 10, "x-queue-type": "classic"})
    worker = start_routed("""
        [systems.crm]
        topics = ["crm_sync"]
        queue = "crm.in"
        declare = false
        priority = true
    """)

    for priority in (1, 9, -3, 70_000, 5):
        engine_api.start_instance("urgent", {"priority": priority})
    assert eventually(lambda: channel.queue_declare("crm.in", passive=True).method.message_count == 5, seconds=30)

    found = [channel.basic_get("crm.in", auto_ack=True)[1] for _ in range(5)]
    assert [properties.priority for properties in found if properties] == [255, 9, 5, 1, 0]
    assert not worker.lines("differs from what we declare")


def test_a_system_gets_the_tasks_and_variables_that_it_asked_for(
    start_routed: Any, start_system: StartSystem, engine_api: EngineApi, deploy: Deploy, tmp_path: Path
) -> None:
    deploy(modelled(tmp_path, "orders", cycle="R1/PT1S", tag="7"))
    start_routed("""
        [systems.crm]
        topics = ["crm_sync"]
        variables = ["order", "missing"]
        version_tag = "7"
        business_key = "B-7"
        tenants = "none"
    """)
    system = start_system(["crm.queue"], completing)
    values = {"priority": 1, "order": "o-1", "secret": "s"}

    other = engine_api.start_instance("orders", values, business_key="B-8")
    wanted = engine_api.start_instance("orders", values, business_key="B-7")

    wait_for_state(engine_api, wanted)
    (task,) = system.receive(1)
    assert task.variables.keys() == {"order"}
    assert task_of(engine_api, other)["workerId"] is None


def test_a_system_may_ask_for_the_variables_of_the_task_s_own_scope(
    start_routed: Any, start_system: StartSystem, engine_api: EngineApi, deploy: Deploy, tmp_path: Path
) -> None:
    deploy(modelled(tmp_path, "local", cycle="R1/PT1S"))
    start_routed('[systems.crm]\ntopics = ["crm_sync"]\nlocal_variables_only = true\n')
    system = start_system(["crm.queue"], completing)

    wait_for_state(engine_api, engine_api.start_instance("local", {"priority": 1, "far": "x"}))

    assert system.receive(1)[0].variables.keys() == {"near"}


def test_a_system_may_have_the_tasks_of_its_tenants_only(
    start_routed: Any, start_system: StartSystem, engine_api: EngineApi, tmp_path: Path
) -> None:
    file = process_file(tmp_path, "tenanted", TOPIC)
    for tenant in ("north", "south"):
        deploy_for_tenant(engine_api, file, tenant)
    start_routed('[systems.crm]\ntopics = ["crm_sync"]\ntenants = ["north"]\n')
    system = start_system(["crm.queue"], completing)

    instances = {
        tenant: str(
            engine_api.request("POST", f"/process-definition/key/tenanted/tenant-id/{tenant}/start", json={})["id"]
        )
        for tenant in ("south", "north")
    }

    wait_for_state(engine_api, instances["north"])
    assert [task.body["tenant_id"] for task in system.receive(1)] == ["north"]
    assert task_of(engine_api, instances["south"])["workerId"] is None


def test_a_system_has_no_more_tasks_in_flight_than_it_may(
    start_routed: Any, start_system: StartSystem, engine_api: EngineApi, deploy: Deploy, tmp_path: Path
) -> None:
    deploy(process_file(tmp_path, "few", TOPIC), process_file(tmp_path, "many", "other_topic"))
    worker = start_routed(
        '[systems.crm]\ntopics = ["crm_sync"]\nmax_in_flight = 3\n[systems.other]\ntopics = ["other_topic"]\n'
    )
    few = start_system(["crm.queue"], lambda _: ())
    many = start_system(["other.queue"], lambda _: ())

    for key in ("few", "many"):
        for _ in range(10):
            start_typed(engine_api, key, {})

    many.receive(10)
    few.receive(3)
    worker.wait_for("tasks for crm stay in the engine", "max_in_flight is reached")
    assert len(few.tasks) == 3
