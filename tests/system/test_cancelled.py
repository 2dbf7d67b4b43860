"""A system that wants to know is told which of its tasks the process has cancelled, and of no other ones."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from pika.adapters.blocking_connection import BlockingChannel

from sandbox.engine_api import EngineApi
from tests.sandbox.processes import eventually
from tests.system.conftest import Deploy, StartSystem, StartWorker
from tests.system.engine import process_file, wait_for_state
from tests.system.partner import TaskMessage, completing, silent, take_all
from tests.system.worker_process import WorkerProcess

TOLD_SECONDS = 70.0
ROUTING = '[systems.crm]\ntopics = ["crm_sync"]\ncancellations = true\n[systems.other]\ntopics = ["other_topic"]\n'
INTERRUPTED = """<?xml version="1.0" encoding="UTF-8"?>
<definitions xmlns="http://www.omg.org/spec/BPMN/20100524/MODEL"
             xmlns:camunda="http://camunda.org/schema/1.0/bpmn" targetNamespace="tests">
  <message id="enough" name="enough" />
  <process id="interrupted" isExecutable="true" camunda:historyTimeToLive="P1D">
    <startEvent id="start" /><sequenceFlow id="in" sourceRef="start" targetRef="task" />
    <serviceTask id="task" camunda:type="external" camunda:topic="crm_sync" />
    <boundaryEvent id="stop" attachedToRef="task"><messageEventDefinition messageRef="enough" /></boundaryEvent>
    <sequenceFlow id="out" sourceRef="task" targetRef="done" /><endEvent id="done" />
    <sequenceFlow id="off" sourceRef="stop" targetRef="stopped" /><endEvent id="stopped" />
  </process>
</definitions>
"""


@pytest.fixture
def worker(start_worker: StartWorker, tmp_path: Path) -> WorkerProcess:
    """A worker that tells one of its two systems."""
    file = tmp_path / "routing.toml"
    file.write_text(ROUTING, encoding="utf-8")
    return start_worker(ROUTING_FILE=str(file)).wait_connected()


def told(channel: BlockingChannel, count: int) -> list[dict[str, Any]]:
    return [json.loads(body) for _, body in take_all(channel, "crm.cancelled", count)]


@pytest.mark.usefixtures("worker")
def test_a_cancelled_instance_is_told_within_seconds(
    start_system: StartSystem, engine_api: EngineApi, deploy: Deploy, tmp_path: Path, channel: BlockingChannel
) -> None:
    deploy(process_file(tmp_path, "crm", "crm_sync"), process_file(tmp_path, "other", "other_topic"))
    system = start_system(["crm.queue", "other.queue"], silent)
    instances = [engine_api.start_instance(key) for key in ("crm", "other", "crm", "crm")]
    tasks = {task.body["process_instance_id"]: task for task in system.receive(4)}

    cancelled_at = time.monotonic()
    for instance in instances[:3]:
        engine_api.request("DELETE", f"/process-instance/{instance}")
    messages = told(channel, 2)
    seconds = time.monotonic() - cancelled_at

    assert seconds < TOLD_SECONDS
    ids = ("task_id", "process_instance_id", "attempt", "worker_id", "topic", "system")
    wanted = [tasks[instance].body for instance in (instances[0], instances[2])]
    assert sorted([message[name] for name in ids] for message in messages) == sorted(
        [body[name] for name in ids] for body in wanted
    )
    _, properties, _ = channel.basic_get("crm.cancelled")
    assert properties is None


@pytest.mark.usefixtures("worker")
def test_a_task_that_an_event_interrupts_is_told_with_the_ids_of_its_message(
    start_system: StartSystem, engine_api: EngineApi, deploy: Deploy, tmp_path: Path, channel: BlockingChannel
) -> None:
    file = tmp_path / "interrupted.bpmn"
    file.write_text(INTERRUPTED, encoding="utf-8")
    deploy(file)
    system = start_system(["crm.queue"], silent)
    instance = engine_api.start_instance("interrupted")
    (task,) = system.receive(1)

    engine_api.request("POST", "/message", json={"messageName": "enough", "processInstanceId": instance})

    found: list[Any] = []

    def is_told() -> bool:
        _, properties, _ = channel.basic_get("crm.cancelled", auto_ack=True)
        found.extend([properties] if properties else [])
        return bool(found)

    assert eventually(is_told, seconds=TOLD_SECONDS)
    (properties,) = found
    assert properties.type == "camunda.external-task.cancelled"
    assert properties.message_id == task.properties.message_id
    assert properties.correlation_id == task.id
    assert properties.delivery_mode == 2


def test_tasks_that_another_process_completes_are_not_told(
    start_worker: StartWorker,
    start_system: StartSystem,
    engine_api: EngineApi,
    deploy: Deploy,
    tmp_path: Path,
    channel: BlockingChannel,
) -> None:
    deploy(process_file(tmp_path, "crm", "crm_sync"))
    file = tmp_path / "routing.toml"
    file.write_text(ROUTING, encoding="utf-8")
    start_worker(script="camunda_worker.py", ROUTING_FILE=str(file))
    start_worker(script="response_handler.py", ROUTING_FILE=str(file))
    start_system(["crm.queue"], lambda task: completing(task) if answered(task) else silent(task))
    completed = [engine_api.start_instance("crm", {"answer": True}) for _ in range(5)]
    cancelled = engine_api.start_instance("crm", {"answer": False})
    for instance in completed:
        wait_for_state(engine_api, instance)
    assert eventually(lambda: bool(engine_api.external_tasks(locked="true")), seconds=20)

    engine_api.request("DELETE", f"/process-instance/{cancelled}")

    assert [message["process_instance_id"] for message in told(channel, 1)] == [cancelled]
    _, properties, _ = channel.basic_get("crm.cancelled")
    assert properties is None


def answered(task: TaskMessage) -> bool:
    return bool(task.variables["answer"]["value"])
