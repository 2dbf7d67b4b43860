"""The consumer: it delivers, is acknowledged by other threads, and comes back."""

import hashlib
import resource
import secrets
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pika
from pika.adapters.blocking_connection import BlockingChannel

from bridge.broker import KEPT_BYTES, Broker, Consumer, Delivery, Inbox, Topology
from bridge.contract import RESPONSE_QUEUE
from sandbox.sandbox import Sandbox
from tests.integration.services import SECONDS, close_connections, eventual, held, running


class Desk:
    """A consumer of the answers, and what it delivered."""

    def __init__(self, broker: Broker, topology: Topology, prefetch: int = 10) -> None:
        self.inbox = Inbox(is_read=True, prefetch=prefetch)
        self.consumer = Consumer(broker, topology, RESPONSE_QUEUE, self.inbox, name="answers")

    def receive(self, count: int) -> list[Delivery]:
        return [self._next() for _ in range(count)]

    def _next(self) -> Delivery:
        """Take the next delivery; a test that waits too long for one fails."""
        impatient = threading.Timer(SECONDS, self.inbox.close)
        impatient.start()
        delivery = self.inbox.take()
        impatient.cancel()
        assert delivery is not None
        return delivery

    def bodies(self, count: int) -> list[bytes]:
        return [delivery.body for delivery in self.receive(count)]

    def subscribed(self) -> bool:
        return self.inbox.subscribed


def answer(channel: BlockingChannel, *bodies: bytes) -> None:
    channel.queue_declare(RESPONSE_QUEUE, durable=True)
    channel.confirm_delivery()
    for body in bodies:
        channel.basic_publish("", RESPONSE_QUEUE, body, pika.BasicProperties(correlation_id="task-1"))


def test_it_delivers_what_comes_as_it_came(broker: Broker, topology: Topology, channel: BlockingChannel) -> None:
    desk = Desk(broker, topology)
    answer(channel, b"\xff\x00 not text")

    with running(desk.consumer):
        (delivery,) = desk.receive(1)

    assert (delivery.body, delivery.correlation_id) == (b"\xff\x00 not text", "task-1")


def test_other_threads_acknowledge(
    sandbox: Sandbox, vhost: str, broker: Broker, topology: Topology, channel: BlockingChannel
) -> None:
    desk = Desk(broker, topology)
    answer(channel, *(b"%d" % n for n in range(200)))

    with running(desk.consumer), ThreadPoolExecutor(8) as pool:
        for _ in range(200):
            pool.submit(lambda: desk.consumer.ack(desk.receive(1)[0]))
        assert eventual(lambda: held(sandbox, vhost, RESPONSE_QUEUE) == (0, 0))


def test_what_is_being_worked_on_is_in_hand_until_it_is_acknowledged(
    broker: Broker, topology: Topology, channel: BlockingChannel
) -> None:
    desk = Desk(broker, topology)
    answer(channel, b"one", b"two")

    with running(desk.consumer):
        one, _two = desk.receive(2)
        assert desk.inbox.in_hand == 2
        desk.consumer.ack(one)
        assert eventual(lambda: desk.inbox.in_hand == 1)
    assert desk.inbox.in_hand == 0


def test_no_more_than_the_prefetch_is_out(
    sandbox: Sandbox, vhost: str, broker: Broker, topology: Topology, channel: BlockingChannel
) -> None:
    desk = Desk(broker, topology, prefetch=3)
    answer(channel, *(b"%d" % n for n in range(10)))

    with running(desk.consumer):
        first, *_ = desk.receive(3)
        before = held(sandbox, vhost, RESPONSE_QUEUE)
        desk.consumer.ack(first)
        (fourth,) = desk.receive(1)
        after = held(sandbox, vhost, RESPONSE_QUEUE)

    assert (before, after) == ((7, 3), (6, 3))
    assert fourth.body == b"3"


def test_it_has_all_messages_only_while_the_broker_could_deliver_more(
    broker: Broker, topology: Topology, channel: BlockingChannel
) -> None:
    desk = Desk(broker, topology, prefetch=2)
    answer(channel, b"1", b"2", b"3")

    with running(desk.consumer):
        first, second = desk.receive(2)
        at_the_limit = desk.inbox.has_all
        desk.consumer.ack(first)
        desk.consumer.ack(second)
        desk.receive(1)

        assert not at_the_limit
        assert eventual(lambda: desk.inbox.has_all)


def test_what_is_not_acknowledged_at_the_stop_is_delivered_again(
    sandbox: Sandbox, vhost: str, broker: Broker, topology: Topology, channel: BlockingChannel
) -> None:
    desk = Desk(broker, topology)
    answer(channel, b"done", b"not done")

    with running(desk.consumer):
        done, _ = desk.receive(2)
        desk.consumer.ack(done)

    assert eventual(lambda: held(sandbox, vhost, RESPONSE_QUEUE) == (1, 0))
    _, _, body = channel.basic_get(RESPONSE_QUEUE)
    assert body == b"not done"


def test_a_paused_consumer_takes_no_more_and_still_acknowledges(
    sandbox: Sandbox, vhost: str, broker: Broker, topology: Topology, channel: BlockingChannel
) -> None:
    desk = Desk(broker, topology)
    answer(channel, b"before")

    with running(desk.consumer):
        (delivery,) = desk.receive(1)
        desk.consumer.pause()
        assert eventual(lambda: channel.queue_declare(RESPONSE_QUEUE, passive=True).method.consumer_count == 0)
        answer(channel, b"after")
        desk.consumer.ack(delivery)
        assert eventual(lambda: held(sandbox, vhost, RESPONSE_QUEUE) == (1, 0))

    assert desk.inbox.in_hand == 0


