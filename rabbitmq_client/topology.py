"""The exchanges, queues and bindings of the contract: declared, or only checked."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pika.adapters.blocking_connection import BlockingChannel, BlockingConnection
from pika.adapters.select_connection import SelectConnection
from pika.connection import ConnectionParameters
from pika.exceptions import AMQPConnectionError, AMQPError, ChannelClosedByBroker

from errors import SettingsError, Unavailable, WrongQueue
from messages import ERROR_EXCHANGE, ERROR_KEY, RESPONSE_QUEUE, TASK_EXCHANGE

UNROUTED_EXCHANGE = "camunda.unrouted.tasks"
RESPONSE_EXCHANGE = "camunda.task.responses"
ERROR_QUEUE = "errors.camunda_tasks.queue"
RETRY_TIERS = {"5s": 5_000, "30s": 30_000, "5m": 300_000}
# Heartbeats alone notice a frozen broker after a minute, and such of 2 s are too nervous.
ANSWER_SECONDS = 10.0
NOT_FOUND = 404
ACCESS_REFUSED = 403
PRECONDITION_FAILED = 406


@dataclass(frozen=True, slots=True)
class Exchange:
    """A durable exchange."""

    name: str
    kind: str
    arguments: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Queue:
    """A durable queue and its bindings, each an exchange and a key.

    `keeps_all`: a quorum queue that must not drop what came back too often.
    """

    name: str
    arguments: dict[str, Any]
    bindings: tuple[tuple[str, str], ...]
    keeps_all: bool = False

    def arguments_at(self, server_properties: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments to declare the queue with at the broker that calls itself so.

        RabbitMQ 4 drops from a quorum queue what came back 20 times, after lost connections too. -1 lifts that
        limit there; on 3.10 it makes the first return the last (both tried).
        """
        if not self.keeps_all or str(server_properties.get("version")).startswith("3."):
            return self.arguments
        return {**self.arguments, "x-delivery-limit": -1}


class DeadlineConnection(BlockingConnection):
    """A connection that is given up where the broker leaves us without an answer."""

    _deadline: Any = None

    def expect_answers(self) -> None:
        """Wait for the next answers no longer than ANSWER_SECONDS from now on."""
        connection: SelectConnection = self._impl  # type: ignore[attr-defined]  # not in the stubs
        if self._deadline is not None:
            connection.ioloop.remove_timeout(self._deadline)
        silence = AMQPConnectionError(f"the broker has not answered for {ANSWER_SECONDS:.0f} s")
        self._deadline = connection.ioloop.call_later(
            ANSWER_SECONDS,
            lambda: connection._terminate_stream(silence),  # type: ignore[attr-defined]  # not in the stubs
        )


