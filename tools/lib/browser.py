"""Looking into a queue and taking out, or sending on, what is chosen; for the tools."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from pika.adapters.blocking_connection import BlockingConnection
from pika.exceptions import AMQPError, ConnectionBlockedTimeout, NackError, UnroutableError
from pika.spec import BasicProperties

from bridge.broker.broker import CONNECTION_ERRORS, Broker
from bridge.broker.headers import copied, sendable
from bridge.errors import Unavailable
from bridge.texts import gettext

BLOCKED_SECONDS = 5.0
MOST_BYTES_OF_HEADERS = 100_000  # what one frame holds beside them


def blocked() -> Unavailable:
    """Return what a broker is that lets nobody publish."""
    return Unavailable(gettext("RabbitMQ blocks all that publish: it is short of memory or disk"))


@dataclass(frozen=True, slots=True)
class Found:
    """A message that lies in a queue."""

    tag: int
    body: bytes
    headers: dict[str, Any]
    properties: BasicProperties


class QueueBrowser:
    """A context manager that reads a queue; what is not taken is back in its place at the end."""

    def __init__(self, broker: Broker, queue: str) -> None:
        """Raise Unavailable where the broker cannot be reached or refuses the login."""
        self._queue = queue
        name = f"browser of {queue}"
        self._connection = broker.connect(name, BlockingConnection, blocked_seconds=BLOCKED_SECONDS)
        self._channel = self._connection.channel()
        self._channel.confirm_delivery()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(*CONNECTION_ERRORS):  # already lost: the broker puts back what was not acknowledged
            self._connection.close()

    def count(self) -> int:
        """Return how many messages are in the queue now. Raises Unavailable."""
        try:
            return int(self._channel.queue_declare(self._queue, passive=True).method.message_count)
        except AMQPError as error:
            text = gettext("queue {queue} cannot be read: {error}")
            raise Unavailable(text.format(queue=self._queue, error=error)) from error

    def messages(self) -> Iterator[Found]:
        """Yield the messages that are in the queue now, oldest first. Raises Unavailable."""
        for _ in range(self.count()):
            method, properties, body = self._channel.basic_get(self._queue)
            if method is None or properties is None or body is None:
                return
            yield Found(int(method.delivery_tag or 0), body, dict(properties.headers or {}), properties)

    def drop(self, found: Found) -> None:
        """Take a message out of the queue."""
        self._channel.basic_ack(found.tag)

    def move(self, found: Found, queue: str, keep_header: Callable[[str], bool]) -> None:
        """Send a message on to another queue, then take it out of this one. Raises Unavailable."""
        chosen = {name: value for name, value in found.headers.items() if keep_header(name)}
        headers = sendable(chosen, MOST_BYTES_OF_HEADERS)
        try:
            self._channel.basic_publish(
                "",
                queue,
                found.body,
                BasicProperties(headers=headers, **copied(found.properties)),
                mandatory=True,
            )
        except (NackError, UnroutableError) as error:
            text = gettext("queue {queue} does not take the message: {error}")
            raise Unavailable(text.format(queue=queue, error=error)) from error
        except ConnectionBlockedTimeout as error:
            raise blocked() from error
        self.drop(found)
