"""What the integration tests share: the product's broker, the contract's topology, a partner's channel."""

from collections.abc import Iterator
from contextlib import suppress

import pika
import pytest
from loguru import logger
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import AMQPError

from bridge.broker import Broker, Topology
from config import RoutingConfig
from sandbox.sandbox import Sandbox

ROUTING = RoutingConfig.built_in(600_000)
SYSTEMS = tuple(system.name for system in ROUTING.systems)


@pytest.fixture
def broker(sandbox: Sandbox, vhost: str) -> Broker:
    node = sandbox.broker
    return Broker(node.host, node.port, vhost, node.username, lambda: node.password)


@pytest.fixture
def logged() -> Iterator[list[str]]:
    """Collects the log, each line as `LEVEL message`."""
    lines: list[str] = []
    sink = logger.add(lines.append, format="{level} {message}", level="DEBUG")
    yield lines
    logger.remove(sink)


@pytest.fixture
def topology() -> Topology:
    return Topology.of(ROUTING, queue_type="classic", passive=False)


@pytest.fixture
def channel(broker: Broker) -> Iterator[BlockingChannel]:
    connection = pika.BlockingConnection(broker.parameters("partner"))
    yield connection.channel()
    with suppress(AMQPError):  # some tests let the broker close every connection
        connection.close()
