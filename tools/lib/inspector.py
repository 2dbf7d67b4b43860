"""Looking at a broker without disturbing anybody: queues, permissions, a canary. For the tools."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import ChannelClosedByBroker, ConnectionBlockedTimeout, NackError, UnroutableError
from pika.spec import BasicProperties

from bridge import clock
from bridge.broker.bent_pika import DeadlineConnection
from bridge.broker.broker import CONNECTION_ERRORS, Broker
from bridge.broker.rights import ACCESS_REFUSED
from bridge.broker.topology import NOT_FOUND, Exchange, Queue
from bridge.broker.watch import QueueState
from bridge.errors import Unavailable
from bridge.texts import gettext
from tools.lib.browser import BLOCKED_SECONDS, blocked

CANARY_SECONDS = 5.0


class Inspector:
    """One connection to the broker, a context manager. No call changes a queue, unless its docstring says so."""

    def __init__(self, broker: Broker, *, name: str) -> None:
        """Connect. Raise Unavailable where the broker cannot be reached or refuses the login."""
        self._broker = broker
        self._name = name
        self._connection = self._connect()

    def _connect(self) -> DeadlineConnection:
        connection = self._broker.connect(self._name, DeadlineConnection, blocked_seconds=BLOCKED_SECONDS)
        self._broker.note_certificates(connection)
        return connection

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is KeyboardInterrupt:
            return  # Ctrl-C in the middle of a call: an orderly end would wait for answers in vain, up to 10 s
        with suppress(*CONNECTION_ERRORS):  # already lost: there is nothing left to close
            self._connection.close()

    def server(self) -> tuple[str, str]:
        """Return the broker's product and version."""
        properties = self._server_properties()
        return str(properties.get("product", "?")), str(properties.get("version", "?"))

    def _server_properties(self) -> dict[str, Any]:
        return dict(self._connection._impl.server_properties)  # type: ignore[attr-defined]  # not in the stubs

    def look(self, queue: str) -> QueueState | None:
        """Return how a queue stands, None where there is no such queue."""
        try:
            with self._channel() as channel:
                seen = channel.queue_declare(queue, passive=True).method
                return QueueState(
                    queue, ready=seen.message_count, consumers=seen.consumer_count, seen_at=clock.now()
                )
        except ChannelClosedByBroker as error:
            if error.reply_code == NOT_FOUND:
                return None
            text = gettext("queue {queue} cannot be looked at: {error}")
            raise Unavailable(text.format(queue=queue, error=error.reply_text)) from error

    def has_exchange(self, name: str) -> bool:
        """Whether an exchange exists."""
        return self._refusal(lambda channel: channel.exchange_declare(name, passive=True)) is None

    def differs(self, declared: Exchange | Queue) -> str | None:
        """Declare once more what exists already; return the broker's words where it differs, else None."""
        if isinstance(declared, Exchange):
            return self._refusal(
                lambda channel: channel.exchange_declare(
                    declared.name, declared.kind, durable=True, arguments=declared.arguments
                )
            )
        arguments = declared.arguments_at(self._server_properties())
        return self._refusal(
            lambda channel: channel.queue_declare(declared.name, durable=True, arguments=arguments)
        )

    def may_publish(self, exchange: str, key: str) -> bool:
        """Whether we may write to an exchange: publish in a transaction, and take it back."""

        def attempt(channel: BlockingChannel) -> None:
            channel.tx_select()
            channel.basic_publish(exchange, key, b"")
            channel.tx_rollback()

        return self._refusal(attempt) is None

    def may_read(self, queue: str) -> bool:
        """Whether we may read a queue: take its first message and put it back, marked as redelivered."""
        return self._refusal(lambda channel: _peek(channel, queue)) is None

    def oldest(self, queue: str) -> float | None:
        """Return the time (epoch seconds) that the first message carries, None where it carries none.

        The message is taken and put back at its place, marked as redelivered: a quorum queue counts that.
        """
        with self._channel() as channel:
            properties = _peek(channel, queue)
        return float(properties.timestamp) if properties and properties.timestamp else None

    def canary(self, exchange: str) -> float | None:
        """Send a message through a direct exchange to a queue of our own; return the seconds until it is back.

        Nobody else can get it: the queue is exclusive and its key unique. None where we may not have such a
        queue. Raises Unavailable where the message does not come through.
        """
        try:
            with self._channel() as channel:
                return _canary(channel, exchange)
        except ChannelClosedByBroker as error:
            if error.reply_code == ACCESS_REFUSED:
                return None
            text = gettext("the broker refuses it: {error}")
            raise Unavailable(text.format(error=error.reply_text)) from error

    def _refusal(self, act: Callable[[BlockingChannel], object]) -> str | None:
        try:
            with self._channel() as channel:
                act(channel)
        except ChannelClosedByBroker as error:
            return error.reply_text
        return None

    @contextmanager
    def _channel(self) -> Iterator[BlockingChannel]:
        """Yield a channel of its own for each question: the broker closes one after an error."""
        if not self._connection.is_open:
            self._connection = self._connect()
        self._connection.expect_answers()
        try:
            channel = self._connection.channel()
            yield channel
            channel.close()
        except ChannelClosedByBroker:
            raise
        except ConnectionBlockedTimeout as error:
            raise blocked() from error
        except CONNECTION_ERRORS as error:
            raise self._broker.trouble(error) from error


def _peek(channel: BlockingChannel, queue: str) -> BasicProperties | None:
    method, properties, _ = channel.basic_get(queue)
    if method is not None:
        channel.basic_nack(int(method.delivery_tag or 0), requeue=True)
    return properties


def _canary(channel: BlockingChannel, exchange: str) -> float:
    key = f"camunda.diagnostics.{uuid4().hex}"
    channel.queue_declare(key, exclusive=True, auto_delete=True)
    if exchange:  # the default exchange knows each queue by its name
        channel.queue_bind(key, exchange, key)
    channel.confirm_delivery()
    sent_at = clock.now()
    try:
        channel.basic_publish(exchange, key, b"canary", mandatory=True)
    except (NackError, UnroutableError) as error:
        raise Unavailable(gettext("the broker did not take it: {error}").format(error=error)) from error
    for _, _, body in channel.consume(key, auto_ack=True, inactivity_timeout=CANARY_SECONDS):
        channel.cancel()
        if body == b"canary":
            return clock.now() - sent_at
        break
    text = gettext("it was confirmed and did not come within {seconds:.0f} s")
    raise Unavailable(text.format(seconds=CANARY_SECONDS))
