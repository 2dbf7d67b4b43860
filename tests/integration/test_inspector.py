"""What the tools ask of the broker: the answers are right, and nothing is changed by asking."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from pika.adapters.blocking_connection import BlockingChannel

from bridge.broker import Broker, Topology
from bridge.broker.topology import RESPONSE_EXCHANGE, UNROUTED_EXCHANGE, Exchange, Queue
from bridge.contract import RESPONSE_QUEUE, TASK_EXCHANGE
from bridge.errors import Unavailable
from sandbox.sandbox import Sandbox
from tests.integration.deaf_relay import deaf_relay
from tests.integration.services import held
from tools.lib.inspector import Inspector

CATCHES_ALL = "audit"


@pytest.fixture
def inspector(broker: Broker, topology: Topology, channel: BlockingChannel) -> Iterator[Inspector]:
    """The whole topology, with a queue that gets a copy of every task."""
    topology.declare(broker.parameters("tests"))
    channel.queue_declare(CATCHES_ALL)
    channel.queue_bind(CATCHES_ALL, TASK_EXCHANGE, "#")
    with Inspector(broker, name="inspector") as inspector:
        yield inspector


def seen(inspector: Inspector, queue: str) -> tuple[int, int]:
    """Return how many messages are ready in a queue that is there, and how many consumers it has."""
    state = inspector.look(queue)
    assert state is not None
    return state.ready, state.consumers


def test_it_sees_messages_and_consumers(inspector: Inspector, channel: BlockingChannel) -> None:
    channel.basic_publish("", "1c.queue", b"{}")
    channel.basic_consume(RESPONSE_QUEUE, lambda *_: None)

    assert seen(inspector, "1c.queue") == (1, 0)
    assert seen(inspector, RESPONSE_QUEUE) == (0, 1)
    assert inspector.look("no-such-queue") is None
    assert seen(inspector, "1c.queue") == (1, 0)


def test_the_right_to_publish_is_tried_without_a_message(inspector: Inspector, channel: BlockingChannel) -> None:
    assert inspector.may_publish(TASK_EXCHANGE, "1c.anything")

    assert channel.queue_declare(CATCHES_ALL, passive=True).method.message_count == 0
    assert seen(inspector, "1c.queue") == (0, 0)


def test_the_canary_comes_back_and_nobody_else_sees_it(inspector: Inspector, channel: BlockingChannel) -> None:
    through = [inspector.canary(exchange) for exchange in (RESPONSE_EXCHANGE, "")]

    assert all(seconds is not None and seconds < 5 for seconds in through)
    assert seen(inspector, RESPONSE_QUEUE) == (0, 0)
    assert channel.queue_declare(CATCHES_ALL, passive=True).method.message_count == 0


def test_what_is_as_wanted_does_not_differ(inspector: Inspector, topology: Topology) -> None:
    everything: list[Exchange | Queue] = [*topology.exchanges, *topology.queues]

    assert [inspector.differs(wanted) for wanted in everything] == [None] * len(everything)


def test_what_is_otherwise_than_wanted_differs(inspector: Inspector) -> None:
    said = inspector.differs(Exchange(UNROUTED_EXCHANGE, "topic", {}))

    assert said is not None
    assert "PRECONDITION_FAILED - inequivalent arg 'type'" in said


def test_the_first_message_is_back_in_its_place(
    inspector: Inspector, channel: BlockingChannel, sandbox: Sandbox, vhost: str
) -> None:
    for body in (b"first", b"second"):
        channel.basic_publish("", "1c.queue", body)

    assert inspector.oldest("1c.queue") is None

    assert held(sandbox, vhost, "1c.queue") == (2, 0)
    assert channel.basic_get("1c.queue", auto_ack=True)[2] == b"first"


def test_a_broker_that_falls_silent_is_given_up(sandbox: Sandbox, broker: Broker) -> None:
    with (
        deaf_relay(sandbox.broker, b"no-such-queue") as port,
        Inspector(replace(broker, port=port), name="inspector") as inspector,
    ):
        with pytest.raises(Unavailable, match="has not answered"):
            inspector.look("no-such-queue")

        assert inspector.look("no-such-queue") is None


def test_a_login_beyond_ascii_is_taken(sandbox: Sandbox, broker: Broker, topology: Topology) -> None:
    name, password = "кролик", "пароль-ß-😀"
    sandbox.broker.api.add_user(name, password)
    sandbox.broker.api.set_permissions(name, broker.virtual_host)
    theirs = replace(broker, username=name, read_password=lambda: password)

    theirs.declare(topology, name="tests")

    with Inspector(theirs, name="inspector") as inspector:
        assert seen(inspector, RESPONSE_QUEUE) == (0, 0)
