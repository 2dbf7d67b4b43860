"""RabbitMQ: topology, publishing with confirms, consuming. The only importer of pika."""

from bridge.broker import tolerant
from bridge.broker.connection import Broker
from bridge.broker.consumer import Consumer, Delivery
from bridge.broker.publisher import COPIES_PLACE, TASKS_PLACE, Outcome, Publisher
from bridge.broker.tolerant import copied, sendable
from bridge.broker.topology import ERROR_QUEUE, RETRY_TIERS, Topology, retry_queue
from bridge.broker.watch import QueueState, QueueWatch

tolerant.install()

__all__ = [
    "COPIES_PLACE",
    "ERROR_QUEUE",
    "RETRY_TIERS",
    "TASKS_PLACE",
    "Broker",
    "Consumer",
    "Delivery",
    "Outcome",
    "Publisher",
    "QueueState",
    "QueueWatch",
    "Topology",
    "copied",
    "retry_queue",
    "sendable",
]
