"""Publishing with confirms: a whole batch goes out, and each message's fate comes back."""

import math
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from itertools import dropwhile, takewhile
from queue import Empty, SimpleQueue

from pika.channel import Channel
from pika.exceptions import ChannelClosedByBroker
from pika.frame import Method
from pika.spec import Basic, BasicProperties

from bridge import clock
from bridge.broker.broker import Broker
from bridge.broker.connection import BrokerConnection
from bridge.broker.probe import Probe
from bridge.broker.rights import ACCESS_REFUSED, Act, Refusal
from bridge.broker.topology import Topology
from bridge.broker.watch import QueueWatch
from bridge.contract import ERROR_EXCHANGE, ERROR_KEY, RESPONSE_QUEUE, TASK_EXCHANGE, Publication

IDLE_SECONDS = 5.0
PROGRESS_SECONDS = 10.0
LATE_SECONDS = 5.0


TASKS_PLACE = (TASK_EXCHANGE, "default.probe")
COPIES_PLACE = (ERROR_EXCHANGE, ERROR_KEY)


class Outcome(Enum):
    """The fate of a message handed to the publisher."""

    CONFIRMED = "a queue has it"
    RETURNED = "no queue took it: certainly not delivered"
    REFUSED = "the queue refused it: certainly not delivered"
    DENIED = "the broker denies us the right to publish it: certainly not delivered"
    TOO_LARGE = "the broker takes no message of that size: certainly not delivered"
    UNSENT = "it never left: certainly not delivered"
    UNKNOWN = "the connection was lost before the confirm: it may be delivered"


_TOO_LARGE = re.compile(r"message size \d+ is larger than (?:configured )?max size (\d+)")
# A return does not say which publication it is of; those that are alike in all of this are as good as one another.
_Identity = tuple[str | None, str | None, str | None, bytes]
OnOutcomes = Callable[[Sequence[Outcome]], None]


@dataclass(slots=True)
class _Batch:
    publications: Sequence[Publication]
    on_outcomes: OnOutcomes
    send_by: float
    outcomes: list[Outcome] = field(default_factory=list)
    left: int = 0

    def note(self, index: int, outcome: Outcome) -> None:
        """Note what became of one message; the last one of a batch ends it."""
        self.outcomes[index] = outcome
        self.left -= 1
        if self.left == 0:
            self.on_outcomes(self.outcomes)


