"""What every sample system shares: take a task, do the work once, answer, acknowledge."""

import json
import logging
import os
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pika
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import AMQPConnectionError
from pika.spec import Basic, BasicProperties

_LOG = logging.getLogger("system")
_KNOWN_ANSWERS = 10_000

Answer = dict[str, Any]


@dataclass(frozen=True)
class Task:
    """One task message, as far as a system cares."""

    topic: str
    attempt: str | int
    variables: dict[str, Any]
    pause: Callable[[float], None]  # seconds; keeps the connection alive meanwhile


Work = Callable[[Task], Answer]


def complete(**variables: object) -> Answer:
    """The work is done; the variables go into the process."""
    return {
        "response_type": "complete",
        "variables": {name: {"value": value} for name, value in variables.items()},
    }


def failure(message: str, *, retry_timeout: int) -> Answer:
    """The work failed; the engine may try again after `retry_timeout` milliseconds."""
    return {"response_type": "failure", "error_message": message, "retry_timeout": retry_timeout}


def bpmn_error(code: str, message: str) -> Answer:
    """The business says no: the process goes on at its error event."""
    return {"response_type": "bpmn_error", "error_code": code, "error_message": message}


def serve(queue: str, work: Work, *, prefetch: int = 4) -> None:
    """Works on a queue until the process is ended; waits for a broker that is away."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stdout)
    logging.getLogger("pika").setLevel(logging.CRITICAL)
    desk = Desk(work)
    try:
        while True:
            _serve_once(queue, desk, prefetch)
            threading.Event().wait(1)
    except KeyboardInterrupt:
        _LOG.info("%s: ended", queue)


def _serve_once(queue: str, desk: "Desk", prefetch: int) -> None:
    try:
        with pika.BlockingConnection(_parameters()) as connection:
            channel = connection.channel()
            kind = os.environ.get("RABBITMQ_QUEUE_TYPE", "classic")  # as the worker is told
            arguments = {} if kind == "classic" else {"x-queue-type": kind}
            channel.queue_declare(queue, durable=True, arguments=arguments)
            channel.basic_qos(prefetch_count=prefetch)
            channel.confirm_delivery()  # an answer must be in its queue before its task is acknowledged
            channel.basic_consume(queue, desk.take)
            _LOG.info("%s: waiting for tasks", queue)
            channel.start_consuming()
    except AMQPConnectionError as error:
        _LOG.warning("%s: no broker, trying again: %r", queue, error)


def _parameters() -> pika.ConnectionParameters:
    return pika.ConnectionParameters(
        host=os.environ["RABBITMQ_HOST"],
        port=int(os.environ.get("RABBITMQ_PORT", "5672")),
        virtual_host=os.environ.get("RABBITMQ_VIRTUAL_HOST", "/"),
        credentials=pika.PlainCredentials(os.environ["RABBITMQ_USERNAME"], os.environ["RABBITMQ_PASSWORD"]),
    )


class Desk:
    """Where tasks arrive. Remembers its final answers, for a message may come more than once."""

    def __init__(self, work: Work) -> None:
        """Takes the work; a system of weight would keep its answers in its database."""
        self._work = work
        self._answers: dict[str, Answer] = {}

    def take(
        self, channel: BlockingChannel, delivery: Basic.Deliver, properties: BasicProperties, body: bytes
    ) -> None:
        """Works on one message: answers, then acknowledges. One whose lock is over will come again."""
        message = json.loads(body)
        if datetime.now(UTC) < datetime.fromisoformat(message["lock_expires_at"]):
            answer = self._answer(channel, properties, message)
            _reply(channel, properties, {**answer, **_echo(message)})
            _LOG.info("%s %s: %s", message["topic"], message["task_id"], answer["response_type"])
        channel.basic_ack(int(delivery.delivery_tag or 0))

    def _answer(self, channel: BlockingChannel, properties: BasicProperties, message: Any) -> Answer:
        """Does the work, unless this very message had its final answer before: then that one again."""
        message_id = str(properties.message_id)
        answer = self._answers.get(message_id) or self._work(_task(channel, message))
        if answer["response_type"] != "failure":
            self._remember(message_id, answer)
        return answer

    def _remember(self, message_id: str, answer: Answer) -> None:
        self._answers[message_id] = answer
        if len(self._answers) > _KNOWN_ANSWERS:
            del self._answers[next(iter(self._answers))]


def _task(channel: BlockingChannel, message: Any) -> Task:
    values = {name: variable["value"] for name, variable in message["variables"].items()}
    return Task(message["topic"], message["attempt"], values, pause=channel.connection.sleep)


def _echo(message: Any) -> Answer:
    return {name: message[name] for name in ("task_id", "attempt", "worker_id")}


def _reply(channel: BlockingChannel, properties: BasicProperties, answer: Answer) -> None:
    channel.basic_publish(
        exchange="",
        routing_key=str(properties.reply_to),
        body=json.dumps(answer).encode(),
        properties=pika.BasicProperties(
            content_type="application/json",
            delivery_mode=pika.DeliveryMode.Persistent.value,
            correlation_id=properties.correlation_id,
        ),
        mandatory=True,
    )
