"""Stands for the outside systems: takes tasks, answers them, and remembers all that it saw and said.

It knows the contract and nothing of the worker's code, and is careful as the contract asks: it repeats a final
answer instead of the work, and acknowledges a task when its answer is safe in a queue.
"""

import json
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from types import TracebackType
from typing import Any, Self

import pika
from pika.adapters.select_connection import IOLoop
from pika.channel import Channel
from pika.spec import Basic, BasicProperties

from sandbox.broker import Broker
from tests.faults.amqp import Link
from tests.faults.outbox import Letter, Outbox

PREFETCH = 5000
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
    """What a system says, how long it works before it says so, and what else it says right behind it."""

    fields: dict[str, Any]
    after_seconds: float = 0.0
    then: Sequence[dict[str, Any]] = ()

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
    letter: Letter
    letters_behind: Sequence[Letter]
    unacked: list[tuple[Channel, int]] = field(default_factory=list)
    working: bool = True


class Observer:
    """The systems behind some queues; `behave` decides each answer."""

    def __init__(
        self, broker: Broker, vhost: str, queues: Sequence[str], behave: Behaviour = lambda _: COMPLETE
    ) -> None:
        self.messages: list[Message] = []
        self.copies: list[Message] = []  # what `witness` saw
        self.said: dict[str, Counter[str]] = defaultdict(Counter)  # task id -> response types, once in a queue
        self.said_at: dict[str, float] = {}  # message id -> when its answer was safe in a queue, Unix seconds
        self.behave = behave
        self.senders_clock_ahead_seconds = 0.0
        self.declares = True  # its queues, as many partners do; else it waits for them
        self._queue_arguments = broker.queue_arguments
        self._loop = IOLoop()
        self._parameters = pika.ConnectionParameters(
            host=broker.host,
            port=broker.port,
            virtual_host=vhost,
            credentials=pika.PlainCredentials(broker.username, broker.password),
            heartbeat=0,
            socket_timeout=5,
            client_properties={"connection_name": "observer"},
        )
        # Connections of its own for what it takes: a broker in alarm stops reading from one that publishes, its
        # acknowledgements too; and a queue that is not there closes the channel of whoever asks for it.
        self._inbound: dict[str, Link] = {}
        self._outbox = Outbox(self._loop, self._parameters, broker.username)
        self._cases: dict[str, _Case] = {}
        self._thread = threading.Thread(target=self._loop.start, name="observer", daemon=True)
        for queue in queues:
            self.serve(queue)

    def __enter__(self) -> Self:
        self._loop.add_callback(self._outbox.link.open)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.add_callback_threadsafe(self._end)
        self._thread.join(JOIN_SECONDS)
        self._loop.close()

    def serve(self, queue: str) -> None:
        """Take the tasks of a queue."""
        self._take(queue, self._on_message)

    def witness(self, queue: str) -> None:
        """Take copies of tasks whose system may not be there to see them; nobody answers these."""
        self._take(queue, self._on_copy)

    def leave(self, queue: str) -> None:
        """Take no more tasks of a queue; what was not answered yet goes back into it."""
        self._loop.add_callback_threadsafe(self._inbound.pop(queue).close)

    def answer_through(self, exchange: str) -> None:
        """Answer through an exchange instead of straight into the queue."""
        self._outbox.exchange = exchange

    def hold(self) -> None:
        """Finish work but say nothing until `release`."""
        self._outbox.may_leave = lambda _: False

    def release(self, which: Callable[[str], bool] = lambda _: True) -> None:
        """Say what was held back, or only the answers for the tasks whose id `which` accepts."""
        self._outbox.may_leave = which
        self._loop.add_callback_threadsafe(self._outbox.flush)

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
        for link in (*self._inbound.values(), self._outbox.link):
            link.close()
        self._loop.call_later(0.5, self._loop.stop)

    def _take(self, queue: str, take: Callable[..., None]) -> None:
        on_channel = partial(self._on_inbound, queue, partial(take, queue))
        link = self._inbound[queue] = Link(self._loop, self._parameters, on_channel)
        self._loop.add_callback_threadsafe(link.open)

    def _on_inbound(self, queue: str, take: Callable[..., None], channel: Channel | None) -> None:
        if channel is not None:
            channel.add_on_cancel_callback(lambda _: channel.close())
            channel.basic_qos(prefetch_count=PREFETCH)
            channel.queue_declare(
                queue,
                durable=True,
                passive=not self.declares,
                arguments=self._queue_arguments,
                callback=lambda _: channel.basic_consume(queue, take),
            )

    def _on_message(
        self, queue: str, channel: Channel, delivery: Basic.Deliver, properties: BasicProperties, body: bytes
    ) -> None:
        document = json.loads(body)
        message = _message(queue, delivery, properties, document)
        message = replace(message, created_at=message.created_at - self.senders_clock_ahead_seconds)
        self.messages.append(message)
        case = self._cases.get(message.message_id)
        is_new = case is None or (not case.working and case.answer.kind == "failure")
        if case is None or is_new:
            case = self._cases[message.message_id] = self._new_case(message, str(properties.reply_to), document)
        case.unacked.append((channel, int(delivery.delivery_tag or 0)))
        if is_new:
            self._loop.call_later(case.answer.after_seconds, partial(self._post_all, case))
        elif not case.working:
            self._outbox.post(case.letter)

    def _post_all(self, case: _Case) -> None:
        for letter in (case.letter, *case.letters_behind):
            self._outbox.post(letter)

    def _on_copy(
        self, queue: str, channel: Channel, delivery: Basic.Deliver, properties: BasicProperties, body: bytes
    ) -> None:
        self.copies.append(_message(queue, delivery, properties, json.loads(body)))
        channel.basic_ack(int(delivery.delivery_tag or 0))

    def _new_case(self, message: Message, reply_to: str, document: dict[str, Any]) -> _Case:
        answer = self.behave(message)
        echo = {name: document[name] for name in ("task_id", "attempt", "worker_id")}

        def letter(fields: dict[str, Any], on_safe: Callable[[], None]) -> Letter:
            return Letter(reply_to, json.dumps({**echo, **fields}).encode(), message.task_id, on_safe)

        behind = [letter(fields, lambda: None) for fields in answer.then]
        case = _Case(message, answer, letter(answer.fields, lambda: self._close(case)), behind)
        return case

    def _close(self, case: _Case) -> None:
        case.working = False
        self.said[case.message.task_id][case.answer.kind] += 1
        self.said_at[case.message.message_id] = time.time()
        for channel, tag in case.unacked:
            if channel.is_open:
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
