"""Looks at the queues every few seconds: are they there, how full, and does the broker answer at all."""

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from loguru import logger
from pika.channel import Channel
from pika.exceptions import ChannelClosedByBroker
from pika.frame import Method
from pika.spec import Queue as QueueMethods

from rabbitmq_client.topology import NOT_FOUND, Queue

PERIOD_SECONDS = 4.0


@dataclass(frozen=True, slots=True)
class QueueState:
    """What was last seen of a queue; times on the monotonic clock, which begins at 0 when the machine starts."""

    exists: bool = True
    ready: int = 0
    consumers: int = 0
    seen_at: float = -math.inf
    seen_empty_at: float = -math.inf


class QueueWatch:
    """Declares each queue passively, one after the other, on a channel of its own.

    A queue that was deleted is declared again with its bindings. All on the connection's thread, but `state`.
    """

    def __init__(self, queues: Iterable[Queue], *, may_declare: bool) -> None:
        self._queues = {queue.name: queue for queue in queues}
        self._may_declare = may_declare
        self._states = {name: QueueState() for name in self._queues}
        self._channel: Channel | None = None
        self._pending: list[str] = []
        self._asked_at: float | None = None
        self._next_round = 0.0

    def state(self, queue: str) -> QueueState:
        """Return what was last seen of a queue. From any thread."""
        return self._states[queue]

    def open(self, channel: Channel) -> None:
        """Begin to look, on a new channel of the same connection."""
        self._channel, self._pending, self._asked_at, self._next_round = channel, [], None, 0.0
        channel.add_on_close_callback(self._on_closed)

    def lost(self) -> None:
        """Forget the channel and what was asked on it."""
        self._channel, self._asked_at = None, None

    def hurry(self) -> None:
        """Begin the next round at the next tick."""
        self._next_round = 0.0

    def forgive(self) -> None:
        """Count the broker's silence anew: while it blocks us it reads, and answers, nothing."""
        if self._asked_at is not None:
            self._asked_at = time.monotonic()

    @property
    def silent_seconds(self) -> float:
        """How long the broker has owed us an answer."""
        return 0.0 if self._asked_at is None else time.monotonic() - self._asked_at

    def tick(self) -> None:
        """Begin a round where one is due."""
        if self._channel is None or self._asked_at is not None or time.monotonic() < self._next_round:
            return
        self._pending = list(self._queues)
        self._next_round = time.monotonic() + PERIOD_SECONDS
        self._ask_next()

    def _ask_next(self) -> None:
        if self._pending and self._channel is not None and self._channel.is_open:
            self._asked_at = time.monotonic()
            self._channel.queue_declare(self._pending[0], passive=True, callback=self._on_seen)
        else:
            self._asked_at = None

    def _on_seen(self, frame: Method[QueueMethods.DeclareOk]) -> None:
        name = self._pending.pop(0)
        now = time.monotonic()
        before, ready = self._states[name], frame.method.message_count
        self._states[name] = QueueState(
            ready=ready,
            consumers=frame.method.consumer_count,
            seen_at=now,
            seen_empty_at=before.seen_empty_at if ready else now,
        )
        self._ask_next()

    def _on_closed(self, channel: Channel, reason: Exception) -> None:
        """Take note of a queue that is missing; any other reason ends with the connection."""
        if self._channel is not channel or not channel.connection.is_open:
            return
        self._channel, self._asked_at = None, None
        if not self._pending:
            channel.connection.channel(on_open_callback=self.open)
            return
        name = self._pending.pop(0)
        self._states[name] = replace(self._states[name], exists=False, seen_at=time.monotonic())
        missing = isinstance(reason, ChannelClosedByBroker) and reason.reply_code == NOT_FOUND
        logger.error("queue {} {}", name, "is missing" if missing else f"cannot be looked at: {reason}")
        after = self._redeclare(self._queues[name]) if missing and self._may_declare else self.open
        channel.connection.channel(on_open_callback=after)

    def _redeclare(self, queue: Queue) -> Callable[[Channel], None]:
        def declare(channel: Channel) -> None:
            self.open(channel)
            self._pending = [queue.name]  # so that a refusal is known to be about this queue
            arguments = queue.arguments_at(channel.connection.server_properties or {})
            channel.queue_declare(queue.name, durable=True, arguments=arguments)
            for exchange, key in queue.bindings:
                channel.queue_bind(queue.name, exchange, key)
            logger.warning("queue {} is declared again", queue.name)

        return declare
