"""Consuming with manual acknowledgements, which other threads may give."""

from pika.channel import Channel
from pika.spec import Basic, BasicProperties

from bridge.broker.bent_pika import bound_bodies
from bridge.broker.broker import Broker
from bridge.broker.connection import BrokerConnection
from bridge.broker.inbox import KEPT_BYTES, Delivery, Inbox
from bridge.broker.rejected import RejectedReader
from bridge.broker.rights import Act
from bridge.broker.topology import Topology
from bridge.broker.watch import QueueWatch

ACK_SECONDS = 0.05


class Consumer:
    """Reads one queue into an inbox, on a connection of its own, which `rejected` may use too."""

    act = Act.CONSUME

    def __init__(
        self,
        broker: Broker,
        topology: Topology,
        queue: str,
        inbox: Inbox,
        *,
        name: str,
        rejected: RejectedReader | None = None,
    ) -> None:
        watch = QueueWatch(topology.only(queue))
        self._connection = BrokerConnection(broker, topology, self, watch, name=name)
        self._queue = queue
        self._inbox = inbox
        self._rejected = rejected
        self._channel: Channel | None = None
        self._consumer_tag = ""
        self._paused = False
        self._many = max(1, inbox.prefetch // 4)
        self._flush_is_planned = False

    def run(self) -> None:
        """Keep the connection until `stop`; the body of the consumer's thread."""
        self._connection.run()

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
        if self._inbox.finish(delivery) == self._many:
            self._connection.call(self._flush)

    def deliver_again(self, delivery: Delivery, seconds: float) -> None:
        """Hand a delivery out again after a while, from any thread; after a lost connection the broker does."""
        self._connection.call(lambda: self._connection.call_later(seconds, lambda: self._redeliver(delivery)))

    def _redeliver(self, delivery: Delivery) -> None:
        if delivery.channel is self._channel:
            self._inbox.hand(delivery)

    def _plan_flush(self) -> None:
        if not self._flush_is_planned:
            self._flush_is_planned = True
            self._connection.call_later(ACK_SECONDS, self._flush_in_time)

    def _flush_in_time(self) -> None:
        self._flush_is_planned = False
        self._flush()
        if not self._inbox.is_empty:
            self._plan_flush()

    def _flush(self) -> None:
        finished = self._inbox.take_finished()
        if self._channel is None or not self._channel.is_open:
            return
        # On another channel a tag means another message.
        if ours := [delivery for delivery in finished if delivery.channel is self._channel]:
            self._connection.acknowledge(self._channel, [delivery.tag for delivery in ours])
            for delivery in ours:
                self._inbox.remove(delivery)

    def on_channel(self, channel: Channel) -> None:
        """Subscribe on a new channel."""
        self._channel = channel
        self._flush()  # forgets what was acknowledged while there was no channel
        bound_bodies(channel, self._inbox.most_bytes, KEPT_BYTES)
        channel.add_on_cancel_callback(lambda _: channel.close(reply_text="the broker cancelled our consumer"))
        channel.basic_qos(prefetch_count=self._inbox.prefetch, callback=lambda _: self._begin())
        if self._rejected:
            self._rejected.open(channel.connection, self._connection)

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
        self._inbox.subscribed = True

    def _unsubscribe(self) -> None:
        self._inbox.subscribed = False
        if self._channel is not None and self._channel.is_open and self._consumer_tag:
            self._channel.basic_cancel(self._consumer_tag)
        self._consumer_tag = ""

    def on_lost(self) -> None:
        """Forget the channel; the broker delivers again what was not acknowledged."""
        self._inbox.clear()
        self._channel = None
        self._consumer_tag = ""
        self._flush_is_planned = False
        self._flush()

    def on_blocked(self, *, blocked: bool) -> None:
        """Go on: the broker blocks only connections that publish."""

    def on_tick(self) -> None:
        """Nothing is due here: the connection's own watch notices a broker that is frozen."""

    def _on_message(
        self, channel: Channel, method: Basic.Deliver, properties: BasicProperties, body: bytes
    ) -> None:
        delivery = Delivery(channel, method.delivery_tag or 0, body, properties)  # only pika's stubs know of None
        self._inbox.add(delivery)
        self._flush()
        self._plan_flush()
        self._inbox.hand(delivery)
