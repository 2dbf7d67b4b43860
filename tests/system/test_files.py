"""What a message does not carry is served by the engine at the URL that the message names."""

import base64
from pathlib import Path
from typing import Any

import pytest
import requests

from sandbox.engine_api import EngineApi
from tests.system.conftest import Deploy, StartSystem
from tests.system.engine import start_typed
from tests.system.partner import TaskMessage, silent
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
