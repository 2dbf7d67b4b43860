"""The responses that this process has taken from their queue and not acknowledged yet."""

import hashlib
from dataclasses import dataclass

from pika.channel import Channel
from pika.spec import BasicProperties

from bridge import clock
from bridge.broker.bent_pika import CutBody
from bridge.broker.handover import Handover
from bridge.contract import BodyForm, NamedTask, TraceContext, named_task

MOST_BYTES = 1_048_576
KEPT_BYTES = 65_536  # of a body that is too large


@dataclass(frozen=True, slots=True, eq=False)
class Delivery:
    """A message as it came, bound to the channel it came on; of a body that is too large only the beginning."""

    channel: Channel
    tag: int
    body: bytes
    properties: BasicProperties

    @property
    def size(self) -> int:
        """How many bytes its body had."""
        return self.body.size if isinstance(self.body, CutBody) else len(self.body)

    @property
    def sha256(self) -> str:
        """The SHA-256 of its whole body, in hexadecimal digits."""
        return self.body.sha256 if isinstance(self.body, CutBody) else hashlib.sha256(self.body).hexdigest()

    @property
    def is_acknowledgeable(self) -> bool:
        """Whether an acknowledgement can still reach the broker; else it delivers the message again."""
        return self.channel.is_open

    @property
    def correlation_id(self) -> str | None:
        """The correlation id of the message, which systems may use for the task's id; one in no UTF-8 is none."""
        return _text(self.properties.correlation_id)

    @property
    def form(self) -> BodyForm:
        """What its properties say of its body."""
        return BodyForm(_text(self.properties.content_encoding), _text(self.properties.content_type))

    @property
    def named_task(self) -> NamedTask | None:
        """Which task it is about, as far as that can be read; None where it does not say."""
        return named_task(self.body, self.correlation_id, self.form)

    @property
    def trace(self) -> TraceContext | None:
        """The trace that its headers name, None where they name no valid one."""
        headers = self.properties.headers or {}
        return TraceContext.read(headers.get("traceparent"), headers.get("tracestate"))


def _text(given: object) -> str | None:
    return given if isinstance(given, str) else None


class Inbox:
    """Hands deliveries to the threads that apply them, and tells everybody else what is in hand.

    `is_read`: a consumer of this process reads the queue; `prefetch`: so many deliveries the broker leaves
    unacknowledged at a time. Of a body above `most_bytes` only the first KEPT_BYTES are in hand. May be used from
    any thread, but for what the consumer calls on its own.
    """

    def __init__(self, *, is_read: bool, prefetch: int, most_bytes: int = MOST_BYTES) -> None:
        self.is_read = is_read
        self.prefetch = prefetch
        self.most_bytes = most_bytes
        self.subscribed = False
        self.done = 0
        self._handed: Handover[Delivery | None] = Handover()
        self._unacknowledged: dict[int, Delivery] = {}
        self._finished: list[Delivery] = []
        self._lock = clock.Lock()

    def take(self) -> Delivery | None:
        """Wait for the next delivery; None once the inbox is closed."""
        delivery = self._handed.take()
        if delivery is None:
            self._handed.put(None)  # for the next thread
        return delivery

    def hand(self, delivery: Delivery) -> None:
        """Let the next free thread apply a delivery."""
        self._handed.put(delivery)

    def close(self) -> None:
        """Let the threads end once they have taken what was handed before."""
        self._handed.put(None)

    def finish(self, delivery: Delivery) -> int:
        """Note that a delivery is done with; return how many wait to be acknowledged."""
        with self._lock:
            self._finished.append(delivery)
            self.done += 1
            return len(self._finished)

    @property
    def in_hand(self) -> int:
        """How many deliveries are not done with."""
        return max(0, len(self._unacknowledged) - len(self._finished))

    @property
    def has_all(self) -> bool:
        """Whether the queue holds nothing that is not in hand: the broker could deliver more."""
        return self.subscribed and len(self._unacknowledged) < self.prefetch

    def answers_to(self, task_id: str) -> list[NamedTask]:
        """Return what can be read of the answers to this task that are in hand."""
        with self._lock:
            finished = set(self._finished)
        deliveries = [delivery for delivery in self._unacknowledged.copy().values() if delivery not in finished]
        named = (delivery.named_task for delivery in deliveries)
        return [one for one in named if one is not None and one.task_id == task_id]

    def add(self, delivery: Delivery) -> None:
        """Note what the broker has delivered."""
        self._unacknowledged[delivery.tag] = delivery

    @property
    def is_empty(self) -> bool:
        """Whether everything is acknowledged."""
        return not self._unacknowledged

    def take_finished(self) -> list[Delivery]:
        """Take what is done with, to acknowledge it."""
        with self._lock:
            finished, self._finished = self._finished, []
        return finished

    def remove(self, delivery: Delivery) -> None:
        """Note an acknowledgement that was sent."""
        self._unacknowledged.pop(delivery.tag, None)

    def clear(self) -> None:
        """Forget all: the connection is lost, and the broker delivers again what was not acknowledged."""
        self.subscribed = False
        self._unacknowledged.clear()
