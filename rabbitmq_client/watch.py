"""Looks at the queues every few seconds: are they there, how full, and does the broker answer at all."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from loguru import logger
from pika.channel import Channel
from pika.exceptions import ChannelClosedByBroker
from pika.frame import Method
from pika.spec import Queue as QueueMethods

import clock
from rabbitmq_client.topology import Exchange, Queue, explained, is_missing

PERIOD_SECONDS = 4.0


@dataclass(frozen=True, slots=True)
class QueueState:
    """What was last seen of a queue; times on the monotonic clock, which begins at 0 when the machine starts.

    `trouble` says why nothing should be published to it; usually it is empty.
    """

    trouble: str = ""
    ready: int = 0
    consumers: int = 0
    seen_at: float = -math.inf
    seen_empty_at: float = -math.inf


class QueueWatch:
    """Declares each queue passively, one after the other, on a channel of its own.

    What was deleted is declared again: an exchange, a queue, or its bindings where a partner made the queue anew.
    All on the connection's thread, but `state`.
    """

    def __init__(
        self, queues: Iterable[Queue], *, exchanges: Iterable[Exchange] = (), may_declare: bool = False
    ) -> None:
        self._queues = {queue.name: queue for queue in queues}
        self._exchanges = exchanges
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
        self._pending, self._next_round = [], 0.0
        self._go_on(channel)

    def _go_on(self, channel: Channel) -> None:
        self._channel, self._asked_at = channel, None
        channel.add_on_close_callback(self._on_closed)
        self._ask_next()

    def lost(self) -> None:
        """Forget the channel and what was asked on it."""
        self._channel, self._asked_at = None, None

    def hurry(self) -> None:
        """Begin the next round at the next tick."""
        self._next_round = 0.0

    def forgive(self) -> None:
        """Count the broker's silence anew: while it blocks us it reads, and answers, nothing."""
        if self._asked_at is not None:
            self._asked_at = clock.now()

    @property
    def silent_seconds(self) -> float:
        """How long the broker has owed us an answer."""
        return 0.0 if self._asked_at is None else clock.now() - self._asked_at

    def tick(self) -> None:
        """Begin a round where one is due."""
        if self._channel is None or self._asked_at is not None or clock.now() < self._next_round:
            return
        self._pending = list(self._queues)
        self._next_round = clock.now() + PERIOD_SECONDS
        self._ask_next()

    def _ask_next(self) -> None:
        if self._pending and self._channel is not None and self._channel.is_open:
            self._asked_at = clock.now()
            self._channel.queue_declare(self._pending[0], passive=True, callback=self._on_seen)
        else:
            self._asked_at = None

    def _on_seen(self, frame: Method[QueueMethods.DeclareOk]) -> None:
        name = self._pending[0]
        now = clock.now()
        before, ready = self._states[name], frame.method.message_count
        self._states[name] = QueueState(
            trouble=before.trouble,
            ready=ready,
            consumers=frame.method.consumer_count,
            seen_at=now,
            seen_empty_at=before.seen_empty_at if ready else now,
        )
        if self._may_declare and self._channel is not None and self._channel.is_open:
            self._declare(self._channel, self._queues[name])
        else:
            self._on_fit()

    def _declare(self, channel: Channel, queue: Queue) -> None:
        """See whether the arguments are as wanted; then bind the queue, which whoever made it anew did not."""

        def bind(_: object) -> None:
            for exchange, key in queue.bindings:
                channel.queue_bind(queue.name, exchange, key)
            self._on_fit()

        self._asked_at = clock.now()
        arguments = queue.arguments_at(channel.connection.server_properties or {})
        channel.queue_declare(queue.name, durable=True, arguments=arguments, callback=bind)

    def _on_fit(self) -> None:
        self._note(self._pending.pop(0), "")
        self._ask_next()

    def _note(self, name: str, trouble: str) -> None:
        """Log trouble with a queue when it begins and when it ends."""
        before = self._states[name]
        self._states[name] = replace(before, trouble=trouble)
        if trouble and trouble != before.trouble:
            logger.error("{}: {}", name, trouble)
        elif before.trouble and not trouble:
            logger.info("{} is as it should be again", name)

    def _on_closed(self, channel: Channel, reason: Exception) -> None:
        """Take note of a queue that is not there or not as wanted; other reasons end with the connection."""
        if self._channel is not channel or not channel.connection.is_open:
            return
        self._channel, self._asked_at = None, None
        go_on = self._answer_to(reason) if isinstance(reason, ChannelClosedByBroker) else self._go_on
        channel.connection.channel(on_open_callback=go_on)

    def _answer_to(self, reason: ChannelClosedByBroker) -> Callable[[Channel], None]:
        """Return how to go on: declare again what is missing, else look at the other queues."""
        missing = is_missing(reason)
        for name in self._pending[:1]:
            self._note(name, reason.reply_text if missing else str(explained("queue", name, reason)))
        if missing and self._may_declare:
            return self._declare_again
        self._pending = self._pending[1:]
        return self._go_on

    def _declare_again(self, channel: Channel) -> None:
        """Declare the exchanges and the queue in question, and look at all queues again.

        An exchange that is missing shows when a queue is bound to it, and that is heard of a little later.
        """
        for exchange in self._exchanges:
            channel.exchange_declare(exchange.name, exchange.kind, durable=True, arguments=exchange.arguments)
        for queue in (self._queues[name] for name in self._pending[:1]):
            arguments = queue.arguments_at(channel.connection.server_properties or {})
            channel.queue_declare(queue.name, durable=True, arguments=arguments)
            logger.warning("{} is declared again, with its exchanges and bindings", queue.name)
        self._next_round = 0.0
        self._go_on(channel)
