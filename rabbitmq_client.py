"""RabbitMQ as the components get it: connections that publish, read and look after the queues."""

from typing import Self

from bridge.answers import Originals, SideQueues
from bridge.broker import (
    COPIES_PLACE,
    TASKS_PLACE,
    Broker,
    Consumer,
    Inbox,
    Publisher,
    QueueWatch,
    RejectedReader,
    Topology,
)
from bridge.contract import RESPONSE_QUEUE
from bridge.process import Shared


class RabbitMQClient:
    """One broker and the queues of the contract; each publisher or consumer has a connection of its own.

    `name`: who we are, for the broker's own tools.
    """

    def __init__(self, broker: Broker, topology: Topology, *, name: str) -> None:
        self.broker = broker
        self.topology = topology
        self.name = name

    @classmethod
    def of(cls, shared: Shared) -> Self:
        """Return the client for what the components share."""
        return cls(shared.broker, shared.topology, name=shared.settings.camunda_worker_id)

    def task_publisher(self, watch: QueueWatch) -> Publisher:
        """Return what publishes tasks, and lets `watch` look at the queues."""
        return Publisher(self.broker, self.topology, name=f"{self.name} tasks", place=TASKS_PLACE, watch=watch)

    def response_consumer(self, inbox: Inbox, rejected: RejectedReader) -> Consumer:
        """Return what reads the systems' responses into an inbox, and beside them the messages they rejected."""
        name = f"{self.name} answers"
        return Consumer(self.broker, self.topology, RESPONSE_QUEUE, inbox, name=name, rejected=rejected)

    def copy_publisher(self, watch: QueueWatch | None) -> Publisher:
        """Return what publishes copies of responses; `watch` None where another publisher looks at the queues."""
        return Publisher(self.broker, self.topology, name=f"{self.name} detours", place=COPIES_PLACE, watch=watch)

    def side_queues(self, copies: Publisher, originals: Originals) -> SideQueues:
        """Return where responses go that cannot be applied now."""
        return SideQueues(copies, originals, lambda: self.broker.user_id)
