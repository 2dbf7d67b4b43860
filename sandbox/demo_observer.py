"""A queue of the demo's own beside the systems': what the worker publishes, seen from outside."""

import time
from collections import Counter
from types import TracebackType
from typing import Self

import pika
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import AMQPError
from pika.spec import Basic, BasicProperties

from sandbox.broker import Broker
from sandbox.errors import SandboxError

_TASK_EXCHANGE = "camunda.external.tasks"


class Observer:
    """Counts the messages for each system; the task exchange must be there."""

    def __init__(self, broker: Broker, vhost: str = "/") -> None:
        """Binds a queue that goes with this connection."""
        self.published: Counter[str] = Counter()
        self._copies: Counter[str] = Counter()
        login = pika.PlainCredentials(broker.username, broker.password)
        self._connection = pika.BlockingConnection(
            pika.ConnectionParameters(broker.host, broker.port, vhost, login)
        )
        channel = self._connection.channel()
        queue = str(channel.queue_declare("", exclusive=True).method.queue)
        channel.queue_bind(queue, _TASK_EXCHANGE, "#")
        channel.basic_consume(queue, self._see, auto_ack=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._connection.is_open:
            self._connection.close()

    @property
    def doubled(self) -> int:
        """How many messages came again: same task, same attempt."""
        return self._copies.total() - len(self._copies)

    def watch(self, seconds: float) -> None:
        """Takes what comes within `seconds`."""
        until = time.monotonic() + seconds
        try:
            while (left := until - time.monotonic()) > 0:
                self._connection.process_data_events(time_limit=left)
        except AMQPError as error:
            raise SandboxError(f"the broker went away: {error!r}") from error

    def _see(
        self, _channel: BlockingChannel, delivery: Basic.Deliver, properties: BasicProperties, _body: bytes
    ) -> None:
        system = str(delivery.routing_key).partition(".")[0]
        self.published[system] += 1
        self._copies[str(properties.message_id)] += 1
