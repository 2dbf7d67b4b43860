"""The exchanges, queues and bindings of the contract: declared, or only checked."""

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from loguru import logger
from pika.adapters.blocking_connection import BlockingChannel, BlockingConnection
from pika.connection import ConnectionParameters
from pika.exceptions import AMQPError, ChannelClosedByBroker

from bridge.broker.bent_pika import DeadlineConnection
from bridge.broker.rights import ACCESS_REFUSED, KINDS, Act, missing_right
from bridge.contract import (
    ERROR_EXCHANGE,
    ERROR_KEY,
    REJECTED_QUEUE,
    RESPONSE_QUEUE,
    TASK_EXCHANGE,
    cancelled_queue,
)
from bridge.errors import RightMissing, SettingsError, Unavailable, WrongQueue
from bridge.routing import Routing, System
from bridge.texts import Said

UNROUTED_EXCHANGE = "camunda.unrouted.tasks"
RESPONSE_EXCHANGE = "camunda.task.responses"
# Catches the tasks of known systems. The broker turns to the alternate exchange only where no binding at all
# matches; this one matches and leads nowhere, so that a task whose queue is gone comes back to us as unroutable.
CLAIMED_EXCHANGE = "camunda.claimed.tasks"
ERROR_QUEUE = "errors.camunda_tasks.queue"
RETRY_TIERS = {"5s": 5_000, "30s": 30_000, "5m": 300_000}
# A response that waits in a delay tier is lost neither with a node nor on the way back to its queue, which only
# this strategy confirms; it wants that overflow.
KEPT_ON_ALL_NODES = {
    "x-queue-type": "quorum",
    "x-dead-letter-strategy": "at-least-once",
    "x-overflow": "reject-publish",
}
NOT_FOUND = 404
PRECONDITION_FAILED = 406
NODE_IS_DOWN = "is down or inaccessible"
INVALID_ARGUMENT = "PRECONDITION_FAILED - invalid arg"
_DIFFERENCE = re.compile(
    r"inequivalent arg '(?P<name>[^']*)' for .*: received (?P<wanted>.*) but current is (?P<found>.*)"
)