def test_it_subscribes_again_after_its_queue_was_deleted(
    broker: Broker, topology: Topology, channel: BlockingChannel
) -> None:
    desk = Desk(broker, topology)

    with running(desk.consumer):
        assert eventual(desk.subscribed)
        channel.queue_delete(RESPONSE_QUEUE)
        assert eventual(lambda: not desk.subscribed())
        assert eventual(desk.subscribed)
        answer(channel, b"later")

        assert desk.bodies(1) == [b"later"]


def test_it_comes_back_after_the_broker_closed_its_connection(
    sandbox: Sandbox, vhost: str, broker: Broker, topology: Topology, channel: BlockingChannel
) -> None:
    desk = Desk(broker, topology)
    answer(channel, b"one", b"two")

    with running(desk.consumer):
        before = desk.bodies(2)
        close_connections(sandbox, vhost)

        assert desk.bodies(2) == before == [b"one", b"two"]


def test_an_acknowledgement_of_an_earlier_channel_is_not_sent_on_a_later_one(
    sandbox: Sandbox, vhost: str, broker: Broker, topology: Topology, channel: BlockingChannel
) -> None:
    desk = Desk(broker, topology)
    answer(channel, b"one", b"two")

    with running(desk.consumer):
        early_one, _ = desk.receive(2)
        close_connections(sandbox, vhost)
        one, two = desk.receive(2)
        desk.consumer.ack(early_one)
        desk.consumer.ack(two)

        assert early_one.tag == one.tag
        assert eventual(lambda: held(sandbox, vhost, RESPONSE_QUEUE) == (0, 1))
        assert desk.subscribed()

    with pika.BlockingConnection(broker.parameters("partner")) as connection:
        _, _, body = connection.channel().basic_get(RESPONSE_QUEUE)
    assert body == b"one"


def test_an_acknowledgement_given_while_disconnected_does_not_hold_up_later_ones(
    sandbox: Sandbox, vhost: str, broker: Broker, topology: Topology, channel: BlockingChannel
) -> None:
    desk = Desk(broker, topology)
    answer(channel, b"one", b"two")

    with running(desk.consumer):
        early, _ = desk.receive(2)
        close_connections(sandbox, vhost)
        assert eventual(lambda: not desk.subscribed())
        desk.consumer.ack(early)  # nobody to tell: the next attempt to connect comes after a pause
        for delivery in desk.receive(2):
            desk.consumer.ack(delivery)

        assert eventual(lambda: held(sandbox, vhost, RESPONSE_QUEUE) == (0, 0))


def test_without_the_right_to_read_the_pauses_grow_and_the_right_is_named(
    sandbox: Sandbox, vhost: str, broker: Broker, topology: Topology, logged: list[str]
) -> None:
    topology.declare(broker.parameters("administrator"))
    user = f"weak-{vhost}"
    sandbox.broker.api.add_user(user, "secret-of-weak")
    sandbox.broker.api.set_permissions(user, vhost, read=r"^(?!camunda\.responses\.queue)")
    desk = Desk(replace(broker, username=user, read_password=lambda: "secret-of-weak"), topology)

    with running(desk.consumer):
        assert eventual(lambda: len(attempts(logged)) >= 4)
        trouble = desk.consumer.trouble
        sandbox.broker.api.set_permissions(user, vhost)
        assert eventual(desk.subscribed)
        assert desk.consumer.trouble == ""

    assert "lacks the read permission on queue 'camunda.responses.queue'" in trouble
    assert attempts(logged)[3] >= 2.0


def attempts(logged: list[str]) -> list[float]:
    """Returns the pauses between the attempts so far."""
    return [float(line.rpartition(" in ")[2].split()[0]) for line in logged if "next attempt" in line]


def test_a_consumer_that_is_paused_while_it_connects_is_in_no_trouble(broker: Broker, topology: Topology) -> None:
    desk = Desk(broker, topology)
    desk.consumer.pause()

    with running(desk.consumer):
        assert eventual(lambda: desk.consumer.connected)

    assert not desk.subscribed()


def test_it_waits_for_a_broker_that_is_not_there(topology: Topology, unused_port: int) -> None:
    nowhere = Broker("127.0.0.1", unused_port, "/", "anyone", lambda: "anything")
    desk = Desk(nowhere, topology)

    with running(desk.consumer) as thread:
        assert thread.is_alive()
        assert not threading.Event().wait(1)
        assert thread.is_alive()
        assert not desk.subscribed()


def test_many_large_bodies_in_hand_take_no_memory(
    broker: Broker, topology: Topology, channel: BlockingChannel
) -> None:
    desk = Desk(broker, topology, prefetch=100)
    body = secrets.token_bytes(16_000_000)  # RabbitMQ 4 takes no larger ones by default
    digest = hashlib.sha256(body).hexdigest()
    answer(channel, *[body] * 30)
    before = peak_megabytes()

    with running(desk.consumer):
        deliveries = desk.receive(30)

    assert [len(delivery.body) for delivery in deliveries] == [KEPT_BYTES] * 30
    assert {(delivery.size, delivery.sha256) for delivery in deliveries} == {(16_000_000, digest)}
    assert peak_megabytes() - before < 60


def peak_megabytes() -> float:
    """Return the most memory that this process has used."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