class Publisher:
    """Publishes persistent, mandatory messages on a connection of its own.

    `publish` and `ready` may be used from any thread. The outcomes come on the publisher's thread, or before
    `publish` returns where there is no connection. `watch` looks at queues on this connection; by default at one
    queue, which shows whether the broker answers. `place` is an exchange and a routing key that it must be able to
    publish to, or it is not ready. `most_bytes`: as large a body as the broker takes, once it has refused one.
    """

    act = Act.PUBLISH

    def __init__(
        self,
        broker: Broker,
        topology: Topology,
        *,
        name: str,
        place: tuple[str, str] = TASKS_PLACE,
        watch: QueueWatch | None = None,
    ) -> None:
        self.watch = watch or QueueWatch(topology.only(RESPONSE_QUEUE))
        self._connection = BrokerConnection(broker, topology, self, self.watch, name=name)
        self._channel: Channel | None = None
        self._handed: SimpleQueue[_Batch] = clock.SimpleQueue()
        self._last_tag = 0
        self._unconfirmed: dict[int, tuple[_Batch, int]] = {}
        self._returned: Counter[_Identity] = Counter()
        self._blocked = False
        self._last_progress = 0.0
        self._unsent_bytes = 0
        self._place = place
        self._probe = Probe(self._on_probed, self._connection.on_channel_closed)
        self._may_publish = False
        self._ready = clock.Event()
        self.most_bytes = sys.maxsize

    def run(self) -> None:
        """Keep the connection until `stop`; the body of the publisher's thread."""
        self._connection.run()

    def stop(self) -> None:
        """Close the connection; what is not confirmed by then is UNKNOWN."""
        self._connection.stop()

    @property
    def ready(self) -> bool:
        """Whether messages can be published now: connected, and not blocked by the broker."""
        return self._ready.is_set()

    @property
    def holds_nothing(self) -> bool:
        """Whether there is nothing to bring to an end at a stop: it has no connection, at most it seeks one."""
        return self._connection.holds_nothing

    @property
    def connected(self) -> bool:
        """Whether the connection is open."""
        return not self._connection.trouble

    @property
    def blocked(self) -> bool:
        """Whether the broker, short of memory or disk, takes nothing from us."""
        return self._blocked and self.connected

    @property
    def trouble(self) -> str:
        """Why nothing can be published now; empty where it can."""
        if self._connection.trouble:
            return self._connection.trouble
        if self._blocked:
            return "RabbitMQ is short of memory or disk and blocks publishing"
        silent = clock.now() - self._last_progress if self._unconfirmed else 0.0
        return f"RabbitMQ has confirmed nothing for {silent:.0f} s" if silent > LATE_SECONDS else ""

    def wait_until_ready(self, seconds: float) -> bool:
        """Wait at most `seconds` for `ready` and return it."""
        return self._ready.wait(seconds)

    def publish(
        self, publications: Sequence[Publication], on_outcomes: OnOutcomes, *, send_by: float = math.inf
    ) -> None:
        """Send a batch; `on_outcomes` gets the outcomes, in order, once all are known.

        What has not left by `send_by` (monotonic) is UNSENT: a process may have been stopped for a while.
        """
        self._handed.put(_Batch(publications, on_outcomes, send_by))
        if not self._connection.call(self._send_handed):
            self._fail_handed()

    def _send_handed(self) -> None:
        channel = self._channel
        if channel is None or not channel.is_open:
            self._fail_handed()
            return
        for batch in self._take_handed():
            if clock.now() < batch.send_by:
                self._send(batch, channel)
            else:
                batch.on_outcomes([Outcome.UNSENT] * len(batch.publications))

    def _fail_handed(self) -> None:
        for batch in self._take_handed():
            batch.on_outcomes([Outcome.UNSENT] * len(batch.publications))

    def _take_handed(self) -> Iterator[_Batch]:
        with suppress(Empty):
            while True:
                yield self._handed.get_nowait()

    def _send(self, batch: _Batch, channel: Channel) -> None:
        count = len(batch.publications)
        batch.outcomes, batch.left = [Outcome.UNKNOWN] * count, count
        if not self._unconfirmed:
            self._last_progress = clock.now()
        tags = range(self._last_tag + 1, self._last_tag + count + 1)
        self._unconfirmed.update((tag, (batch, index)) for index, tag in enumerate(tags))
        self._last_tag += count
        self._connection.publish(channel, batch.publications)

    def on_channel(self, channel: Channel) -> None:
        """Begin to publish on a new channel, in confirm mode, once the broker lets us."""
        self._channel = channel
        self._last_tag = 0
        self._blocked = False
        channel.add_on_return_callback(self._on_return)
        channel.add_on_close_callback(self._on_channel_closed)
        channel.confirm_delivery(
            self._on_confirm, callback=lambda _: self._probe.ask(channel.connection, *self._place)
        )

    def _on_probed(self) -> None:
        self._last_progress = clock.now()
        self._may_publish = True
        self._connection.worked()
        self._update_ready()

    def on_tick(self) -> None:
        """Try out an idle connection, and give up one that takes nothing any more."""
        if self._channel is None or self._blocked:
            return
        if self._unconfirmed:
            self._note_progress()
        elif clock.now() - self._last_progress > IDLE_SECONDS:
            self._probe.ask(self._channel.connection, *self._place)
        silent = clock.now() - self._last_progress if self._unconfirmed else self._probe.waiting_seconds
        if silent > PROGRESS_SECONDS:
            self._connection.abort(f"no confirm came for {PROGRESS_SECONDS:.0f} s")

    def _note_progress(self) -> None:
        """Count bytes that the broker takes as progress: on a slow line a batch needs its time."""
        unsent = self._connection.unsent_bytes
        if unsent < self._unsent_bytes:
            self._last_progress = clock.now()
        self._unsent_bytes = unsent

    def on_lost(self) -> None:
        """End what was under way: whether the broker has it cannot be known any more."""
        self._may_publish = False
        self._update_ready()
        self._probe.lost()
        self._channel = None
        self._returned.clear()
        lost, self._unconfirmed = self._unconfirmed, {}
        for batch, index in lost.values():
            batch.note(index, Outcome.UNKNOWN)
        self._fail_handed()  # a loop that ends forgets the calls that it has not made yet

    def on_blocked(self, *, blocked: bool) -> None:
        """Stop or start offering to publish, as the broker says."""
        self._blocked = blocked
        self._last_progress = clock.now()
        self._probe.restart_patience()
        self._connection.worked()
        self._update_ready()

    def _update_ready(self) -> None:
        if self._may_publish and not self._blocked:
            self._ready.set()
        else:
            self._ready.clear()

    def _on_channel_closed(self, _channel: Channel, reason: Exception) -> None:
        """Note what the broker refuses, if that is why it closed the channel."""
        if not isinstance(reason, ChannelClosedByBroker):
            return
        if reason.reply_code == ACCESS_REFUSED and (refusal := Refusal.of(str(reason))):
            denied = self._note_refused(refusal.is_of, Outcome.DENIED)
            if denied and refusal.topic is None:
                self._place = (denied.exchange, denied.routing_key)  # the next probe asks for it
        elif found := _TOO_LARGE.search(str(reason)):
            most = self.most_bytes = int(found[1])
            self._note_refused(lambda publication: len(publication.body) > most, Outcome.TOO_LARGE)

    def _note_refused(self, is_meant: Callable[[Publication], bool], outcome: Outcome) -> Publication | None:
        """Note and return the first message that is meant; note all after it, at which the broker does not look.

        Those before it may be delivered.
        """
        sent = [(tag, *place, place[0].publications[place[1]]) for tag, place in self._unconfirmed.items()]
        behind = list(dropwhile(lambda item: not is_meant(item[3]), sent))
        for tag, batch, index, publication in behind:
            del self._unconfirmed[tag]
            batch.note(index, outcome if is_meant(publication) else Outcome.UNSENT)
        return behind[0][3] if behind else None

    def _on_return(
        self, _channel: Channel, method: Basic.Return, properties: BasicProperties, body: bytes
    ) -> None:
        self._returned[method.exchange, method.routing_key, properties.message_id, body] += 1
        self.watch.note_return(method.exchange, method.routing_key)

    def _on_confirm(self, frame: Method[Basic.Ack | Basic.Nack]) -> None:
        """Note the confirmed messages; RabbitMQ sends a message's return before its confirm."""
        self._last_progress = clock.now()
        confirmed = isinstance(frame.method, Basic.Ack)
        for tag in self._tags(frame.method.delivery_tag, multiple=frame.method.multiple):
            batch, index = self._unconfirmed.pop(tag)
            batch.note(index, self._outcome(batch.publications[index], confirmed=confirmed))

    def _tags(self, last: int, *, multiple: bool) -> list[int]:
        # The tags were entered in rising order, so the search ends at the first that is not confirmed yet.
        return list(takewhile(lambda tag: tag <= last, self._unconfirmed)) if multiple else [last]

    def _outcome(self, publication: Publication, *, confirmed: bool) -> Outcome:
        if self._returned and self._take_return(publication):
            return Outcome.RETURNED
        return Outcome.CONFIRMED if confirmed else Outcome.REFUSED

    def _take_return(self, publication: Publication) -> bool:
        identity = (
            publication.exchange,
            publication.routing_key,
            publication.properties.get("message_id"),
            publication.body,
        )
        is_returned = self._returned[identity] > 0
        self._returned -= Counter([identity])  # keeps what is above zero only, and so no body longer than needed
        return is_returned
