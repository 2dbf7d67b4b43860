"""Variables go to the system and back with their values and types."""

import base64
import json
from typing import Any

import pytest
import requests

from sandbox import choice
from sandbox.engine_api import EngineApi
from tests.system.conftest import StartSystem
from tests.system.engine import start_typed, stored_variables, wait_for_state
from tests.system.partner import Reply, TaskMessage, complete

TYPED: dict[str, dict[str, Any]] = {
    "text": {"type": "String", "value": 'Перезвонить 👋 "\\ \u2028 \t'},
    "longest_text": {"type": "String", "value": "Ж" * 4000},
    "empty_text": {"type": "String", "value": ""},
    "yes": {"type": "Boolean", "value": True},
    "integer": {"type": "Integer", "value": -(2**31)},
    "beyond_doubles": {"type": "Long", "value": 2**53 + 1},
    "largest": {"type": "Long", "value": 2**63 - 1},
    "short": {"type": "Short", "value": 7},
    "double": {"type": "Double", "value": 0.1},
    "moment": {"type": "Date", "value": "2026-11-24T09:30:00.123+0000"},
    "nothing": {"type": "Null", "value": None},
    "bytes": {"type": "Bytes", "value": base64.b64encode(bytes(range(256))).decode()},
    "object": {
        "type": "Object",
        "value": '{"city":"Омск","zip":644000}',
        "valueInfo": {
            "objectTypeName": "com.example.NotOnTheEnginesClasspath",
            "serializationDataFormat": "application/json",
        },
    },
}
if choice.HAS_JSON:
    TYPED["document"] = {"type": "Json", "value": '{"имя": ["Анна", 1, null, {"x": 1.50}]}'}


def echoing(task: TaskMessage) -> list[Reply]:
    return [complete(task, variables={f"echo_{name}": value for name, value in task.variables.items()})]


@pytest.mark.usefixtures("samples", "worker")
def test_typed_variables_come_to_the_system_and_back_as_they_were(
    engine_api: EngineApi, start_system: StartSystem
) -> None:
    system = start_system(["bitrix24.queue"], echoing)

    instance = start_typed(engine_api, "bitrix24_task", TYPED)
    wait_for_state(engine_api, instance)

    (task,) = system.tasks
    stored = stored_variables(engine_api, instance)
    assert {name: task.variables[name]["value"] for name in TYPED} == {
        name: variable["value"] for name, variable in TYPED.items()
    }
    assert {name: task.variables[name]["type"] for name in TYPED} == {
        name: variable["type"] for name, variable in TYPED.items()
    }
    for name in TYPED:
        original, echo = stored[name], stored[f"echo_{name}"]
        assert (echo["type"], echo["value"], echo["valueInfo"]) == (
            original["type"],
            original["value"],
            original["valueInfo"],
        )
    raw = [
        engine_api.request("GET", f"/history/variable-instance/{stored[name]['id']}", params={})["value"]
        for name in ("bytes", "echo_bytes")
    ]
    assert raw[0] == raw[1]


@pytest.mark.usefixtures("samples", "worker")
def test_a_file_is_downloaded_from_the_engine_and_not_in_the_message(
    engine_api: EngineApi, start_system: StartSystem
) -> None:
    content = b"%PDF-1.7 \x00\xff"
    file = {
        "type": "File",
        "value": base64.b64encode(content).decode(),
        "valueInfo": {"filename": "счёт 1.pdf", "mimetype": "application/pdf"},
    }
    system = start_system(["bitrix24.queue"], lambda task: [complete(task)] if task.id == "later" else [])

    start_typed(engine_api, "bitrix24_task", {"invoice no 1": file})
    (task,) = system.receive(1)

    variable = task.variables["invoice no 1"]
    assert (variable["type"], variable["value"]) == ("File", None)
    assert variable["valueInfo"]["filename"] == "счёт 1.pdf"
    url = task.body["metadata"]["file_urls"]["invoice no 1"]
    with requests.Session() as session:
        session.trust_env = False
        assert session.get(url, timeout=10).content == content


@pytest.mark.usefixtures("samples", "worker")
def test_bare_values_get_the_types_that_fit(engine_api: EngineApi, start_system: StartSystem) -> None:
    bare = {
        "text": "да",
        "yes": False,
        "integer": 2**31 - 1,
        "long": 2**31,
        "double": 1.5,
        "nothing": None,
        "list": [1, "a"],
        "map": {"value": 1, "unit": "kg"},
        "untyped": {"value": "x"},
        "json": {"value": {"a": [1]}, "type": "Json" if choice.HAS_JSON else None},
    }
    start_system(["bitrix24.queue"], lambda task: [complete(task, variables=bare)])

    instance = start_typed(engine_api, "bitrix24_task", {})
    wait_for_state(engine_api, instance)

    stored = {name: (row["type"], row["value"]) for name, row in stored_variables(engine_api, instance).items()}
    documents = {name: json.loads(stored.pop(name)[1]) for name in ("list", "map", "json")}
    assert documents == {"list": [1, "a"], "map": {"value": 1, "unit": "kg"}, "json": {"a": [1]}}
    assert stored == {
        "text": ("String", "да"),
        "yes": ("Boolean", False),
        "integer": ("Integer", 2**31 - 1),
        "long": ("Long", 2**31),
        "double": ("Double", 1.5),
        "nothing": ("Null", None),
        "untyped": ("String", "x"),
    }


@pytest.mark.usefixtures("samples", "worker")
def test_local_variables_stay_at_the_task(engine_api: EngineApi, start_system: StartSystem) -> None:
    fields = {"variables": {"for_all": 1}, "local_variables": {"for_the_task": 2}}
    start_system(["bitrix24.queue"], lambda task: [complete(task, **fields)])

    instance = start_typed(engine_api, "bitrix24_task", {})
    wait_for_state(engine_api, instance)

    stored = stored_variables(engine_api, instance)
    assert stored["for_all"]["activityInstanceId"] == instance
    assert stored["for_the_task"]["activityInstanceId"].startswith("create_task:")


@pytest.mark.usefixtures("samples", "worker")
def test_the_message_says_where_the_task_comes_from(engine_api: EngineApi, start_system: StartSystem) -> None:
    system = start_system(["bitrix24.queue"], lambda _: [])

    instance = engine_api.start_instance("bitrix24_task", business_key="order-7")
    (task,) = system.receive(1)

    (row,) = engine_api.external_tasks(processInstanceId=instance)
    assert task.body["task_id"] == row["id"]
    assert task.body["process_instance_id"] == instance
    assert (task.body["process_definition_key"], task.body["activity_id"]) == ("bitrix24_task", "create_task")
    assert (task.body["business_key"], task.body["attempt"], task.body["retries"]) == ("order-7", "first", None)
    assert (task.body["topic"], task.body["system"]) == ("bitrix_create_task", "bitrix24")
    assert task.properties.message_id == f"{row['id']}:first"
    assert task.properties.correlation_id == row["id"]
    assert task.properties.reply_to == "camunda.responses.queue"
    assert task.properties.type == "camunda.external-task"
    assert task.properties.delivery_mode == 2
    assert 0 < int(str(task.properties.expiration)) <= 590_000
    assert (task.properties.headers or {})["process_instance_id"] == instance
