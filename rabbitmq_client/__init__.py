"""RabbitMQ: topology, publishing with confirms, consuming. The only importer of pika."""

from rabbitmq_client import tolerant
from rabbitmq_client.browser import Found, QueueBrowser
from rabbitmq_client.connection import Broker
from rabbitmq_client.consumer import Consumer, Delivery
from rabbitmq_client.inspector import Inspector, QueueLook
from rabbitmq_client.management import QueueTotals, queue_totals
from rabbitmq_client.publisher import COPIES_PLACE, TASKS_PLACE, Outcome, Publisher
from rabbitmq_client.tolerant import sendable
from rabbitmq_client.topology import ERROR_QUEUE, RETRY_TIERS, Topology, retry_queue
from rabbitmq_client.watch import QueueState, QueueWatch

tolerant.install()

__all__ = [
    "COPIES_PLACE",
    "ERROR_QUEUE",
    "RETRY_TIERS",
    "TASKS_PLACE",
    "Broker",
    "Consumer",
    "Delivery",
    "Found",
    "Inspector",
    "Outcome",
    "Publisher",
    "QueueBrowser",
    "QueueLook",
    "QueueState",
    "QueueTotals",
    "QueueWatch",
    "Topology",
    "queue_totals",
    "retry_queue",
    "sendable",
]
