"""Looks at the queues every few seconds: are they there, how full, and does the broker answer at all."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Self

from loguru import logger
from pika.channel import Channel
from pika.exceptions import ChannelClosedByBroker
from pika.frame import Method
from pika.spec import Queue as QueueMethods

from bridge import clock
from bridge.broker.rights import KINDS, Act, missing_right
from bridge.broker.topology import Exchange, Queue, Topology, is_missing, is_of_older_version, trouble_of
from bridge.contract import TASK_EXCHANGE

PERIOD_SECONDS = 4.0
FRESH_SECONDS = 30.0
EXCHANGES = "the exchanges"  # the first step of a round; no queue has such a name


@dataclass(frozen=True, slots=True)
class QueueState:
    """What was last seen of a queue; times on the monotonic clock, which begins at 0 when the machine starts.

    `trouble` says why nothing should be published to it; usually it is empty. `fit_at`: when it was last there as
    it should be, its bindings too where we may declare them. `lost_at`: when it was last known to be gone, or to
    have been made anew, and with it the messages that were in it. `drained_at`: when it was last seen empty while
    somebody listened; `unheard_at`: with messages while nobody did. `vanished_at`: when messages were last seen
    to be gone from it though nobody listened: they expired, or went with a queue that was made anew between two
    looks. `ready` does not count what consumers hold unacknowledged.
    """

    name: str
    trouble: str = ""
    ready: int = 0
    consumers: int = 0
    seen_at: float = -math.inf
    seen_empty_at: float = -math.inf
    drained_at: float = -math.inf
    unheard_at: float = -math.inf
    vanished_at: float = -math.inf
    fit_at: float = -math.inf
    lost_at: float = -math.inf

    @property
    def is_lost(self) -> bool:
        """Whether it was not seen as it should be since it was lost."""
        return self.lost_at > self.fit_at

    @property
    def is_known(self) -> bool:
        """Whether it was seen lately, so that the figures mean something."""
        return clock.now() - self.seen_at < FRESH_SECONDS

    @property
    def is_unheard(self) -> bool:
        """Whether messages wait and nobody listens."""
        return self.ready > 0 and self.consumers == 0

    def seen(self, *, ready: int, consumers: int) -> Self:
        """Return the state after a look, made now."""
        now = clock.now()
        is_heard = consumers > 0
        fewer_unheard = ready < self.ready and not self.consumers
        return replace(
            self,
            ready=ready,
            consumers=consumers,
            seen_at=now,
            seen_empty_at=self.seen_empty_at if ready else now,
            drained_at=now if is_heard and not ready else self.drained_at,
            unheard_at=now if ready and not is_heard else self.unheard_at,
            vanished_at=now if not is_heard and (not ready or fewer_unheard) else self.vanished_at,
        )


class QueueWatch:
    """Declares each queue passively, one after the other, on a channel of its own.

    What was deleted is declared again: an exchange, a queue, or its bindings where a partner made the queue anew.
    All on the connection's thread, but `state` and `look_soon`.
    """

    def __init__(
        self, queues: Iterable[Queue], *, exchanges: Iterable[Exchange] = (), may_declare: bool = False
    ) -> None:
        self._queues = {queue.name: queue for queue in queues}
        self._exchanges = tuple(exchanges) if may_declare else ()
        self.may_declare = may_declare
        self._states = {name: QueueState(name) for name in self._queues}
        self._trouble_with_exchanges = ""
        self._left_as_they_are: set[str] = set()  # delay tiers of an older version
        self._declared_again: set[str] = set()  # and not seen since: the broker may refuse it
        self._channel: Channel | None = None
        self._pending: list[str] = []
        self._act, self._at = Act.DECLARE, ""
        self._asked_at: float | None = None
        self._next_round = 0.0

    @classmethod
    def of_all(cls, topology: Topology) -> Self:
        """Return a watch over all queues and exchanges."""
        return cls(topology.queues, exchanges=topology.exchanges, may_declare=not topology.passive)

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

    def look_soon(self) -> None:
        """Begin the next round at the next tick."""
        self._next_round = 0.0

    def restart_patience(self) -> None:
        """Count the broker's silence anew: while it blocks us it reads, and answers, nothing."""
        if self._asked_at is not None:
            self._asked_at = clock.now()

    @property
    def silent_seconds(self) -> float:
        """How long the broker has owed us an answer."""
        return 0.0 if self._asked_at is None else clock.now() - self._asked_at

    def note_troubles(self, troubles: Mapping[str, str]) -> None:
        """Take what is wrong with some queues, by name; before the first round nothing is known of them."""
        for name in troubles.keys() & self._queues.keys():
            self._note(name, troubles[name])

    def note_return(self, exchange: str | None, routing_key: str | None) -> None:
        """Take a message that no queue took: declare and bind its queue again without delay."""
        for name in (queue.name for queue in self._queues.values() if queue.takes(exchange, routing_key)):
            state = self._states[name]
            if not state.is_lost:
                logger.warning("{} was deleted or lost its binding to {}: it took no message", name, exchange)
            self._states[name] = replace(state, lost_at=clock.now())
        self.look_soon()
        self.tick()

    def tick(self) -> None:
        """Begin a round where one is due."""
        if self._channel is None or self._asked_at is not None or clock.now() < self._next_round:
            return
        self._pending = [*((EXCHANGES,) if self._exchanges else ()), *self._queues]
        self._next_round = clock.now() + PERIOD_SECONDS
        self._ask_next()

    def _ask_next(self) -> None:
        if not self._pending or self._channel is None or not self._channel.is_open:
            self._asked_at = None
            return
        self._asked_at = clock.now()
        if self._pending[0] == EXCHANGES:
            self._declare_exchanges(self._channel)
        else:
            self._act, self._at = Act.DECLARE, self._pending[0]
            self._channel.queue_declare(self._pending[0], passive=True, callback=self._on_seen)

    def _declare_exchanges(self, channel: Channel) -> None:
        """Declare the exchanges, then bind them; the broker answers the last of each only."""

        def bind(_: object) -> None:
            self._act, self._at = Act.BIND, TASK_EXCHANGE
            bindings = [(exchange.name, *binding) for exchange in self._exchanges for binding in exchange.bindings]
            for place, binding in enumerate(bindings, 1):
                channel.exchange_bind(*binding, callback=self._on_exchanges if place == len(bindings) else None)
            if not bindings:
                self._on_exchanges(_)

        self._act, self._at = Act.LINK, ""
        for place, exchange in enumerate(self._exchanges, 1):
            channel.exchange_declare(
                exchange.name,
                exchange.kind,
                durable=True,
                arguments=exchange.arguments,
                callback=bind if place == len(self._exchanges) else None,
            )

    def _on_exchanges(self, _: object) -> None:
        self._note_exchanges("")
        self._pending.pop(0)
        self._ask_next()

    def _note_exchanges(self, trouble: str) -> None:
        if trouble and trouble != self._trouble_with_exchanges:
            logger.error("{}", trouble)
        self._trouble_with_exchanges = trouble

    def _on_seen(self, frame: Method[QueueMethods.DeclareOk]) -> None:
        name, found = self._pending[0], frame.method
        self._declared_again.discard(name)
        self._states[name] = self._states[name].seen(ready=found.message_count, consumers=found.consumer_count)
        is_ours = self.may_declare and name not in self._left_as_they_are
        if is_ours and self._channel is not None and self._channel.is_open:
            self._declare(self._channel, self._queues[name])
        else:
            self._on_fit(None)

    def _declare(self, channel: Channel, queue: Queue) -> None:
        """Compare the arguments with what we declare; then bind the queue, which whoever made it anew did not."""

        def bind(_: object) -> None:
            for place, (exchange, key) in enumerate(queue.bindings, 1):
                self._act, self._at = Act.BIND, exchange
                is_last = place == len(queue.bindings)
                channel.queue_bind(queue.name, exchange, key, callback=self._on_fit if is_last else None)
            if not queue.bindings:
                self._on_fit(_)

        self._asked_at = clock.now()
        if not queue.is_declared:
            bind(None)
            return
        arguments = queue.arguments_at(channel.connection.server_properties or {})
        channel.queue_declare(queue.name, durable=True, arguments=arguments, callback=bind)

    def _on_fit(self, _: object) -> None:
        name = self._pending.pop(0)
        self._note(name, "")
        self._states[name] = replace(self._states[name], fit_at=clock.now())
        self._ask_next()

    def _note(self, name: str, trouble: str) -> None:
        """Log trouble with a queue when it begins and when it ends."""
        before = self._states[name]
        if trouble == before.trouble:
            return
        self._states[name] = replace(before, trouble=trouble)
        if trouble:
            logger.error("{}: {}", name, trouble)
        else:
            logger.info("{} exists again, as we declare it", name)

    def _on_closed(self, channel: Channel, reason: Exception) -> None:
        """Take note of a queue that is missing or differs from ours; other reasons end with the connection."""
        if self._channel is not channel or not channel.connection.is_open:
            return
        self._channel, self._asked_at = None, None
        go_on = self._answer_to(reason) if isinstance(reason, ChannelClosedByBroker) else self._go_on
        channel.connection.channel(on_open_callback=go_on)

    def _answer_to(self, reason: ChannelClosedByBroker) -> Callable[[Channel], None]:
        """Return how to go on: declare again what is missing, else look at the other queues."""
        for name in self._pending[:1]:
            if name == EXCHANGES:
                self._note_exchanges(missing_right(reason.reply_text, self._act, self._at))
            elif self._queues[name].can_be_done_without and is_of_older_version(reason):
                self._left_as_they_are.add(name)
                return self._go_on
            else:
                self._note_closed(name, reason)
                if is_missing(reason) and self.may_declare and self._queues[name].is_declared:
                    return self._declare_again
        self._pending = self._pending[1:]
        return self._go_on

    def _note_closed(self, name: str, reason: ChannelClosedByBroker) -> None:
        if not is_missing(reason):
            self._note(name, trouble_of(KINDS["queue"], name, reason, self._act, self._at))
            return
        before = self._states[name]
        if f"no queue {name!r}" in reason.reply_text:
            self._states[name] = replace(before, lost_at=clock.now())
        self._note(name, before.trouble or reason.reply_text)

    def _declare_again(self, channel: Channel) -> None:
        """Declare the exchanges and the queue in question, and look at all queues again.

        An exchange may be what is missing: that shows when a queue is bound to it.
        """
        for exchange in self._exchanges:
            channel.exchange_declare(exchange.name, exchange.kind, durable=True, arguments=exchange.arguments)
        for queue in (self._queues[name] for name in self._pending[:1]):
            arguments = queue.arguments_at(channel.connection.server_properties or {})
            channel.queue_declare(queue.name, durable=True, arguments=arguments)
            if queue.name not in self._declared_again:
                self._declared_again.add(queue.name)
                logger.warning("{} is declared again, with its exchanges and bindings", queue.name)
                self._next_round = 0.0
        self._go_on(channel)
