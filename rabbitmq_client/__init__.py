"""RabbitMQ: topology, publishing with confirms, consuming. The only importer of pika."""

from rabbitmq_client.connection import Broker
from rabbitmq_client.consumer import Consumer, Delivery
from rabbitmq_client.publisher import Outcome, Publisher
from rabbitmq_client.topology import Topology

__all__ = ["Broker", "Consumer", "Delivery", "Outcome", "Publisher", "Topology"]
