"""RabbitMQ: topology, publishing with confirms, consuming. The only importer of pika."""

from bridge.broker.broker import Broker
from bridge.broker.consumer import Consumer
from bridge.broker.headers import copied, sendable
from bridge.broker.inbox import KEPT_BYTES, Delivery, Inbox
from bridge.broker.publisher import COPIES_PLACE, TASKS_PLACE, Outcome, Publisher
from bridge.broker.rejected import RejectedReader
from bridge.broker.tls import Tls
from bridge.broker.topology import ERROR_QUEUE, RETRY_TIERS, Topology, retry_queue
from bridge.broker.watch import QueueState, QueueWatch

__all__ = [
    "COPIES_PLACE",
    "ERROR_QUEUE",
    "KEPT_BYTES",
    "RETRY_TIERS",
    "TASKS_PLACE",
    "Broker",
    "Consumer",
    "Delivery",
    "Inbox",
    "Outcome",
    "Publisher",
    "QueueState",
    "QueueWatch",
    "RejectedReader",
    "Tls",
    "Topology",
    "copied",
    "retry_queue",
    "sendable",
]
