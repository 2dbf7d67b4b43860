"""A second reader of everything that the worker publishes: what went out, seen by somebody else."""

import threading
from collections import Counter
from types import TracebackType
from typing import Self

import pika
from pika.adapters.blocking_connection import BlockingChannel
from pika.spec import Basic, BasicProperties

from sandbox.sandbox import Sandbox

QUEUE = "observer.queue"
TASKS = "camunda.external.tasks"
UNROUTED = "camunda.unrouted.tasks"


class Observer:
    """Reads a queue of its own that gets a copy of every task message."""

    def __init__(self, sandbox: Sandbox, vhost: str) -> None:
        """Binds the queue; the exchanges are declared as the worker does, which need not run yet."""
        broker = sandbox.broker
        login = pika.PlainCredentials(broker.username, broker.password)
        self._connection = pika.BlockingConnection(
            pika.ConnectionParameters(broker.host, broker.port, vhost, login, heartbeat=0)
        )
        self._channel = self._connection.channel()
        self._channel.exchange_declare(UNROUTED, "fanout", durable=True)
        self._channel.exchange_declare(TASKS, "topic", durable=True, arguments={"alternate-exchange": UNROUTED})
        self._channel.queue_declare(QUEUE, durable=True)
        self._channel.queue_bind(QUEUE, TASKS, "#")
        self._channel.basic_consume(QUEUE, self._note, auto_ack=True)
        self.messages: Counter[tuple[str, str]] = Counter()
        self._thread = threading.Thread(target=self._channel.start_consuming, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.add_callback_threadsafe(self._channel.stop_consuming)
        self._thread.join(5)

    def _note(
        self, _channel: BlockingChannel, _delivery: Basic.Deliver, properties: BasicProperties, _body: bytes
    ) -> None:
        system = str((properties.headers or {})["target_system"])
        self.messages[system, str(properties.message_id)] += 1

    def published(self) -> Counter[str]:
        """Returns how many messages went out to each system."""
        counts: Counter[str] = Counter()
        for (system, _), count in list(self.messages.items()):
            counts[system] += count
        return counts

    def doubled(self) -> int:
        """Returns how many messages went out again though nothing had happened to their tasks."""
        return sum(count - 1 for count in list(self.messages.values()))

    def system_by_task(self) -> dict[str, str]:
        """Returns which system each task went to."""
        return {message_id.rpartition(":")[0]: system for system, message_id in list(self.messages)}
