"""Answers that no engine can take, sent to the response queue among good ones."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pika

from tests.faults.observer import Message
from tests.faults.scene import Scene

RESPONSE_QUEUE = "camunda.responses.queue"
HUGE_BYTES = 20_000_000
DEPTH = 100_000


@dataclass(frozen=True, slots=True)
class Rubbish:
    """A bad answer and the reason that it must be set aside for."""

    reason: str
    body: bytes


def good(message: Message) -> bytes:
    """Return an answer that completes a task."""
    fields = {"task_id": message.task_id, "attempt": message.attempt, "response_type": "complete"}
    return json.dumps(fields).encode()


def about(message: Message) -> Iterator[Rubbish]:
    """Yield a bad answer of each kind for a task; the first one that is applied ends its attempt."""
    whole = good(message)
    deep = b"[" * DEPTH + b"]" * DEPTH
    for document in _documents(json.loads(whole)):
        yield Rubbish("invalid", json.dumps(document).encode())
    for body in (b"", whole[:-1], whole.replace(b"complete", b"\xff complete"), deep, _with_variable(whole, deep)):
        yield Rubbish("invalid", body)
    yield Rubbish("too_large", _with_variable(whole, b'"%s"' % (b"x" * HUGE_BYTES)))


def refused(message: Message) -> Rubbish:
    """Return an answer that the engine refuses, if no other answer has ended the attempt that it names."""
    return Rubbish("rejected_by_engine", _with_variable(good(message), b'{"value": "x", "type": "Integer"}'))


def _documents(good: dict[str, str]) -> Iterator[object]:
    yield {**good, "response_type": "finish"}
    yield {"task_id": good["task_id"]}
    yield {**good, "response_type": "bpmn_error"}
    yield {**good, "task_id": "../process-instance"}
    yield {**good, "variables": [1]}
    yield [good]


def _with_variable(answer: bytes, value: bytes) -> bytes:
    return answer[:-1] + b', "variables": {"x": %s}}' % value


@contextmanager
def sender(scene: Scene, user: str, password: str) -> Iterator[Callable[[bytes], None]]:
    """Yield a function that sends a body to the response queue as that user of the broker."""
    connection = scene.connect(user, password)
    channel = connection.channel()
    channel.confirm_delivery()
    properties = pika.BasicProperties(delivery_mode=2, user_id=user)
    yield lambda body: channel.basic_publish("", RESPONSE_QUEUE, body, properties, mandatory=True)
    connection.close()
