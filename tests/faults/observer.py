"""Stands for the outside systems: takes tasks, answers them, and remembers all that it saw and said.

It knows the contract and nothing of the worker's code, and is careful as the contract asks: it repeats a final
answer instead of the work, and acknowledges a task when its answer is safe in a queue.
"""

import json
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from types import TracebackType
from typing import Any, Self

import pika
from pika.adapters.select_connection import IOLoop
from pika.channel import Channel
from pika.frame import Method
from pika.spec import Basic, BasicProperties

from sandbox.broker import Broker
from tests.faults.amqp import Link

PREFETCH = 5000
AGAIN_SECONDS = 0.5
JOIN_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Message:
    """A task message as it was seen; the times are Unix seconds."""

    message_id: str
    task_id: str
    attempt: str
    topic: str
    queue: str
    number: int
    created_at: float
    lock_expires_at: float
    seen_at: float
    redelivered: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """What a system says, and how long it works before it says so."""

    fields: dict[str, Any]
    after_seconds: float = 0.0

    @property
    def kind(self) -> str:
        """The response type."""
        return str(self.fields["response_type"])


COMPLETE = Answer({"response_type": "complete", "variables": {"result": {"value": "done", "type": "String"}}})

SLOW_SECONDS = 4.0


def complete_slowly(_message: Message) -> Answer:
    """Work so long that leases are extended first, and that a second copy comes before the answer."""
    return Answer(COMPLETE.fields, SLOW_SECONDS)


def complete_some_slowly(message: Message) -> Answer:
    """Work long on each fifth task."""
    return Answer(COMPLETE.fields, 0.0 if message.number % 5 else SLOW_SECONDS)


Behaviour = Callable[[Message], Answer]


@dataclass(slots=True)
class _Case:
    """One message id: the work on it, its answer, and the delivery to acknowledge."""

    message: Message
    answer: Answer
    reply_to: str
    body: dict[str, Any]
    unacked: list[tuple[Channel, int]] = field(default_factory=list)
    working: bool = True


