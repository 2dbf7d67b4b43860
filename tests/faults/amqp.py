"""A connection of the observer's own that comes back by itself; shares one loop with others."""

from collections.abc import Callable

import pika
from pika.adapters.select_connection import IOLoop, SelectConnection
from pika.channel import Channel
from pika.connection import Connection

RECONNECT_SECONDS = 0.3


class Link:
    """Keeps one connection with one channel; `on_channel` is told of each new channel, None when it is lost."""

    def __init__(
        self, loop: IOLoop, parameters: pika.ConnectionParameters, on_channel: Callable[[Channel | None], None]
    ) -> None:
        self._loop = loop
        self._parameters = parameters
        self._on_channel = on_channel
        self._connection: SelectConnection | None = None
        self._ending = False

    def open(self) -> None:
        """Connect; only on the loop's thread, as all of this."""
        if not self._ending:
            self._connection = SelectConnection(
                self._parameters,
                on_open_callback=self._on_open,
                on_open_error_callback=self._on_lost,
                on_close_callback=self._on_lost,
                custom_ioloop=self._loop,
            )

    def close(self) -> None:
        """Close for good."""
        self._ending = True
        if self._connection is not None and self._connection.is_open:
            self._connection.close()

    def _on_open(self, connection: Connection) -> None:
        if self._ending:
            connection.close()
            return
        connection.channel(on_open_callback=self._on_channel_open)

    def _on_channel_open(self, channel: Channel) -> None:
        channel.add_on_close_callback(self._on_channel_closed)
        self._on_channel(channel)

    def _on_channel_closed(self, channel: Channel, _reason: Exception) -> None:
        if channel.connection.is_open:
            channel.connection.close()

    def _on_lost(self, _connection: Connection, _reason: object) -> None:
        self._on_channel(None)
        self._loop.call_later(RECONNECT_SECONDS, self.open)