@dataclass(frozen=True, slots=True)
class Topology:
    """All that must exist on the broker; `passive` only checks and never declares."""

    exchanges: tuple[Exchange, ...]
    queues: tuple[Queue, ...]
    passive: bool = False

    @classmethod
    def of(cls, systems: Sequence[str], default: str, *, queue_type: str, passive: bool) -> "Topology":
        """Return the topology of the contract for the named systems; `default` takes what nobody else does."""
        # A plain durable declaration of a public queue must stay possible, so the usual type adds no argument.
        is_quorum = queue_type == "quorum"
        arguments = {"x-queue-type": queue_type} if is_quorum else {}
        unrouted = {default: ((UNROUTED_EXCHANGE, ""),)}
        return cls(
            exchanges=(
                Exchange(UNROUTED_EXCHANGE, "fanout", {}),
                Exchange(TASK_EXCHANGE, "topic", {"alternate-exchange": UNROUTED_EXCHANGE}),
                Exchange(RESPONSE_EXCHANGE, "direct", {}),
                Exchange(ERROR_EXCHANGE, "direct", {}),
            ),
            queues=(
                *(
                    Queue(f"{name}.queue", arguments, ((TASK_EXCHANGE, f"{name}.#"), *unrouted.get(name, ())))
                    for name in systems
                ),
                Queue(RESPONSE_QUEUE, arguments, ((RESPONSE_EXCHANGE, RESPONSE_QUEUE),), keeps_all=is_quorum),
                Queue(ERROR_QUEUE, arguments, ((ERROR_EXCHANGE, ERROR_KEY),), keeps_all=is_quorum),
                *(_retry_queue(tier) for tier in RETRY_TIERS),
            ),
            passive=passive,
        )

    @property
    def watched(self) -> tuple[Queue, ...]:
        """The queues that something must be able to reach at any time: all but the delay tiers."""
        return tuple(queue for queue in self.queues if queue.bindings)

    def only(self, name: str) -> tuple[Queue, ...]:
        """Return the one queue of that name."""
        return tuple(queue for queue in self.queues if queue.name == name)

    def declare(self, parameters: ConnectionParameters) -> None:
        """Declare everything, or check it where passive, over a connection of its own.

        Raises SettingsError for an exchange that is otherwise than wanted; WrongQueue for such queues, once all
        else is declared; AMQPError where the broker is not there.
        """
        connection = DeadlineConnection(parameters)
        try:
            connection.expect_answers()
            channel = connection.channel()
            for exchange in self.exchanges:
                connection.expect_answers()
                self._declare_exchange(channel, exchange)
            server = connection._impl.server_properties  # type: ignore[attr-defined]  # not in the stubs
            wrong = []
            for queue in self.queues:
                connection.expect_answers()
                try:
                    self._declare_queue(channel, queue, queue.arguments_at(server))
                except WrongQueue as error:
                    wrong.append(str(error))
                    channel = connection.channel()
        finally:
            _close(connection)
        if wrong:
            raise WrongQueue("; ".join(wrong))

    def _declare_exchange(self, channel: BlockingChannel, exchange: Exchange) -> None:
        try:
            channel.exchange_declare(
                exchange.name,
                exchange.kind,
                durable=True,
                passive=self.passive,
                arguments=None if self.passive else exchange.arguments,
            )
        except ChannelClosedByBroker as error:
            raise explained("exchange", exchange.name, error) from error

    def _declare_queue(self, channel: BlockingChannel, queue: Queue, arguments: dict[str, Any]) -> None:
        try:
            channel.queue_declare(
                queue.name,
                durable=True,
                passive=self.passive,
                arguments=None if self.passive else arguments,
            )
            for exchange, key in () if self.passive else queue.bindings:
                channel.queue_bind(queue.name, exchange, key)
        except ChannelClosedByBroker as error:
            raise explained("queue", queue.name, error) from error


def retry_queue(tier: str) -> str:
    """Return the name of the queue that holds a response back for the time of `tier`."""
    return f"camunda.responses.retry.{tier}"


def _retry_queue(tier: str) -> Queue:
    # One queue per delay: with a time per message an early one would wait behind a late one.
    arguments = {
        "x-message-ttl": RETRY_TIERS[tier],
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": RESPONSE_QUEUE,
    }
    return Queue(retry_queue(tier), arguments, ())


def is_missing(error: ChannelClosedByBroker) -> bool:
    """Whether there is no such queue or exchange; a queue whose node of the cluster is down is a 404 too."""
    return error.reply_code == NOT_FOUND and "is down or inaccessible" not in error.reply_text


def explained(kind: str, name: str, error: ChannelClosedByBroker) -> SettingsError | Unavailable:
    """Return the broker's refusal as ours: one sentence that says what to do."""
    wrong = WrongQueue if kind == "queue" else SettingsError
    if error.reply_code == PRECONDITION_FAILED:
        return wrong(
            f"RabbitMQ has a {kind} {name!r} that is not as wanted ({error.reply_text}); "
            "delete it when it is empty, or set RABBITMQ_QUEUE_TYPE or a policy to fit"
        )
    if is_missing(error):
        return wrong(f"RabbitMQ has no {kind} {name!r}, and RABBITMQ_TOPOLOGY=passive declares none")
    if error.reply_code == ACCESS_REFUSED:
        return Unavailable(
            f"RabbitMQ does not let us declare {kind} {name!r} ({error.reply_text}); "
            "grant RABBITMQ_USERNAME the configure permission or set RABBITMQ_TOPOLOGY=passive"
        )
    return Unavailable(f"RabbitMQ cannot declare {kind} {name!r}: {error.reply_text}")


def _close(connection: BlockingConnection) -> None:
    with suppress(AMQPError):  # already lost: there is nothing left to close
        connection.close()