class Observer:
    """The systems behind some queues; `behave` decides each answer."""

    def __init__(
        self, broker: Broker, vhost: str, queues: Sequence[str], behave: Behaviour = lambda _: COMPLETE
    ) -> None:
        self.messages: list[Message] = []
        self.said: dict[str, Counter[str]] = defaultdict(Counter)  # task id -> response types, once in a queue
        self.behave = behave
        self._queues = queues
        self._loop = IOLoop()
        parameters = pika.ConnectionParameters(
            host=broker.host,
            port=broker.port,
            virtual_host=vhost,
            credentials=pika.PlainCredentials(broker.username, broker.password),
            heartbeat=0,
            socket_timeout=5,
            client_properties={"connection_name": "observer"},
        )
        # Two connections: a broker in alarm stops reading from one that publishes, its acknowledgements too.
        self._inbound = Link(self._loop, parameters, self._on_inbound)
        self._outbound = Link(self._loop, parameters, self._on_outbound)
        self._out: Channel | None = None
        self._in: Channel | None = None
        self._cases: dict[str, _Case] = {}
        self._outbox: list[_Case] = []
        self._unconfirmed: dict[int, _Case] = {}
        self._last_tag = 0
        self._holding = False
        self._thread = threading.Thread(target=self._loop.start, name="observer", daemon=True)

    def __enter__(self) -> Self:
        self._loop.add_callback(self._inbound.open)
        self._loop.add_callback(self._outbound.open)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.add_callback_threadsafe(self._end)
        self._thread.join(JOIN_SECONDS)
        self._loop.close()

    def hold(self) -> None:
        """Finish work but say nothing until `release`."""
        self._holding = True

    def release(self) -> None:
        """Say what was held back."""
        self._holding = False
        self._loop.add_callback_threadsafe(self._flush)

    @property
    def tasks_seen(self) -> int:
        """How many different tasks have come."""
        return len({message.task_id for message in list(self.messages)})

    @property
    def answers_given(self) -> int:
        """How many answers are safe in a queue."""
        return sum(said.total() for said in list(self.said.values()))

    def doubled(self) -> list[Message]:
        """Return the messages that were published a second time, not merely delivered again by the broker."""
        seen: set[str] = set()
        doubled = []
        for message in list(self.messages):
            if message.message_id in seen and not message.redelivered:
                doubled.append(message)
            seen.add(message.message_id)
        return doubled

    def _end(self) -> None:
        self._inbound.close()
        self._outbound.close()
        self._loop.call_later(0.5, self._loop.stop)

    def _on_inbound(self, channel: Channel | None) -> None:
        self._in = channel
        if channel is not None:
            channel.add_on_cancel_callback(lambda _: channel.close())
            channel.basic_qos(prefetch_count=PREFETCH)
            for queue in self._queues:
                channel.queue_declare(queue, durable=True, callback=partial(self._subscribe, channel, queue))

    def _subscribe(self, channel: Channel, queue: str, _frame: object) -> None:
        channel.basic_consume(queue, partial(self._on_message, queue))

    def _on_message(
        self, queue: str, channel: Channel, delivery: Basic.Deliver, properties: BasicProperties, body: bytes
    ) -> None:
        document = json.loads(body)
        message = _message(queue, delivery, properties, document)
        self.messages.append(message)
        case = self._cases.get(message.message_id)
        is_new = case is None or (not case.working and case.answer.kind == "failure")
        if case is None or is_new:
            case = _Case(message, self.behave(message), str(properties.reply_to), document)
            self._cases[message.message_id] = case
        case.unacked.append((channel, int(delivery.delivery_tag or 0)))
        if is_new:
            self._loop.call_later(case.answer.after_seconds, partial(self._say, case))
        elif not case.working:
            self._say(case)

    def _say(self, case: _Case) -> None:
        self._outbox.append(case)
        self._flush()

    def _flush(self) -> None:
        if self._out is None or not self._out.is_open or self._holding:
            return
        outbox, self._outbox = self._outbox, []
        for case in outbox:
            self._publish(self._out, case)

    def _publish(self, channel: Channel, case: _Case) -> None:
        self._last_tag += 1
        self._unconfirmed[self._last_tag] = case
        echo = {name: case.body[name] for name in ("task_id", "attempt", "worker_id")}
        channel.basic_publish(
            "",
            case.reply_to,
            json.dumps({**echo, **case.answer.fields}).encode(),
            BasicProperties(content_type="application/json", delivery_mode=2, correlation_id=case.message.task_id),
        )

    def _on_outbound(self, channel: Channel | None) -> None:
        lost, self._unconfirmed = self._unconfirmed, {}
        self._outbox += lost.values()
        self._out, self._last_tag = None, 0
        if channel is not None:
            channel.confirm_delivery(self._on_confirm, callback=lambda _: self._on_confirming(channel))

    def _on_confirming(self, channel: Channel) -> None:
        self._out = channel
        self._flush()

    def _on_confirm(self, frame: Method[Basic.Ack | Basic.Nack]) -> None:
        last = frame.method.delivery_tag
        tags = [tag for tag in self._unconfirmed if tag <= last] if frame.method.multiple else [last]
        for tag in tags:
            case = self._unconfirmed.pop(tag)
            if isinstance(frame.method, Basic.Ack):
                self._close(case)
            else:
                self._loop.call_later(AGAIN_SECONDS, partial(self._say, case))

    def _close(self, case: _Case) -> None:
        case.working = False
        self.said[case.message.task_id][case.answer.kind] += 1
        for channel, tag in case.unacked:
            if channel is self._in and channel.is_open:
                channel.basic_ack(tag)
        case.unacked.clear()


def _message(queue: str, delivery: Basic.Deliver, properties: BasicProperties, body: dict[str, Any]) -> Message:
    return Message(
        message_id=str(properties.message_id),
        task_id=body["task_id"],
        attempt=body["attempt"],
        topic=body["topic"],
        queue=queue,
        number=body["variables"].get("number", {}).get("value", -1),
        created_at=datetime.fromisoformat(body["timestamp"]).timestamp(),
        lock_expires_at=datetime.fromisoformat(body["lock_expires_at"]).timestamp(),
        seen_at=time.time(),
        redelivered=bool(delivery.redelivered),
    )
