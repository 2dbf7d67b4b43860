"""What a partner does at the broker: a system that answers as a function says, and a look into queues."""

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pika
from pika.adapters.blocking_connection import BlockingChannel, BlockingConnection
from pika.spec import Basic, BasicProperties

from sandbox.sandbox import Sandbox
from tests.sandbox.processes import eventually

TASKS = "camunda.external.tasks"
ANSWERS = "camunda.responses.queue"
ANSWERS_EXCHANGE = "camunda.task.responses"
ERRORS = "errors.camunda_tasks.queue"
SECONDS = 60.0


@dataclass(frozen=True)
class TaskMessage:
    """A task message as it came."""

    queue: str
    properties: BasicProperties
    body: dict[str, Any]

    @property
    def id(self) -> str:
        return str(self.body["task_id"])

    @property
    def attempt(self) -> str:
        return str(self.body["attempt"])

    @property
    def variables(self) -> dict[str, dict[str, Any]]:
        variables: dict[str, dict[str, Any]] = self.body["variables"]
        return variables


Reply = dict[str, Any] | bytes
Work = Callable[[TaskMessage], Sequence[Reply]]


def silent(_task: TaskMessage) -> Sequence[Reply]:
    """A system that says nothing."""
    return ()


def complete(task: TaskMessage, **fields: Any) -> dict[str, Any]:
    return {"task_id": task.id, "response_type": "complete", "worker_id": "universal-worker", **fields}


def completing(task: TaskMessage) -> Sequence[Reply]:
    """A system that completes its tasks at once."""
    return (complete(task),)


def connect(sandbox: Sandbox, vhost: str) -> BlockingConnection:
    broker = sandbox.broker
    login = pika.PlainCredentials(broker.username, broker.password)
    return BlockingConnection(pika.ConnectionParameters(broker.host, broker.port, vhost, login))


class EchoSystem:
    """A system on a thread: takes the tasks of some queues and answers with what its work returns."""

    def __init__(
        self, connection: BlockingConnection, queues: Sequence[str], work: Work, arguments: Mapping[str, str]
    ) -> None:
        self.tasks: list[TaskMessage] = []
        self._work = work
        self._connection = connection
        self._channel = connection.channel()
        self._channel.basic_qos(prefetch_count=20)
        for queue in queues:
            self._channel.queue_declare(queue, durable=True, arguments=dict(arguments))
            self._channel.basic_consume(queue, self._taker(queue))
        self._thread = threading.Thread(target=self._channel.start_consuming, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._connection.add_callback_threadsafe(self._channel.stop_consuming)
        self._thread.join(SECONDS)
        self._connection.close()

    def receive(self, count: int) -> list[TaskMessage]:
        """Waits until that many tasks came in all, and returns them."""
        assert eventually(lambda: len(self.tasks) >= count, seconds=SECONDS), self.tasks
        return self.tasks[:count]

    def _taker(self, queue: str) -> Callable[[BlockingChannel, Basic.Deliver, BasicProperties, bytes], None]:
        def take(
            channel: BlockingChannel, delivery: Basic.Deliver, properties: BasicProperties, body: bytes
        ) -> None:
            task = TaskMessage(queue, properties, json.loads(body))
            self.tasks.append(task)
            for reply in self._work(task):
                answer(channel, reply, correlation_id=task.properties.correlation_id)
            channel.basic_ack(int(delivery.delivery_tag or 0))

        return take


@contextmanager
def echo_system(sandbox: Sandbox, vhost: str, queues: Sequence[str], work: Work) -> Iterator[EchoSystem]:
    system = EchoSystem(connect(sandbox, vhost), queues, work, sandbox.broker.queue_arguments)
    system.start()
    try:
        yield system
    finally:
        system.stop()


def answer(channel: BlockingChannel, reply: Reply, **properties: Any) -> None:
    """Sends a response through the exchange of the contract."""
    body = reply if isinstance(reply, bytes) else json.dumps(reply).encode()
    channel.basic_publish(
        ANSWERS_EXCHANGE, ANSWERS, body, BasicProperties(delivery_mode=2, **properties), mandatory=True
    )


def take_all(channel: BlockingChannel, queue: str, count: int) -> list[tuple[Mapping[str, Any], bytes]]:
    """Takes that many messages out of a queue; returns headers and bodies."""
    taken: list[tuple[Mapping[str, Any], bytes]] = []

    def enough() -> bool:
        _, properties, body = channel.basic_get(queue, auto_ack=True)
        if body is not None:
            assert properties is not None
            taken.append((properties.headers or {}, body))
        return len(taken) >= count

    assert eventually(enough, seconds=SECONDS), taken
    return taken


class Watcher:
    """A second queue for every task message: what the worker published, seen by somebody else."""

    QUEUE = "watcher.queue"

    def __init__(self, channel: BlockingChannel) -> None:
        """Binds the queue; the exchange is declared as the worker does, which may not run yet."""
        self._channel = channel
        channel.exchange_declare("camunda.unrouted.tasks", "fanout", durable=True)
        arguments = {"alternate-exchange": "camunda.unrouted.tasks"}
        channel.exchange_declare(TASKS, "topic", durable=True, arguments=arguments)
        channel.queue_declare(self.QUEUE, durable=True)
        channel.queue_bind(self.QUEUE, TASKS, "#")
        self.message_ids: Counter[str] = Counter()

    def look(self) -> Counter[str]:
        """Takes all that is in the queue now; returns how often each message id was seen so far."""
        while True:
            _, properties, _ = self._channel.basic_get(self.QUEUE, auto_ack=True)
            if properties is None:
                return self.message_ids
            self.message_ids[str(properties.message_id)] += 1