@dataclass(frozen=True, slots=True)
class Exchange:
    """A durable exchange and its bindings, each an exchange and a key."""

    name: str
    kind: str
    arguments: dict[str, Any]
    bindings: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Queue:
    """A durable queue and its bindings, each an exchange and a key.

    `keeps_all`: a quorum queue that must not drop what came back too often. `is_declared` False: somebody else
    declares it, and we only bind it. `is_optional`: work goes on without it.
    """

    name: str
    arguments: dict[str, Any]
    bindings: tuple[tuple[str, str], ...]
    keeps_all: bool = False
    is_declared: bool = True
    is_optional: bool = False

    @property
    def of_system(self) -> bool:
        """Whether it is a system's: what is wrong with it concerns that system alone."""
        return any(exchange == TASK_EXCHANGE for exchange, _ in self.bindings)

    @property
    def can_be_done_without(self) -> bool:
        """Whether work goes on while it is away: a delay tier, whose copies wait until a queue takes them."""
        return not self.bindings

    def takes(self, exchange: str | None, routing_key: str | None) -> bool:
        """Whether it is a system's, and a message with that address is meant for it."""
        return any(
            exchange == source == TASK_EXCHANGE and (routing_key or "").startswith(key.removesuffix("#"))
            for source, key in self.bindings
        )

    def arguments_at(self, server_properties: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments to declare the queue with at the broker that calls itself so.

        RabbitMQ 4 drops from a quorum queue what came back 20 times, after lost connections too. -1 lifts that
        limit there; on 3.10 it makes the first return the last (both tried).
        """
        if not self.keeps_all or str(server_properties.get("version")).startswith("3."):
            return self.arguments
        return {**self.arguments, "x-delivery-limit": -1}


@dataclass(frozen=True, slots=True)
class Topology:
    """All that must exist on the broker; `passive` only checks and never declares."""

    exchanges: tuple[Exchange, ...]
    queues: tuple[Queue, ...]
    passive: bool = False

    @classmethod
    def of(cls, routing: Routing, *, queue_type: str, passive: bool) -> "Topology":
        """Return the topology of the contract for the systems of a routing."""
        # A plain durable declaration of a public queue must stay possible, so the usual type adds no argument.
        is_quorum = queue_type == "quorum"
        arguments = {"x-queue-type": queue_type} if is_quorum else {}
        unrouted = {routing.default.name: ((UNROUTED_EXCHANGE, ""),)}
        return cls(
            exchanges=(
                Exchange(UNROUTED_EXCHANGE, "fanout", {}),
                Exchange(TASK_EXCHANGE, "topic", {"alternate-exchange": UNROUTED_EXCHANGE}),
                Exchange(RESPONSE_EXCHANGE, "direct", {}),
                Exchange(ERROR_EXCHANGE, "direct", {}),
                Exchange(CLAIMED_EXCHANGE, "fanout", {}, tuple(_tasks_of(system) for system in routing.systems)),
            ),
            queues=(
                *(
                    Queue(
                        system.queue,
                        {**arguments, **system.queue_arguments},
                        (_tasks_of(system), *unrouted.get(system.name, ())),
                        is_declared=system.declares_queue,
                    )
                    for system in routing.systems
                ),
                Queue(RESPONSE_QUEUE, arguments, ((RESPONSE_EXCHANGE, RESPONSE_QUEUE),), keeps_all=is_quorum),
                Queue(ERROR_QUEUE, arguments, ((ERROR_EXCHANGE, ERROR_KEY),), keeps_all=is_quorum),
                Queue(REJECTED_QUEUE, arguments, (), keeps_all=is_quorum, is_optional=True),
                *(
                    Queue(cancelled_queue(system.name), arguments, (), is_optional=True)
                    for system in routing.systems
                    if system.tells_cancelled
                ),
                *(_retry_queue(tier, is_quorum=is_quorum) for tier in RETRY_TIERS),
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

        Raises SettingsError for an exchange that differs; WrongQueue for queues that differ or are missing, once
        all else is declared; RightMissing; AMQPError where the broker is not there.
        """
        self.declare_over(DeadlineConnection(parameters))

    def declare_over(self, connection: DeadlineConnection) -> None:
        """Do so over a connection, which is closed at the end."""
        try:
            connection.expect_answers()
            channel = connection.channel()
            for exchange in self.exchanges:
                connection.expect_answers()
                channel = self._declare_exchange(connection, channel, exchange)
            troubles = self._declare_queues(connection, channel)
        finally:
            _close(connection)
        if troubles:
            raise WrongQueue(troubles, ours=any(not q.of_system for q in self.queues if q.name in troubles))

    def _declare_exchange(
        self, connection: BlockingConnection, channel: BlockingChannel, exchange: Exchange
    ) -> BlockingChannel:
        """Declare an exchange and its bindings; return the channel to go on with."""
        act, name = _declaring(exchange.arguments), exchange.name
        try:
            channel.exchange_declare(
                exchange.name,
                exchange.kind,
                durable=True,
                passive=self.passive,
                arguments=None if self.passive else exchange.arguments,
            )
            for source, key in () if self.passive else exchange.bindings:
                act, name = Act.BIND, source
                channel.exchange_bind(exchange.name, source, key)
        except ChannelClosedByBroker as error:
            if self.passive and exchange.name == CLAIMED_EXCHANGE and is_missing(error):
                return connection.channel()  # a safeguard, which an administrator may not have declared
            raise _of_exchange(exchange.name, error, act, name) from error
        return channel

    def _declare_queues(self, connection: DeadlineConnection, channel: BlockingChannel) -> dict[str, Said]:
        """Declare all queues; return what is wrong with some, by name."""
        server = connection.server_properties
        troubles = {}
        for queue in self.queues:
            connection.expect_answers()
            try:
                self._declare_queue(channel, queue, queue.arguments_at(server))
            except _QueueRefused as error:
                if queue.is_optional or (queue.can_be_done_without and error.passes):
                    logger.warning("{}; until then {}", error, error.meanwhile)
                elif queue.of_system or error.is_wrong:
                    troubles[queue.name] = error.trouble
                else:
                    raise error.as_unavailable() from error
                channel = connection.channel()
        return troubles

    def _declare_queue(self, channel: BlockingChannel, queue: Queue, arguments: dict[str, Any]) -> None:
        act, name = _declaring(arguments), queue.name
        is_passive = self.passive or not queue.is_declared
        try:
            channel.queue_declare(
                queue.name, durable=True, passive=is_passive, arguments=None if is_passive else arguments
            )
            for exchange, key in () if self.passive else queue.bindings:
                act, name = Act.BIND, exchange
                channel.queue_bind(queue.name, exchange, key)
        except ChannelClosedByBroker as error:
            raise _QueueRefused(queue.name, error, act, name) from error


class _QueueRefused(Exception):
    """The broker did not let us declare or bind a queue."""

    def __init__(self, queue: str, error: ChannelClosedByBroker, act: Act, name: str) -> None:
        self.trouble = trouble_of(KINDS["queue"], queue, error, act, name)
        super().__init__(self.trouble)
        self._code = error.reply_code
        self.is_wrong = error.reply_code == PRECONDITION_FAILED or is_missing(error)
        is_older = is_of_older_version(error)
        self.passes = NODE_IS_DOWN in error.reply_text or is_older
        self.meanwhile = "it is used as it is" if is_older else "what it should take waits"

    def as_unavailable(self) -> Unavailable:
        """Return it as an error that passes without a change of ours."""
        return RightMissing(self.trouble) if self._code == ACCESS_REFUSED else Unavailable(self.trouble)


def _declaring(arguments: Mapping[str, Any]) -> Act:
    return Act.LINK if arguments.keys() & {"alternate-exchange", "x-dead-letter-exchange"} else Act.DECLARE


def _tasks_of(system: System) -> tuple[str, str]:
    """Return the binding that brings a queue the tasks of a system."""
    return TASK_EXCHANGE, f"{system.name}.#"


def retry_queue(tier: str) -> str:
    """Return the name of the queue that holds a response back for the time of `tier`."""
    return f"camunda.responses.retry.{tier}"


def _retry_queue(tier: str, *, is_quorum: bool) -> Queue:
    # One queue per delay: with a time per message an early one would wait behind a late one.
    arguments = {
        "x-message-ttl": RETRY_TIERS[tier],
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": RESPONSE_QUEUE,
    }
    return Queue(retry_queue(tier), arguments | (KEPT_ON_ALL_NODES if is_quorum else {}), ())


def is_missing(error: ChannelClosedByBroker) -> bool:
    """Whether there is no such queue or exchange; a queue whose node of the cluster is down is a 404 too."""
    return error.reply_code == NOT_FOUND and NODE_IS_DOWN not in error.reply_text


def is_of_older_version(error: ChannelClosedByBroker) -> bool:
    """Whether a queue differs only in how it is kept: on one node, as an older version made the delay tiers."""
    found = _DIFFERENCE.search(error.reply_text)
    return found is not None and found["name"] in KEPT_ON_ALL_NODES


def trouble_of(kind: Said, thing: str, error: ChannelClosedByBroker, act: Act, name: str) -> Said:
    """Return the broker's refusal of an exchange or queue as a sentence that says what to do.

    `act`, `name`: what we were about to do, and to what; see `missing_right`.
    """
    if INVALID_ARGUMENT in error.reply_text:
        return Said(
            "RabbitMQ makes no {kind} {thing!r} with its arguments: {text}; correct the system's queue_arguments",
            kind=kind,
            thing=thing,
            text=error.reply_text,
        )
    if error.reply_code == PRECONDITION_FAILED:
        return Said(
            "RabbitMQ has a {kind} {thing!r} that differs from what we declare: {difference}; "
            "delete it when it is empty, or set RABBITMQ_QUEUE_TYPE, a system's queue_arguments "
            "or a policy to fit",
            kind=kind,
            thing=thing,
            difference=_difference(error.reply_text),
        )
    if is_missing(error):
        return Said(
            "RabbitMQ has no {kind} {thing!r}, and RABBITMQ_TOPOLOGY=passive or declare = false declares none",
            kind=kind,
            thing=thing,
        )
    if error.reply_code == ACCESS_REFUSED:
        return Said(
            "RabbitMQ does not let us {act} {kind} {thing!r}: {reason}",
            act=act.value,
            kind=kind,
            thing=thing,
            reason=missing_right(error.reply_text, act, name),
        )
    return Said(
        "RabbitMQ cannot {act} {kind} {thing!r}: {text}",
        act=act.value,
        kind=kind,
        thing=thing,
        text=error.reply_text,
    )


def _difference(text: str) -> str:
    found = _DIFFERENCE.search(text)
    if found is None:
        return text
    return Said("{name} is {found}, wanted is {wanted} ({text})", text=text, **found.groupdict())


def _of_exchange(exchange: str, error: ChannelClosedByBroker, act: Act, name: str) -> SettingsError | Unavailable:
    told = trouble_of(KINDS["exchange"], exchange, error, act, name)
    if error.reply_code == PRECONDITION_FAILED or is_missing(error):
        return SettingsError(told)
    return RightMissing(told) if error.reply_code == ACCESS_REFUSED else Unavailable(told)


def _close(connection: BlockingConnection) -> None:
    with suppress(AMQPError):  # already lost: there is nothing left to close
        connection.close()
