"""What the system tests do at the engine beyond the sandbox's own calls."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from sandbox.engine_api import EngineApi
from tests.sandbox.processes import eventually

SECONDS = 60.0

_PROCESS = """<?xml version="1.0" encoding="UTF-8"?>
<definitions xmlns="http://www.omg.org/spec/BPMN/20100524/MODEL"
             xmlns:camunda="http://camunda.org/schema/1.0/bpmn" targetNamespace="tests">
  <process id="{key}" isExecutable="true" camunda:historyTimeToLive="P1D">
    <startEvent id="start" /><sequenceFlow id="in" sourceRef="start" targetRef="task" />
    <serviceTask id="task" camunda:type="external" camunda:topic="{topic}" />
    <sequenceFlow id="out" sourceRef="task" targetRef="done" /><endEvent id="done" />
  </process>
</definitions>
"""


def process_file(folder: Path, key: str, topic: str) -> Path:
    """Writes a process of one external task."""
    file = folder / f"{key}.bpmn"
    file.write_text(_PROCESS.format(key=key, topic=topic), encoding="utf-8")
    return file


def deploy_for_tenant(engine_api: EngineApi, file: Path, tenant: str) -> str:
    form = {"deployment-name": tenant, "tenant-id": tenant}
    with file.open("rb") as content:
        row = engine_api.request("POST", "/deployment/create", data=form, files={file.name: content})
    return str(row["id"])


def start_typed(engine_api: EngineApi, key: str, variables: Mapping[str, Mapping[str, Any]]) -> str:
    """Starts an instance with variables in the engine's own envelopes."""
    row = engine_api.request("POST", f"/process-definition/key/{key}/start", json={"variables": variables})
    return str(row["id"])


def start_many(engine_api: EngineApi, keys: Sequence[str]) -> list[str]:
    """Starts an instance of each key, side by side; returns the ids in order."""
    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(engine_api.start_instance, keys))


def task_of(engine_api: EngineApi, instance: str) -> dict[str, Any]:
    """Returns the one open external task of an instance."""
    (task,) = engine_api.external_tasks(processInstanceId=instance)
    return task


def wait_for_state(engine_api: EngineApi, instance: str, state: str = "COMPLETED") -> None:
    reached = eventually(lambda: engine_api.instance(instance)["state"] == state, seconds=SECONDS)
    assert reached, engine_api.instance(instance)


def wait_for_task(engine_api: EngineApi, instance: str, **fields: Any) -> dict[str, Any]:
    """Waits until the open task of an instance has these fields, and returns it."""
    reached = eventually(lambda: fields.items() <= task_of(engine_api, instance).items(), seconds=SECONDS)
    assert reached, task_of(engine_api, instance)
    return task_of(engine_api, instance)


def stored_variables(engine_api: EngineApi, instance: str) -> dict[str, dict[str, Any]]:
    """Returns type, value and valueInfo of each variable in the history, objects as their text."""
    query = {"processInstanceId": instance, "deserializeValues": "false"}
    rows = engine_api.request("GET", "/history/variable-instance", params=query)
    return {row["name"]: row for row in rows}


def finishers(engine_api: EngineApi, instances: Sequence[str]) -> list[str]:
    """Returns the worker ids that completed tasks of these instances."""
    rows = engine_api.request("GET", "/history/external-task-log", params={"successLog": "true"})
    return [row["workerId"] for row in rows if row["processInstanceId"] in instances]
