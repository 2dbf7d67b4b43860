"""The simulated engine answers as the real one does: the same random scripts run against both."""

import json
import random
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest

from bridge.contract import encode_json
from bridge.engine import Http, Login, Reply
from bridge.engine.client import LAST_FAILURE
from bridge.engine.verdict import judge
from sandbox.engine_api import EngineApi
from sandbox.sandbox import Sandbox
from tests.simulation.engine import Engine
from tests.system.conftest import Deploy
from tests.system.engine import process_file

SCRIPTS = 200
CALLS = 14
TOPIC = "scripted"
WORKERS = ("w1", "w2")
LONG_MS, SHORT_MS = 3_600_000, 1  # a lock that lasts, and one that has ended when the next call comes
Body = Mapping[str, Any]


class Side(Protocol):
    """An engine with one task, which calls name `TASK`."""

    def ask(self, method: str, path: str, body: Body | None) -> Reply: ...

    def suspend(self, *, is_suspended: bool) -> None: ...

    def cancel(self) -> None: ...


@dataclass
class Real:
    http: Http
    api: EngineApi
    instance: str
    task: str

    def ask(self, method: str, path: str, body: Body | None) -> Reply:
        raw = None if body is None else encode_json(body).replace(b"TASK", self.task.encode())
        return self.http.send(method, path.replace("TASK", self.task), raw, timeout_seconds=30)

    def suspend(self, *, is_suspended: bool) -> None:
        path = f"/process-instance/{self.instance}/suspended"
        self.api.request("PUT", path, json={"suspended": is_suspended})

    def cancel(self) -> None:
        self.http.send("DELETE", f"/process-instance/{self.instance}", timeout_seconds=30)


class Simulated:
    def __init__(self) -> None:
        self._engine = Engine(time.monotonic)
        self._engine.start([TOPIC])
        self._task = self._engine.tasks["t1"]

    def ask(self, method: str, path: str, body: Body | None) -> Reply:
        ids = [one.replace("TASK", "t1") for one in (body or {}).get("externalTaskIdIn", ())]
        given = {**(body or {}), **({"externalTaskIdIn": ids} if ids else {})}
        return self._engine.ask(method, path.replace("TASK", "t1"), given)

    def suspend(self, *, is_suspended: bool) -> None:
        if not self._task.end:
            self._engine.suspend(self._task, is_suspended=is_suspended)

    def cancel(self) -> None:
        if not self._task.end:
            self._engine.cancel(self._task)


def script(chance: random.Random) -> Iterator[tuple[str, str, Body | None]]:
    """Yield calls, each with its method, path and body; a word in place of a method is an operator's act."""
    for _ in range(CALLS):
        worker, ms = chance.choice(WORKERS), chance.choice((LONG_MS, LONG_MS, SHORT_MS))
        yield chance.choice(
            (
                ("POST", "/external-task/fetchAndLock", fetching(worker, ms)),
                ("POST", "/external-task/fetchAndLock", fetching(worker, ms)),
                ("POST", "/external-task/TASK/failure", failing(worker, chance)),
                ("POST", "/external-task/TASK/failure", failing(worker, chance)),
                ("POST", "/external-task/TASK/extendLock", {"workerId": worker, "newDuration": ms}),
                ("POST", "/external-task/TASK/lock", {"workerId": worker, "lockDuration": ms}),
                ("POST", "/external-task/TASK/unlock", {}),
                ("GET", "/external-task/TASK", None),
                ("GET", "/external-task/topic-names?withUnlockedTasks=true", None),
                ("POST", "/external-task?maxResults=9", {"externalTaskIdIn": ["TASK"], "locked": True}),
                ("POST", "/external-task?maxResults=9", {"workerId": worker, "withRetriesLeft": True}),
                ("GET", f"/history/external-task-log?externalTaskId=TASK&{LAST_FAILURE}", None),
                ("PUT", "/external-task/TASK/retries", {"retries": 2}),
                ("suspend", "", None),
                ("activate", "", None),
                ("activate", "", None),
                *chance.choices(rare(worker), k=1),
            )
        )


def fetching(worker: str, ms: int) -> Body:
    topics = [{"topicName": TOPIC, "lockDuration": ms}]
    return {"workerId": worker, "maxTasks": 5, "asyncResponseTimeout": 0, "topics": topics}


def failing(worker: str, chance: random.Random) -> Body:
    failure = {"workerId": worker, "errorMessage": "no", "retryTimeout": chance.choice((0, LONG_MS))}
    return failure | chance.choice(({"retries": 0}, {"retries": 3}, {"retries": 1}, {}))


def rare(worker: str) -> list[tuple[str, str, Body | None]]:
    return [
        ("POST", "/external-task/TASK/complete", {"workerId": worker}),
        ("POST", "/external-task/TASK/bpmnError", {"workerId": worker, "errorCode": "no"}),
        ("POST", "/external-task/TASK/bpmnError", {"workerId": worker}),
        ("POST", "/external-task/TASK/complete", {}),
        ("POST", "/external-task/TASK/extendLock", {"workerId": worker, "newDuration": 0}),
        ("POST", "/external-task/nope/complete", {"workerId": worker}),
        ("cancel", "", None),
    ]


def seen(side: Side, method: str, path: str, body: Body | None) -> object:
    """Do one thing; return what a client can tell of it, in which both engines must agree."""
    if method == "cancel":
        side.cancel()
        return None
    if method in ("suspend", "activate"):
        side.suspend(is_suspended=method == "suspend")
        return None
    reply = side.ask(method, path, body)
    if reply.status == 200:
        return told(reply)
    answer = judge(reply.status, reply.body)
    return reply.status, answer.verdict, answer.owner


def told(reply: Reply) -> object:
    document = json.loads(reply.body)
    if isinstance(document, dict):
        return row(document)
    return [row(one) if isinstance(one, dict) else one for one in document]


def row(fields: Mapping[str, Any]) -> dict[str, Any]:
    if "timestamp" in fields:
        return {"is_failure": True}
    kept = ("topicName", "workerId", "retries", "suspended", "errorMessage", "priority")
    return {name: fields.get(name) for name in kept} | {"locked": fields["lockExpirationTime"] is not None}


@pytest.fixture
def start_real(sandbox: Sandbox, engine_api: EngineApi, deploy: Deploy, tmp_path: Path) -> Callable[[], Real]:
    deploy(process_file(tmp_path, "scripted", TOPIC))
    http = Http(sandbox.engine.url, Login(None))

    def make() -> Real:
        instance = engine_api.start_instance("scripted")
        (task,) = engine_api.external_tasks(processInstanceId=instance)
        return Real(http, engine_api, instance, task["id"])

    return make


def test_random_scripts_see_the_same_in_both_engines(start_real: Callable[[], Real]) -> None:
    for number in range(SCRIPTS):
        real, simulated, steps = start_real(), Simulated(), []

        for method, path, body in script(random.Random(number)):
            pair = seen(real, method, path, body), seen(simulated, method, path, body)
            steps.append((method, path, body, *pair))
            assert pair[0] == pair[1], f"script {number}, step {len(steps)}: {steps}"
            time.sleep(0.002)  # a lock of 1 ms has ended

        real.cancel()
