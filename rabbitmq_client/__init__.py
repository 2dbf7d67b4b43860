"""RabbitMQ: topology, publishing with confirms, consuming. The only importer of pika."""

from rabbitmq_client.browser import Found, QueueBrowser
from rabbitmq_client.connection import Broker, declare
from rabbitmq_client.consumer import Consumer, Delivery
from rabbitmq_client.publisher import Outcome, Publisher
from rabbitmq_client.topology import ERROR_QUEUE, RETRY_TIERS, Topology, retry_queue
from rabbitmq_client.watch import QueueState, QueueWatch

__all__ = [
    "ERROR_QUEUE",
    "RETRY_TIERS",
    "Broker",
    "Consumer",
    "Delivery",
    "Found",
    "Outcome",
    "Publisher",
    "QueueBrowser",
    "QueueState",
    "QueueWatch",
    "Topology",
    "declare",
    "retry_queue",
]
