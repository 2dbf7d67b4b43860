"""An engine and a publisher without a network, which write down what they are asked."""

import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import Mock

from pika.channel import Channel
from pika.spec import BasicProperties

from bridge.broker import Delivery, Outcome
from bridge.broker.publisher import OnOutcomes
from bridge.contract import ExternalTask, Publication
from bridge.engine import CamundaClient, Http, Login, Reply
from bridge.errors import Unavailable

OURS = "universal-worker"
NOW = datetime(2026, 11, 23, 20, 30, tzinfo=UTC)

ACCEPTED = Reply(204, b"")


def refusal(status: int, message: str, *, kind: str = "RestException", code: int | None = None) -> Reply:
    return Reply(status, json.dumps({"type": kind, "message": message, "code": code}).encode())


GONE = refusal(404, "External task with id t1 does not exist")
LOCKED_BY_NOBODY = refusal(400, "External Task t1 cannot be completed by worker. It is locked by worker 'null'.")
LOCKED_BY_OTHER = refusal(400, "External Task t1 cannot be completed by worker. It is locked by worker 'w2'.")
SUSPENDED = refusal(400, "ENGINE-03043 ExternalTask with id 't1' is suspended.")
BAD_TYPE = refusal(400, "Unsupported value type 'Foo'")
NO_SPIN = refusal(400, "Cannot complete external task t1: Unsupported value type 'Json'")
NO_ENGINE = refusal(400, "No process engine available", kind="InvalidRequestException")
NULL_POINTER = refusal(500, 'because "processInstance" is null', kind="NullPointerException")
TOO_LONG = refusal(500, "An exception occurred ...", kind="ProcessEnginePersistenceException", code=10_002)
COLLISION = refusal(500, "Entity was updated by another transaction", code=1)
TROUBLE = refusal(500, "some listener failed", kind="ProcessEngineException", code=0)
EXPIRED = refusal(400, "Cannot extend a lock that expired: ...")
LOGIN_PAGE = Reply(200, b"<html>please log in</html>")
AWAY = None


class FakeEngine(Http):
    """Answers each call with what `replies` holds for its last word, in turn; 204 where there is nothing left."""

    def __init__(self) -> None:
        super().__init__("http://engine", Login(None))
        self.replies: defaultdict[str, list[Reply | None]] = defaultdict(list)
        self.tasks: dict[str, dict[str, Any]] = {"t1": task_row()}
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.paths: list[str] = []

    def send(self, method: str, path: str, body: bytes | None = None, *, timeout_seconds: float) -> Reply:
        word = path.partition("?")[0].rpartition("/")[2]
        self.paths.append(path)
        self.calls.append((word, json.loads(body) if body else {}))
        if self.replies[word]:
            reply = self.replies[word].pop(0)
            if reply is None:
                raise Unavailable("connection refused")
            return reply
        return self._default(method, word, body)

    def _default(self, method: str, word: str, body: bytes | None) -> Reply:
        if word == "topic-names":
            return Reply(200, b"[]")
        if word == "external-task":
            wanted = json.loads(body or b"{}").get("externalTaskIdIn", self.tasks)
            return Reply(200, json.dumps([self.tasks[i] for i in wanted if i in self.tasks]).encode())
        if method == "GET":
            return Reply(200, json.dumps(self.tasks[word]).encode()) if word in self.tasks else GONE
        return ACCEPTED

    def failed(self, task_id: str, *, retries: int, message: str) -> None:
        """Let a failure have its effect once the task was read."""
        row = self.tasks[task_id]
        before = Reply(200, json.dumps(row).encode())
        self.replies[task_id] = [before]
        end = (NOW + timedelta(seconds=30)).isoformat()
        self.tasks[task_id] = row | {"retries": retries, "errorMessage": message, "lockExpirationTime": end}

    def client(self) -> CamundaClient:
        return CamundaClient(self, OURS)

    def words(self) -> list[str]:
        return [word for word, _ in self.calls]

    def body_of(self, word: str) -> dict[str, Any]:
        return next(body for called, body in self.calls if called == word)


def task_row(
    task_id: str = "t1", *, topic: str = "bitrix_create_task", retries: int | None = None, lock_ends_in: float = 60
) -> dict[str, Any]:
    return {
        "id": task_id,
        "topicName": topic,
        "workerId": OURS,
        "retries": retries,
        "lockExpirationTime": (NOW + timedelta(seconds=lock_ends_in)).isoformat(),
        "processInstanceId": "p1",
        "suspended": False,
    }


def external_task(task_id: str = "t1", **row: Any) -> ExternalTask:
    return ExternalTask.from_engine(task_row(task_id, **row))


class FakePublisher:
    """Confirms what it is given, unless `outcomes` says otherwise."""

    def __init__(self) -> None:
        self.published: list[Publication] = []
        self.outcomes: list[Outcome] = []
        self.keeps = False
        self._kept: list[Callable[[], None]] = []

    def publish(self, publications: Sequence[Publication], on_outcomes: OnOutcomes, **_: float) -> None:
        self.published += publications
        outcomes = [self.outcomes.pop(0) if self.outcomes else Outcome.CONFIRMED for _ in publications]
        self._kept.append(lambda: on_outcomes(outcomes))
        if not self.keeps:
            self.settle_kept()

    def settle_kept(self) -> None:
        """Tell the outcomes that were kept back."""
        while self._kept:
            self._kept.pop(0)()


def delivery(body: object, **properties: Any) -> Delivery:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Delivery(Mock(spec=Channel, is_open=True), 1, raw, BasicProperties(**properties))
