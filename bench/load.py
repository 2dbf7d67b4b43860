"""The load on the engine: processes of one task each, their instances, and when these ended."""

import json
import random
import string
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from itertools import count, cycle, islice
from pathlib import Path
from typing import Any

from bench.echo import mark
from bridge.engine.http import Http
from bridge.engine.login import Login
from bridge.errors import Unavailable
from sandbox.engine_api import EngineApi
from sandbox.errors import SandboxError

SYSTEMS = "abcd"  # as in bench/routing.toml
_ROWS = 10_000
_STARTERS = 8
_CALL_SECONDS = 60.0
_DELETE_SECONDS = 900.0  # thousands of instances with their history
_PAYLOAD_LENGTH = 1024
_FILL = "".join(random.Random(7).choices(string.ascii_letters + string.digits + "   ", k=_PAYLOAD_LENGTH))
_DOCUMENT = json.dumps(
    {
        "order": 4711,
        "customer": {"name": "Zoë Müller", "vip": True},
        "items": [{"sku": f"A-{number}", "qty": number, "price": 9.99} for number in range(6)],
    },
    ensure_ascii=False,
)
_PROCESS = """<?xml version="1.0" encoding="UTF-8"?>
<definitions xmlns="http://www.omg.org/spec/BPMN/20100524/MODEL"
             xmlns:camunda="http://camunda.org/schema/1.0/bpmn" targetNamespace="bench">
  <process id="{name}" isExecutable="true" camunda:historyTimeToLive="P1D">
    <startEvent id="start" /><sequenceFlow id="in" sourceRef="start" targetRef="work" />
    <serviceTask id="work" camunda:type="external" camunda:topic="{name}" />
    <sequenceFlow id="out" sourceRef="work" targetRef="done" /><endEvent id="done" />
  </process>
</definitions>
"""


@dataclass(frozen=True)
class Started:
    """An instance: when its start call returned (Unix time), and how late the call was made."""

    instance: str
    returned_at: float
    late_seconds: float


class Load:
    """Processes deployed for one run: nobody else knows their topics, so a long poll left behind takes nothing."""

    def __init__(self, engine_url: str, run: str, folder: Path, topics: int = len(SYSTEMS)) -> None:
        """Takes 8 hexadecimal digits that mark the run; connects on the first call. The systems take turns."""
        self._api = EngineApi(engine_url)
        self._http = Http(engine_url, Login(None))  # starting must be cheap: it shares the machine with the run
        self._run = run
        self._folder = folder
        systems = islice(cycle(SYSTEMS), topics)
        self.topics = tuple(f"bench_{run}_{number}_{system}" for number, system in enumerate(systems))
        self._deployment = ""

    def deploy(self) -> None:
        """Deploys a process for each topic, with the topic's name as its key."""
        files = [self._folder / f"{topic}.bpmn" for topic in self.topics]
        for topic, file in zip(self.topics, files, strict=True):
            file.write_text(_PROCESS.format(name=topic))
        self._deployment = self._api.deploy(files, name=f"bench-{self._run}")

    def delete(self) -> None:
        """Deletes the processes with their instances and history; for thousands it takes some ten seconds."""
        if self._deployment:
            query = "cascade=true&skipCustomListeners=true&skipIoMappings=true"
            self._call("DELETE", f"/deployment/{self._deployment}?{query}", seconds=_DELETE_SECONDS)

    def start(self, numbers: Sequence[int], due: Callable[[int], float] | None = None) -> dict[int, Started]:
        """Starts an instance for each number, `due` then (monotonic time), else as fast as it goes."""
        with ThreadPoolExecutor(_STARTERS) as pool:
            starts = pool.map(lambda number: self._start(number, due(number) if due else None), numbers)
            return dict(zip(numbers, starts, strict=True))

    def running_count(self) -> int:
        """Counts the instances that have not ended."""
        return self._count(f"/process-instance/count?deploymentId={self._deployment}")

    def locked_count(self) -> int:
        """Counts the engine's tasks that are locked; the query knows no set of topics, so others' count too."""
        return self._count("/external-task/count?locked=true")

    def ends(self) -> dict[str, float]:
        """Returns when each ended instance ended (Unix time): the engine's clock is this machine's."""
        ends: dict[str, float] = {}
        for topic in self.topics:
            query = f"processDefinitionKey={topic}&finished=true&sortBy=instanceId&sortOrder=asc"
            for first in count(step=_ROWS):
                page = f"firstResult={first}&maxResults={_ROWS}"
                rows = self._call("GET", f"/history/process-instance?{query}&{page}")
                ends |= {row["id"]: datetime.fromisoformat(row["endTime"]).timestamp() for row in rows}
                if len(rows) < _ROWS:
                    break
        return ends

    def _start(self, number: int, due_at: float | None) -> Started:
        topic = self.topics[number % len(self.topics)]
        body = json.dumps({"businessKey": f"{self._run}-{number}", "variables": _variables(self._run, number)})
        late_seconds = 0.0
        if due_at is not None:
            threading.Event().wait(max(0.0, due_at - time.monotonic()))
            late_seconds = max(0.0, time.monotonic() - due_at)
        row = self._call("POST", f"/process-definition/key/{topic}/start", body.encode())
        returned_at = time.time()  # on a line of its own: an expression might read the clock before the call
        return Started(str(row["id"]), returned_at, late_seconds)

    def _count(self, path: str) -> int:
        return int(self._call("GET", path)["count"])

    def _call(self, method: str, path: str, body: bytes | None = None, *, seconds: float = _CALL_SECONDS) -> Any:
        try:
            reply = self._http.send(method, path, body, timeout_seconds=seconds)
        except Unavailable as error:
            raise SandboxError(str(error)) from error
        if not 200 <= reply.status < 300:
            raise SandboxError(f"{method} {path}: {reply.status} {reply.body[:500]!r}")
        return json.loads(reply.body) if reply.body else None


def _variables(run: str, number: int) -> dict[str, dict[str, str]]:
    marked = mark(run, number)
    payload = marked + _FILL[len(marked) :]
    return {"payload": {"value": payload, "type": "String"}, "doc": {"value": _DOCUMENT, "type": "Json"}}
