"""The simulated broker does with messages what RabbitMQ does: the same random scripts run against both."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel, BlockingConnection
from pika.exceptions import NackError, UnroutableError
from pika.spec import BasicProperties

import tests.simulation.broker as simulated
from bridge.broker import Broker
from sandbox.sandbox import Sandbox
from tests.simulation.clockwork import Clockwork

SCRIPTS = 200
STEPS = 14
QUEUES: dict[str, dict[str, Any]] = {
    "a.queue": {},
    "b.queue": {},
    "full.queue": {"x-max-length": 2, "x-overflow": "reject-publish"},
    "default.queue": {},
    "later": {"x-message-ttl": 1, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": "a.queue"},
}
SECONDS = 0.012  # until what lives for a millisecond is gone for certain
Step = tuple[str, tuple[Any, ...]]


class Side(Protocol):
    """A broker with the exchanges `tasks` (topic) and, behind it, `unrouted` (fanout)."""

    def declare(self, queue: str) -> None: ...
    def bind(self, queue: str, exchange: str, key: str) -> None: ...
    def delete(self, queue: str) -> None: ...
    def publish(self, exchange: str, key: str, body: bytes, expiration: str | None) -> str: ...
    def take(self, queue: str) -> bytes | None: ...
    def take_and_leave(self, queue: str, count: int) -> list[bytes]: ...
    def count(self, queue: str) -> int: ...
    def wait(self) -> None: ...


@dataclass
class Real:
    connection: BlockingConnection
    channel: BlockingChannel = field(init=False)

    def __post_init__(self) -> None:
        self.channel = self.connection.channel()
        self.channel.confirm_delivery()
        self.channel.exchange_declare("unrouted", "fanout", durable=True)
        arguments = {"alternate-exchange": "unrouted"}
        self.channel.exchange_declare("tasks", "topic", durable=True, arguments=arguments)

    def declare(self, queue: str) -> None:
        self.channel.queue_declare(queue, durable=True, arguments=QUEUES[queue])

    def bind(self, queue: str, exchange: str, key: str) -> None:
        self.channel.queue_bind(queue, exchange, key)

    def delete(self, queue: str) -> None:
        self.channel.queue_delete(queue)

    def publish(self, exchange: str, key: str, body: bytes, expiration: str | None) -> str:
        try:
            self.channel.basic_publish(exchange, key, body, BasicProperties(expiration=expiration), mandatory=True)
        except UnroutableError:
            return "returned"
        except NackError:
            return "refused"
        return "confirmed"

    def take(self, queue: str) -> bytes | None:
        return self.channel.basic_get(queue, auto_ack=True)[2]

    def take_and_leave(self, queue: str, count: int) -> list[bytes]:
        other = self.connection.channel()
        taken = [other.basic_get(queue)[2] for _ in range(count)]
        other.close()
        return [body for body in taken if body is not None]

    def count(self, queue: str) -> int:
        return self.channel.queue_declare(queue, passive=True).method.message_count

    def wait(self) -> None:
        self.connection.sleep(SECONDS)


class Taker:
    """A consumer that takes a few messages and leaves without a word."""

    def __init__(self, count: int) -> None:
        self.prefetch = count
        self.unacked: dict[simulated.Message, None] = {}

    def take(self, queue: simulated.Queue, message: simulated.Message) -> None:
        """It does nothing with them."""


class Simulated:
    def __init__(self) -> None:
        self._clockwork = Clockwork(None, grain=0.0)
        self._broker = simulated.Broker(self._clockwork)
        self._broker.declare_exchange("unrouted", "fanout", {})
        self._broker.declare_exchange("tasks", "topic", {"alternate-exchange": "unrouted"})

    def declare(self, queue: str) -> None:
        self._broker.declare_queue(queue, QUEUES[queue])

    def bind(self, queue: str, exchange: str, key: str) -> None:
        self._broker.bind(queue, exchange, key)

    def delete(self, queue: str) -> None:
        self._broker.delete_queue(queue)

    def publish(self, exchange: str, key: str, body: bytes, expiration: str | None) -> str:
        message = simulated.Message(exchange, key, body, BasicProperties(expiration=expiration))
        is_routed, is_taken = self._broker.publish(message)
        if not is_routed:
            return "returned"
        return "confirmed" if is_taken else "refused"

    def take(self, queue: str) -> bytes | None:
        found = self._broker.queues[queue]
        self._broker.expire(found)
        return found.ready.popleft().body if found.ready else None

    def take_and_leave(self, queue: str, count: int) -> list[bytes]:
        found, taker = self._broker.queues[queue], Taker(count)
        found.consumers.append(taker)
        self._broker.pump(found)
        taken = [message.body for message in taker.unacked]
        taker.prefetch = 0
        self._broker.leave(found, taker)
        return taken

    def count(self, queue: str) -> int:
        return len(self._broker.queues[queue].ready)

    def wait(self) -> None:
        until = self._clockwork.now + SECONDS
        while self._clockwork.step(until):
            pass


def script(chance: random.Random) -> Iterator[Step]:
    """Yield steps, each a method of the sides with its arguments; only queues that are there are named."""
    there: set[str] = set()
    for name in ("a.queue", "full.queue", "later"):
        there.add(name)
        yield "declare", (name,)
    for number in range(STEPS):
        queue = chance.choice(sorted(there))
        body, expiration = f"m{number}".encode(), chance.choice((None, None, None, "1", "60000"))
        other = chance.choice(sorted(QUEUES))
        step: Step = chance.choice(
            (
                ("declare", (other,)),
                ("bind", (queue, "tasks", f"{queue.partition('.')[0]}.#")),
                ("bind", (queue, "tasks", "a.exact")),
                ("bind", (queue, "unrouted", "")),
                ("delete", (other,)),
                *[
                    (
                        "publish",
                        ("tasks", f"{chance.choice(('a', 'b', 'full', 'default'))}.exact", body, expiration),
                    )
                ]
                * 4,
                *[("publish", ("", other, body, expiration))] * 2,
                ("take", (queue,)),
                ("take_and_leave", (queue, chance.choice((1, 3)))),
                ("count", (queue,)),
            )
        )
        there = there | {other} if step[0] == "declare" else there
        there = (there - {other} if step[0] == "delete" else there) or {"a.queue"}
        yield step
        if not there - {"a.queue"}:
            yield "declare", ("a.queue",)
        if step[0] == "publish":
            yield "wait", ()
    for queue in sorted(there):
        yield "count", (queue,)
        yield "take", (queue,)


@pytest.fixture
def connection(broker: Broker, sandbox: Sandbox) -> Iterator[BlockingConnection]:
    with pika.BlockingConnection(broker.parameters("scripts")) as connection:
        yield connection


def test_random_scripts_see_the_same_in_both_brokers(connection: BlockingConnection) -> None:
    for number in range(SCRIPTS):
        real, copy = Real(connection), Simulated()
        steps: list[object] = []

        for method, arguments in script(random.Random(number)):
            pair = getattr(real, method)(*arguments), getattr(copy, method)(*arguments)
            steps.append((method, arguments, *pair))
            assert pair[0] == pair[1], f"script {number}: {steps}"

        for queue in QUEUES:
            real.delete(queue)
        real.channel.close()
