"""What a message does not carry is served by the engine at the URL that the message names."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest
import requests

from sandbox import choice
from sandbox.engine_api import EngineApi
from tests.system.conftest import Deploy, StartSystem, StartWorker
from tests.system.engine import start_typed, wait_for_state, wait_for_task
from tests.system.partner import TaskMessage, complete, silent
from tests.system.scopes import SOURCES, scopes_file

QUEUE = ["bitrix24.queue"]
NAMES = ["invoice", "invoice no 1", "100%", "a%2Fb", "Größe", "счёт №1", "in/out", "back\\slash", ".."]


def file_of(content: bytes) -> dict[str, Any]:
    value = base64.b64encode(content).decode()
    return {"type": "File", "value": value, "valueInfo": {"filename": "счёт 1.pdf", "mimetype": "application/pdf"}}


def content_of(name: str) -> bytes:
    return f"%PDF-1.7 of {name}".encode() + bytes(range(256))


def download(url: str) -> bytes:
    with requests.Session() as session:
        session.trust_env = False
        reply = session.get(url, timeout=10)
    assert reply.status_code == 200, (url, reply.text)
    return reply.content


def expected(name: str) -> list[tuple[str, bytes]]:
    """What the task of each activity sees as the variable `name`."""
    of_scopes = [(activity, content_of(source)) for activity, names in SOURCES.items() for source in names]
    return sorted([*of_scopes, ("plain", content_of(name))])


def seen(task: TaskMessage, name: str) -> tuple[str, bytes]:
    return task.body["activity_id"], download(task.body["metadata"]["file_urls"][name])


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize("name", NAMES)
def test_each_task_gets_the_file_that_it_sees_whatever_its_scope_and_name(
    engine_api: EngineApi, deploy: Deploy, start_system: StartSystem, tmp_path: Path, name: str
) -> None:
    deploy(scopes_file(tmp_path, name, "bitrix_create_task"))
    sources = [source for names in SOURCES.values() for source in names]
    system = start_system(QUEUE, silent)

    start_typed(engine_api, "scopes", {source: file_of(content_of(source)) for source in (*sources, name)})
    tasks = system.receive(8)

    assert sorted(seen(task, name) for task in tasks) == expected(name)
    urls = {url for task in tasks for url in task.body["metadata"]["file_urls"].values()}
    assert len([download(url) for url in urls]) > len(sources)


BY_REFERENCE = '[systems.bitrix24]\npatterns = ["bitrix_*"]\nlarge_variables = "reference"\n'
LONG_TEXT = json.dumps({"имя": ["Анна", 1.50, None], "filler": "Ж" * 30_000}, ensure_ascii=False)
LARGE: dict[str, dict[str, Any]] = {
    "bytes": {"type": "Bytes", "value": base64.b64encode(bytes(range(256)) * 120).decode()},
    "in/out": {"type": "Bytes", "value": base64.b64encode(b"in and out" * 3000).decode()},
    "object": {
        "type": "Object",
        "value": LONG_TEXT,
        "valueInfo": {
            "objectTypeName": "com.example.NotOnTheEnginesClasspath",
            "serializationDataFormat": "application/json",
        },
    },
}
if choice.HAS_JSON:
    LARGE["document"] = {"type": "Json", "value": LONG_TEXT}


@pytest.fixture
def start_sparing_worker(start_worker: StartWorker, tmp_path: Path) -> None:
    """Starts a worker whose messages are small, and name large values by reference."""
    routing = tmp_path / "routing.toml"
    routing.write_text(BY_REFERENCE, encoding="utf-8")
    start_worker(ROUTING_FILE=str(routing), RABBITMQ_MAX_MESSAGE_BYTES="20000").wait_connected()


def served(task: TaskMessage, name: str) -> dict[str, Any]:
    """The envelope that a reference leads to; of Bytes only the bytes are served."""
    content = download(task.body["metadata"]["variable_urls"][name])
    if task.variables[name]["type"] == "Bytes":
        return {"type": "Bytes", "value": base64.b64encode(content).decode(), "valueInfo": {}}
    envelope: dict[str, Any] = json.loads(content)
    return envelope


@pytest.mark.usefixtures("samples", "start_sparing_worker")
def test_values_that_are_too_large_are_served_by_the_engine_and_the_others_are_sent(
    engine_api: EngineApi, start_system: StartSystem
) -> None:
    small: dict[str, dict[str, Any]] = {
        "title": {"type": "String", "value": "Перезвонить"},
        "sum": {"type": "Long", "value": 5},
    }
    system = start_system(QUEUE, lambda task: [complete(task, variables={"done": True})])

    instance = start_typed(engine_api, "bitrix24_task", LARGE | small)
    wait_for_state(engine_api, instance)

    (task,) = system.tasks
    assert {name: task.variables[name]["value"] for name in small} == {"title": "Перезвонить", "sum": 5}
    assert task.body["metadata"]["variable_urls"].keys() == LARGE.keys()
    for name, variable in LARGE.items():
        sent = task.variables[name]
        assert (sent["type"], sent["value"]) == (variable["type"], None)
        assert sent["valueInfo"] == variable.get("valueInfo", {}) | {"by_reference": True}


@pytest.mark.usefixtures("samples", "start_sparing_worker")
def test_a_reference_leads_to_the_envelope_that_the_message_would_have_held(
    engine_api: EngineApi, start_system: StartSystem
) -> None:
    system = start_system(QUEUE, silent)

    start_typed(engine_api, "bitrix24_task", LARGE)
    (task,) = system.receive(1)

    for name, variable in LARGE.items():
        assert served(task, name) == {"valueInfo": {}} | variable


@pytest.mark.usefixtures("start_sparing_worker")
@pytest.mark.parametrize("name", ["report", "in/out"])
def test_a_reference_leads_to_the_value_that_the_task_sees_in_its_scope(
    engine_api: EngineApi, deploy: Deploy, start_system: StartSystem, tmp_path: Path, name: str
) -> None:
    deploy(scopes_file(tmp_path, name, "bitrix_create_task"))
    sources = [source for names in SOURCES.values() for source in names]
    values = {source: base64.b64encode(content_of(source) * 100).decode() for source in (*sources, name)}
    system = start_system(QUEUE, silent)

    start_typed(engine_api, "scopes", {one: {"type": "Bytes", "value": value} for one, value in values.items()})
    tasks = system.receive(8)

    assert sorted((task.body["activity_id"], served(task, name)["value"]) for task in tasks) == sorted(
        (activity, base64.b64encode(content * 100).decode()) for activity, content in expected(name)
    )


@pytest.mark.usefixtures("samples", "start_sparing_worker")
def test_a_reference_that_is_sent_back_fails_the_task_with_the_reason(
    engine_api: EngineApi, start_system: StartSystem
) -> None:
    start_system(QUEUE, lambda task: [complete(task, variables=task.variables)] if task.attempt == "first" else [])

    instance = start_typed(engine_api, "bitrix24_task", {"object": LARGE["object"]})
    task = wait_for_task(engine_api, instance, retries=3)

    assert "variable 'object' is a reference: leave it out" in task["errorMessage"]
