"""The system at the other end: answers each task at once and prints when it had it in its hands."""

import json
import os
import time

import pika
from pika.adapters.blocking_connection import BlockingChannel
from pika.spec import Basic, BasicProperties

QUEUE = "python-services.queue"


def main() -> None:
    """Works until it is killed. Prints per message: process instance, message id, Unix time."""
    login = pika.PlainCredentials(os.environ["RABBITMQ_USERNAME"], os.environ["RABBITMQ_PASSWORD"])
    address = os.environ["RABBITMQ_HOST"], int(os.environ["RABBITMQ_PORT"])
    connection = pika.BlockingConnection(pika.ConnectionParameters(*address, credentials=login))
    channel = connection.channel()
    channel.queue_declare(QUEUE, durable=True)
    channel.basic_qos(prefetch_count=100)
    channel.basic_consume(QUEUE, _answer)
    channel.start_consuming()


def _answer(channel: BlockingChannel, delivery: Basic.Deliver, properties: BasicProperties, body: bytes) -> None:
    had_at = time.time()
    task = json.loads(body)
    answer = {"task_id": task["task_id"], "worker_id": task["worker_id"], "response_type": "complete"}
    channel.basic_publish("", str(properties.reply_to), json.dumps(answer).encode())
    channel.basic_ack(int(delivery.delivery_tag or 0))
    print(task["process_instance_id"], properties.message_id, had_at, flush=True)


if __name__ == "__main__":
    main()
