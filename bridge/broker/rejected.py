"""Task messages that their systems rejected: read beside the responses, on a channel of its own."""

from queue import SimpleQueue

from loguru import logger
from pika.channel import Channel
from pika.connection import Connection
from pika.spec import Basic, BasicProperties

from bridge import clock
from bridge.broker.bent_pika import bound_bodies
from bridge.broker.connection import BrokerConnection
from bridge.broker.inbox import KEPT_BYTES, Delivery
from bridge.contract import REJECTED_QUEUE

PREFETCH = 50


class RejectedReader:
    """Hands out what lies in the queue of rejected messages; of a body above `most_bytes` only the beginning.

    The queue may be missing, or not be ours to read: then nothing is handed out, and the lock's end tells instead.
    `open` is called on the connection's thread, the others from any.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._handed: SimpleQueue[Delivery | None] = clock.SimpleQueue()
        self._connection: BrokerConnection | None = None

    def open(self, opened: Connection, connection: BrokerConnection) -> None:
        """Begin to read on a connection that has just been opened."""
        self._connection = connection
        opened.channel(on_open_callback=self._on_channel)

    def _on_channel(self, channel: Channel) -> None:
        channel.add_on_close_callback(self._on_closed)
        channel.add_on_cancel_callback(lambda _: channel.close(reply_text="the broker cancelled our consumer"))
        bound_bodies(channel, self._most_bytes, KEPT_BYTES)
        channel.basic_qos(prefetch_count=PREFETCH, callback=lambda _: self._subscribe(channel))

    def _subscribe(self, channel: Channel) -> None:
        channel.basic_consume(REJECTED_QUEUE, self._on_message)

    def _on_closed(self, channel: Channel, reason: Exception) -> None:
        if channel.connection.is_open:
            logger.warning("{} is not read until the next connection: {}", REJECTED_QUEUE, reason)

    def _on_message(
        self, channel: Channel, method: Basic.Deliver, properties: BasicProperties, body: bytes
    ) -> None:
        self._handed.put(Delivery(channel, method.delivery_tag or 0, body, properties))

    def take(self) -> Delivery | None:
        """Wait for the next message; None once the reader is closed."""
        return self._handed.get()

    def ack(self, delivery: Delivery) -> None:
        """Acknowledge a message; where its channel is closed, the broker delivers it again."""

        def send() -> None:
            if delivery.channel.is_open:
                delivery.channel.basic_ack(delivery.tag)

        if self._connection:
            self._connection.call(send)

    def deliver_again(self, delivery: Delivery, seconds: float) -> None:
        """Hand a message out again after a while; after a lost connection the broker does."""
        if connection := self._connection:
            connection.call(lambda: connection.call_later(seconds, lambda: self._handed.put(delivery)))

    def close(self) -> None:
        """Let `take` end once it has handed out what came before."""
        self._handed.put(None)
