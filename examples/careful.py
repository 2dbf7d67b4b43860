"""The careful loop of the examples: a task is done once and its answer arrives, whatever breaks on the way."""

import json
import logging
import os
import signal
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pika
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import AMQPError

STOP = {signal.SIGTERM, signal.SIGINT}
EXCHANGE, ANSWERS, EXTEND = "camunda.task.responses", "camunda.responses.queue", {"response_type": "extend_lock"}
Answer = dict[str, Any]
Works = Mapping[str, Callable[["Task"], Answer]]  # by topic


class NotDone(Exception):
    """What a system says instead of `complete`: a `failure` or a `bpmn_error`, with the fields of that answer."""

    def __init__(self, response_type: str, why: object, **fields: Any) -> None:
        super().__init__(str(why))
        self.answer = {"response_type": response_type, "error_message": str(why), **fields}


@dataclass(frozen=True)
class Task:
    """One task; `extend_lock` takes milliseconds from now, for work that takes longer than the lock."""

    id: str
    topic: str
    variables: dict[str, Any]
    extend_lock: Callable[[int], None]


def serve(queue: str, works: Works) -> None:
    """Answers each task of a queue with what its work returns, the process's new variables, until SIGTERM."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("pika").setLevel(logging.CRITICAL)
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP)  # asked for between two tasks, never in the middle of one
    done, pause = _open_answers(), 1
    while True:
        try:
            with pika.BlockingConnection(_parameters()) as connection:
                channel = connection.channel()
                channel.queue_declare(queue, passive=True)  # the worker makes it, and its binding
                pause = 1
                _consume(channel, queue, works, done)
                return
        except (AMQPError, OSError) as error:
            logging.warning("no work from RabbitMQ, again in %d s: %r", pause, error)
        if signal.sigtimedwait(STOP, pause):
            return
        pause = min(2 * pause, 60)


def _parameters() -> pika.ConnectionParameters:
    env = os.environ.get
    login = pika.PlainCredentials(env("RABBITMQ_USERNAME", "guest"), env("RABBITMQ_PASSWORD", "guest"))
    host, port = env("RABBITMQ_HOST", "localhost"), int(env("RABBITMQ_PORT", "5672"))
    return pika.ConnectionParameters(host, port, env("RABBITMQ_VIRTUAL_HOST", "/"), login, heartbeat=300)


def _open_answers() -> sqlite3.Connection:
    done = sqlite3.connect(os.environ.get("ANSWERS_FILE", "answers.sqlite3"), isolation_level=None)
    done.execute("CREATE TABLE IF NOT EXISTS answers (task_id PRIMARY KEY, answer, day DEFAULT CURRENT_DATE)")
    done.execute("DELETE FROM answers WHERE day < date('now', '-90 days')")
    return done


def _consume(channel: BlockingChannel, queue: str, works: Works, done: sqlite3.Connection) -> None:
    channel.confirm_delivery()  # basic_publish returns when the broker has the answer, or raises
    channel.basic_qos(prefetch_count=4)
    for delivery, _, body in channel.consume(queue, inactivity_timeout=0.5):
        if delivery is not None and body is not None:
            try:
                _take(channel, json.loads(body), works, done)
            except (ValueError, KeyError) as error:
                logging.error("no task message of the worker is this: %r: %r", error, body[:200])
            channel.basic_ack(delivery.delivery_tag or 0)
        if signal.sigtimedwait(STOP, 0):
            return  # closing the connection gives back what was prefetched
    raise AMQPError(f"{queue} was deleted")


def _take(channel: BlockingChannel, message: dict[str, Any], works: Works, done: sqlite3.Connection) -> None:
    if datetime.now(UTC) >= datetime.fromisoformat(message["lock_expires_at"]):
        return  # the task comes again
    echo = {name: message[name] for name in ("task_id", "attempt", "worker_id")}

    def say(answer: Answer) -> None:
        persistent = pika.BasicProperties(delivery_mode=2, correlation_id=message["task_id"])
        channel.basic_publish(EXCHANGE, ANSWERS, json.dumps(echo | answer).encode(), persistent, mandatory=True)

    values = {name: variable.get("value") for name, variable in message["variables"].items()}
    task = Task(message["task_id"], message["topic"], values, lambda ms: say(EXTEND | {"lock_duration": ms}))
    # By task and not by message id: a task whose answer came too late comes again as its next attempt.
    row = done.execute("SELECT answer FROM answers WHERE task_id = ?", [task.id]).fetchone()
    answer: Answer = json.loads(row[0]) if row else _answer(task, works)
    if not row and answer["response_type"] != "failure":
        done.execute("INSERT INTO answers (task_id, answer) VALUES (?, ?)", [task.id, json.dumps(answer)])
    say(answer)
    logging.info("%s %s: %s%s", task.topic, task.id, answer["response_type"], " again" if row else "")


def _answer(task: Task, works: Works) -> Answer:
    try:
        if task.topic not in works:
            raise NotDone("failure", f"no work is known here for the topic {task.topic}", retries=0)
        return {"response_type": "complete", "variables": works[task.topic](task)}
    except NotDone as said:
        return said.answer
    except Exception as error:  # noqa: BLE001 - a mistake of ours: the task must not be lost for it
        return {"response_type": "failure", "error_message": repr(error)}
