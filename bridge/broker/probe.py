"""Asks the broker whether we may publish, without a message that anybody could get."""

from collections.abc import Callable

from pika.channel import Channel
from pika.connection import Connection
from pika.exceptions import ChannelClosedByBroker

from bridge import clock
from bridge.broker.topology import NOT_FOUND


class Probe:
    """Publishes one byte in a transaction and takes it back: no queue, bound by whomever, ever sees it.

    The broker checks the right to write as the byte comes, and says that it blocks us only after a publish. All on
    the connection's thread. `passed` is called each time that the broker had no objection, `failed` with a channel
    that it closed and the reason.
    """

    def __init__(self, passed: Callable[[], None], failed: Callable[[Channel, Exception], None]) -> None:
        self._passed = passed
        self._failed = failed
        self._channel: Channel | None = None
        self._address = ("", "")
        self._sent_at: float | None = None

    def ask(self, connection: Connection, exchange: str, routing_key: str) -> None:
        """Ask on a channel of the probe's own, unless the broker still owes us an answer."""
        if self._sent_at is not None:
            return
        self._address, self._sent_at = (exchange, routing_key), clock.now()
        if self._channel is None:
            connection.channel(on_open_callback=self._begin)
        else:
            self._publish(self._channel)

    @property
    def waiting_seconds(self) -> float:
        """How long the broker has owed us an answer."""
        return 0.0 if self._sent_at is None else clock.now() - self._sent_at

    def restart_patience(self) -> None:
        """Count the broker's silence anew: while it blocks us it reads, and answers, nothing."""
        if self._sent_at is not None:
            self._sent_at = clock.now()

    def lost(self) -> None:
        """Forget the channel and what was asked on it."""
        self._channel, self._sent_at = None, None

    def _begin(self, channel: Channel) -> None:
        self._channel = channel
        channel.add_on_close_callback(self._on_closed)
        channel.tx_select(callback=lambda _: self._publish(channel))

    def _publish(self, channel: Channel) -> None:
        if channel.is_open:
            channel.basic_publish(*self._address, b"?")
            channel.tx_rollback(callback=lambda _: self._on_taken())

    def _on_taken(self) -> None:
        self._sent_at = None
        self._passed()

    def _on_closed(self, channel: Channel, reason: Exception) -> None:
        self.lost()
        if isinstance(reason, ChannelClosedByBroker) and reason.reply_code == NOT_FOUND:
            self._passed()  # there is no such exchange now, which others look after
        else:
            self._failed(channel, reason)
