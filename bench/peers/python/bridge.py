"""A bridge between Camunda 7 and RabbitMQ as a good engineer would write it in Python in an hour.

The engine: camunda-external-task-client-python3. RabbitMQ: pika, whose connections are not thread safe. One thread
fetches for each topic, with a connection of its own in confirm mode; RESPONSE_THREADS complete, each with a
connection (prefetch 50) and an HTTP session of its own. It promises nothing beyond the happy path: no lock is
extended.
"""

import json
import logging
import os
import signal
import socket
import threading
import time
from typing import Any

import pika
import requests
from camunda.client.external_task_client import ExternalTaskClient
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import AMQPError

TASK_EXCHANGE = "peer.tasks"
RESPONSE_QUEUE = "peer.responses"
PREFETCH = 50
ENDINGS = {signal.SIGTERM, signal.SIGINT}

BASE_URL = os.environ.get("CAMUNDA_BASE_URL", "http://127.0.0.1:8080/engine-rest").rstrip("/")
AMQP_URL = os.environ.get("AMQP_URL", "amqp://guest:guest@127.0.0.1:5672/%2F")
MAX_TASKS = int(os.environ.get("MAX_TASKS", "100"))
TOPICS = os.environ.get("TOPICS", "bench_a,bench_b,bench_c,bench_d").split(",")
LOCK_DURATION = int(os.environ.get("LOCK_DURATION", "3600000"))
RESPONSE_THREADS = int(os.environ.get("RESPONSE_THREADS", "1"))
WORKER_ID = os.environ.get("WORKER_ID", "peer-python-" + socket.gethostname())

FETCH_CONFIG = {
    "maxTasks": MAX_TASKS,
    "lockDuration": LOCK_DURATION,
    "asyncResponseTimeout": 10000,
    "httpTimeoutMillis": 30000,
    "timeoutDeltaMillis": 5000,
    "includeExtensionProperties": False,
    "deserializeValues": False,
    "usePriority": True,
}
MESSAGE_PROPERTIES = pika.BasicProperties(delivery_mode=2, content_type="application/json")

log = logging.getLogger("bridge")
stopping = threading.Event()


def main() -> None:
    """Works until SIGTERM or SIGINT."""
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDINGS)  # the threads inherit it: the signal waits for sigwait
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
    fetching = [threading.Thread(target=fetch_tasks, args=(topic,), daemon=True) for topic in TOPICS]
    completing = [threading.Thread(target=complete_tasks, daemon=True) for _ in range(RESPONSE_THREADS)]
    for thread in fetching + completing:
        thread.start()
    signal.sigwait(ENDINGS)
    stopping.set()
    for thread in completing:
        thread.join(5)
    deadline = time.monotonic() + 12  # a thread that fetches may sit in a long poll: it gets that poll's length
    for thread in fetching:
        thread.join(max(0.0, deadline - time.monotonic()))


def fetch_tasks(topic: str) -> None:
    """Fetches and publishes one topic's tasks until the bridge stops."""
    client = ExternalTaskClient(WORKER_ID, BASE_URL, FETCH_CONFIG)
    channel = None
    while not stopping.is_set():
        try:
            if channel is None or channel.connection.is_closed:
                channel = open_publisher()
            channel.connection.process_data_events(0)  # heartbeats while the topic is idle
            for task in client.fetch_and_lock(topic):
                channel = publish(task, channel)
        except Exception:  # no narrower one: it is what the client raises where the engine refuses
            log.exception("topic %s", topic)
            stopping.wait(2)
    close(channel)


def publish(task: dict[str, Any], channel: BlockingChannel) -> BlockingChannel:
    """Publishes a task, again if need be, until the broker confirms it; returns the channel to go on with."""
    while True:
        try:
            # In confirm mode it returns when the broker has confirmed, and raises if the broker refuses.
            channel.basic_publish(TASK_EXCHANGE, task["topicName"], message_of(task), MESSAGE_PROPERTIES)
            return channel
        except AMQPError as error:
            log.warning("publish %s: %r, connecting again", task["id"], error)
            stopping.wait(1)
            channel = open_publisher()


def message_of(task: dict[str, Any]) -> bytes:
    """Encodes what a system is told of a task."""
    variables = {
        name: {"value": variable.get("value"), "type": variable.get("type")}
        for name, variable in task["variables"].items()
    }
    message = {
        "task_id": task["id"],
        "topic": task["topicName"],
        "worker_id": task["workerId"],
        "process_instance_id": task["processInstanceId"],
        "process_definition_key": task["processDefinitionKey"],
        "activity_id": task["activityId"],
        "business_key": task.get("businessKey"),
        "retries": task.get("retries"),
        "priority": task.get("priority"),
        "variables": variables,
    }
    return json.dumps(message, ensure_ascii=False).encode()


def complete_tasks() -> None:
    """Takes answers and completes their tasks until the bridge stops."""
    session = requests.Session()
    while not stopping.is_set():
        channel = None
        try:
            channel = open_channel()
            channel.basic_qos(prefetch_count=PREFETCH)
            consume(channel, session)
        except AMQPError as error:
            log.warning("responses: %r", error)
            stopping.wait(2)
        finally:
            close(channel)


def consume(channel: BlockingChannel, session: requests.Session) -> None:
    """Settles each answer that comes; returns when the bridge stops."""
    for delivery, _, body in channel.consume(RESPONSE_QUEUE, inactivity_timeout=0.5):
        if stopping.is_set():
            channel.cancel()
            return
        if delivery is not None and body is not None:
            settle(channel, delivery.delivery_tag or 0, body, session)


def settle(channel: BlockingChannel, tag: int, body: bytes, session: requests.Session) -> None:
    """Completes one task and acknowledges its answer, or gives the answer back if that may help."""
    try:
        complete(body, session)
        channel.basic_ack(tag)
    except (ValueError, KeyError) as error:
        log.error("response %r: %r", body[:200], error)
        channel.basic_nack(tag, requeue=False)
    except requests.HTTPError as error:
        log.error("response %r: %r", body[:200], error)
        channel.basic_nack(tag, requeue=error.response.status_code >= 500)
    except requests.RequestException as error:
        log.warning("engine: %r", error)
        channel.basic_nack(tag, requeue=True)
        stopping.wait(1)


def complete(body: bytes, session: requests.Session) -> None:
    """Completes the task that an answer is about; raises HTTPError if the engine refuses."""
    answer = json.loads(body)
    url = f"{BASE_URL}/external-task/{answer['task_id']}/complete"
    completion = {"workerId": answer.get("worker_id") or WORKER_ID, "variables": answer.get("variables") or {}}
    response = session.post(url, json=completion, timeout=30)
    if response.status_code == 404:
        log.warning("complete %s: the task is gone", answer["task_id"])
    else:
        response.raise_for_status()


def open_publisher() -> BlockingChannel:
    """Opens a connection with a channel in confirm mode."""
    channel = open_channel()
    channel.confirm_delivery()
    return channel


def open_channel() -> BlockingChannel:
    """Opens a connection with one channel, and declares what the bridge needs."""
    parameters = pika.URLParameters(AMQP_URL)
    parameters.heartbeat = 60
    channel = pika.BlockingConnection(parameters).channel()
    channel.exchange_declare(TASK_EXCHANGE, "topic", durable=True)
    channel.queue_declare(RESPONSE_QUEUE, durable=True)
    return channel


def close(channel: BlockingChannel | None) -> None:
    """Closes a channel's connection if it is open."""
    if channel is not None and channel.connection.is_open:
        channel.connection.close()


if __name__ == "__main__":
    main()
