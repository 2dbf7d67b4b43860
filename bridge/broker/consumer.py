"""Consuming with manual acknowledgements, which other threads may give."""

from collections.abc import Callable
from dataclasses import dataclass

from pika.channel import Channel
from pika.spec import Basic, BasicProperties

from bridge import clock
from bridge.broker.connection import Broker, BrokerConnection
from bridge.broker.rights import Act
from bridge.broker.topology import Topology
from bridge.broker.watch import QueueWatch

ACK_SECONDS = 0.05


@dataclass(frozen=True, slots=True, eq=False)
class Delivery:
    """A message as it came, bound to the channel it came on."""

    channel: Channel
    tag: int
    body: bytes
    properties: BasicProperties

    @property
    def is_acknowledgeable(self) -> bool:
        """Whether an acknowledgement can still reach the broker; else it delivers the message again."""
        return self.channel.is_open

    @property
    def correlation_id(self) -> str | None:
        """The correlation id of the message, which systems may use for the task's id; one in no UTF-8 is none."""
        given = self.properties.correlation_id
        return given if isinstance(given, str) else None


class Consumer:
    """Delivers the messages of one queue on a connection of its own; at most `prefetch` are out at a time."""

    act = Act.CONSUME

    def __init__(
        self,
        broker: Broker,
        topology: Topology,
        queue: str,
        deliver: Callable[[Delivery], None],
        *,
        prefetch: int,
        name: str,
    ) -> None:
        watch = QueueWatch(topology.only(queue))
        self._connection = BrokerConnection(broker, topology, self, watch, name=name)
        self._queue = queue
        self._deliver = deliver
        self._prefetch = prefetch
        self._channel: Channel | None = None
        self._consumer_tag = ""
        self._paused = False
        self._lock = clock.Lock()
        self._done: list[Delivery] = []
        self._unacknowledged: dict[int, Delivery] = {}
        self._done_count = 0
        self._many = max(1, prefetch // 4)
        self._flush_is_planned = False
        self._subscribed = clock.Event()
        self._in_hand = 0

    def run(self) -> None:
        """Keep the connection until `stop`; the body of the consumer's thread."""
        self._connection.run()

    @property
    def in_hand(self) -> int:
        """How many messages were delivered and are not done with."""
        return max(0, self._in_hand - len(self._done))

    @property
    def done(self) -> int:
        """How many messages were acknowledged so far."""
        return self._done_count

    @property
    def has_all(self) -> bool:
        """Whether the queue holds nothing that is not in hand: the broker could deliver more."""
        return self.subscribed and self._in_hand < self._prefetch

    @property
    def subscribed(self) -> bool:
        """Whether the broker delivers to us now."""
        return self._subscribed.is_set()

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
        """Whether the broker takes nothing from us: it never blocks those that only read."""
        return False

    @property
    def trouble(self) -> str:
        """Why there is no connection; empty where there is one."""
        return self._connection.trouble

    @property
    def paused(self) -> bool:
        """Whether we take no messages because we were asked not to."""
        return self._paused

    def pause(self) -> None:
        """Take no more messages; what was delivered can still be acknowledged."""
        self._paused = True
        self._connection.call(self._unsubscribe)

    def resume(self) -> None:
        """Take messages again."""
        self._paused = False
        self._connection.call(self._subscribe)

    def stop(self) -> None:
        """Acknowledge what is done and close; what was not acknowledged is delivered again later."""
        self._connection.call(self._flush)
        self._connection.stop()

    def ack(self, delivery: Delivery) -> None:
        """Acknowledge a delivery soon, from any thread.

        It goes out with the next delivery, or ACK_SECONDS later: waking the consumer's thread for each would cost
        more than the acknowledgement. Many are not held back, for the broker waits for them.
        """
        with self._lock:
            self._done.append(delivery)
            self._done_count += 1
            are_many = len(self._done) == self._many
        if are_many:
            self._connection.call(self._flush)

    def deliver_again(self, delivery: Delivery, seconds: float) -> None:
        """Deliver a message again after a while, from any thread; after a lost connection the broker does."""
        self._connection.call(lambda: self._connection.call_later(seconds, lambda: self._redeliver(delivery)))

    def _redeliver(self, delivery: Delivery) -> None:
        if delivery.channel is self._channel:
            self._deliver(delivery)

    def messages_in_hand(self) -> list[Delivery]:
        """Return what was delivered and is not acknowledged. From any thread."""
        return list(self._unacknowledged.values())

    def _plan_flush(self) -> None:
        if not self._flush_is_planned:
            self._flush_is_planned = True
            self._connection.call_later(ACK_SECONDS, self._flush_in_time)

    def _flush_in_time(self) -> None:
        self._flush_is_planned = False
        self._flush()
        if self._in_hand:
            self._plan_flush()

    def _flush(self) -> None:
        if not self._done:
            return
        with self._lock:
            done, self._done = self._done, []
        with self._connection.one_write():
            for delivery in done:
                if delivery.channel is self._channel:  # on another channel its tag means another message
                    delivery.channel.basic_ack(delivery.tag)
                    self._in_hand -= 1
                    self._unacknowledged.pop(delivery.tag, None)

    def on_channel(self, channel: Channel) -> None:
        """Subscribe on a new channel."""
        self._channel = channel
        self._flush()  # forgets what was acknowledged while there was no channel
        channel.add_on_cancel_callback(lambda _: channel.close(reply_text="the broker cancelled our consumer"))
        channel.basic_qos(prefetch_count=self._prefetch, callback=lambda _: self._begin())

    def _begin(self) -> None:
        self._subscribe()
        if self._paused:  # then there is nothing that could fail later
            self._connection.worked()

    def _subscribe(self) -> None:
        if self._channel is None or self._paused or self._consumer_tag:
            return
        self._consumer_tag = self._channel.basic_consume(
            self._queue, self._on_message, callback=lambda _: self._on_subscribed()
        )

    def _on_subscribed(self) -> None:
        self._connection.worked()
        self._subscribed.set()

    def _unsubscribe(self) -> None:
        self._subscribed.clear()
        if self._channel is not None and self._channel.is_open and self._consumer_tag:
            self._channel.basic_cancel(self._consumer_tag)
        self._consumer_tag = ""

    def on_lost(self) -> None:
        """Forget the channel; the broker delivers again what was not acknowledged."""
        self._subscribed.clear()
        self._channel = None
        self._consumer_tag = ""
        self._in_hand = 0
        self._unacknowledged.clear()
        self._flush_is_planned = False
        self._flush()

    def on_blocked(self, *, blocked: bool) -> None:
        """Go on: the broker blocks only connections that publish."""

    def on_tick(self) -> None:
        """Nothing is due here: the connection's own watch notices a broker that is frozen."""

    def _on_message(
        self, channel: Channel, method: Basic.Deliver, properties: BasicProperties, body: bytes
    ) -> None:
        assert method.delivery_tag is not None
        self._in_hand += 1
        self._flush()
        self._plan_flush()
        delivery = Delivery(channel, method.delivery_tag, body, properties)
        self._unacknowledged[delivery.tag] = delivery
        self._deliver(delivery)
