"""The publisher: every message's fate comes back, whatever the broker does."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from queue import SimpleQueue

import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel
from pika.connection import ConnectionParameters
from pika.exceptions import ChannelClosedByBroker, UnroutableError

from errors import SettingsError
from messages import RESPONSE_QUEUE, TASK_EXCHANGE, Publication
from rabbitmq_client import Broker, Outcome, Publisher, Topology
from rabbitmq_client.topology import RESPONSE_EXCHANGE, Exchange, Queue
from sandbox.sandbox import Sandbox
from tests.conftest import MemoryAlarm
from tests.integration.deaf_relay import deaf_relay
from tests.integration.services import SECONDS, close_connections, eventual, held, message, outcomes_of, running

NOTHING_BOUND = Topology(exchanges=(Exchange(TASK_EXCHANGE, "topic", {}),), queues=())
ONLY_ONE_FITS = {"x-max-length": 1, "x-overflow": "reject-publish"}


class NothingThere:
    """A topology without queues."""

    queues = ()
    exchanges = ()
    passive = True


class StopsMeanwhile(NothingThere):
    """A topology whose declaration takes so long that the service is stopped meanwhile."""

    def __init__(self) -> None:
        self.stop: Callable[[], None] = lambda: None

    def declare(self, _parameters: ConnectionParameters) -> None:
        self.stop()


def test_a_batch_is_confirmed_and_in_its_queues(
    sandbox: Sandbox, vhost: str, broker: Broker, topology: Topology
) -> None:
    publisher = Publisher(broker, topology, name="tasks")
    batch = [message(str(n), key=key) for n in range(100) for key in ("1c.1c_sync_data", "bitrix24.bitrix_x")]

    with running(publisher):
        assert publisher.wait_until_ready(SECONDS)
        outcomes = outcomes_of(publisher, batch)

    assert outcomes == [Outcome.CONFIRMED] * 200
    assert [held(sandbox, vhost, name) for name in ("1c.queue", "bitrix24.queue")] == [(100, 0), (100, 0)]


def test_large_and_small_messages_of_a_batch_arrive_as_they_were_and_in_order(
    broker: Broker, topology: Topology, channel: BlockingChannel
) -> None:
    publisher = Publisher(broker, topology, name="tasks")
    sizes = (1, 100_000, 7, 65_536, 500, 1_000_000, 3)
    batch = [replace(message(str(n), key="1c.1c_x"), body=b"%d" % n * size) for n, size in enumerate(sizes)]

    with running(publisher):
        assert publisher.wait_until_ready(SECONDS)
        outcomes = outcomes_of(publisher, batch)
        arrived = [channel.basic_get("1c.queue", auto_ack=True)[2] for _ in sizes]

    assert outcomes == [Outcome.CONFIRMED] * len(sizes)
    assert arrived == [publication.body for publication in batch]


def test_what_no_queue_takes_is_returned_and_the_rest_is_confirmed(
    broker: Broker, channel: BlockingChannel
) -> None:
    channel.exchange_declare(TASK_EXCHANGE, "topic", durable=True)
    channel.queue_declare("1c.queue", durable=True)
    channel.queue_bind("1c.queue", TASK_EXCHANGE, "1c.#")
    publisher = Publisher(broker, NOTHING_BOUND, name="tasks")

    with running(publisher):
        assert publisher.wait_until_ready(SECONDS)
        outcomes = outcomes_of(publisher, [message("a"), message("b", key="nobody.knows"), message("c")])

    assert outcomes == [Outcome.CONFIRMED, Outcome.RETURNED, Outcome.CONFIRMED]


def test_returns_of_messages_without_ids_are_told_apart(broker: Broker, channel: BlockingChannel) -> None:
    channel.queue_declare("there", durable=True)
    publisher = Publisher(broker, NOTHING_BOUND, name="detours")
    batch = [
        Publication("", queue, body, headers={}, properties={"delivery_mode": 2})
        for queue, body in (("gone", b"1"), ("gone", b"2"), ("there", b"3"), ("gone", b"4"), ("there", b"5"))
    ]

    with running(publisher):
        assert publisher.wait_until_ready(SECONDS)
        outcomes = outcomes_of(publisher, batch)

    lost, safe = Outcome.RETURNED, Outcome.CONFIRMED
    assert outcomes == [lost, lost, safe, lost, safe]


def test_a_delay_tier_that_was_deleted_is_declared_again(
    sandbox: Sandbox, vhost: str, broker: Broker, topology: Topology, channel: BlockingChannel
) -> None:
    publisher = Publisher(broker, topology, name="detours")

    with running(publisher):
        assert publisher.wait_until_ready(SECONDS)
        channel.queue_delete("camunda.responses.retry.5s")
        assert eventual(lambda: "camunda.responses.retry.5s" in sandbox.broker.api.queues(vhost))


def test_a_returned_message_that_is_published_again_is_confirmed_once_a_queue_is_there(
    broker: Broker, channel: BlockingChannel
) -> None:
    publisher = Publisher(broker, NOTHING_BOUND, name="tasks")

    with running(publisher):
        assert publisher.wait_until_ready(SECONDS)
        first = outcomes_of(publisher, [message("a")])
        channel.queue_declare("1c.queue", durable=True)
        channel.queue_bind("1c.queue", TASK_EXCHANGE, "1c.#")
        second = outcomes_of(publisher, [message("a")])

    assert (first, second) == ([Outcome.RETURNED], [Outcome.CONFIRMED])


def test_a_full_queue_refuses_and_the_others_go_on(broker: Broker) -> None:
    full = Queue("1c.queue", ONLY_ONE_FITS, ((TASK_EXCHANGE, "1c.#"),))
    free = Queue("bitrix24.queue", {}, ((TASK_EXCHANGE, "bitrix24.#"),))
    publisher = Publisher(broker, Topology(NOTHING_BOUND.exchanges, (full, free)), name="tasks")

    with running(publisher):
        assert publisher.wait_until_ready(SECONDS)
        filling = outcomes_of(publisher, [message("a")])
        outcomes = outcomes_of(publisher, [message("b"), message("c", key="bitrix24.bitrix_x")])

    assert filling == [Outcome.CONFIRMED]
    assert outcomes == [Outcome.REFUSED, Outcome.CONFIRMED]


def test_without_a_connection_nothing_is_sent(broker: Broker, topology: Topology) -> None:
    publisher = Publisher(broker, topology, name="tasks")

    outcomes = outcomes_of(publisher, [message("a"), message("b")])

    assert outcomes == [Outcome.UNSENT, Outcome.UNSENT]
    assert not publisher.ready


def test_a_publisher_that_the_broker_blocks_is_not_ready_until_the_alarm_is_over(
    broker: Broker, topology: Topology, memory_alarm: MemoryAlarm
) -> None:
    publisher = Publisher(broker, topology, name="tasks")
    fates: SimpleQueue[Sequence[Outcome]] = SimpleQueue()

    with running(publisher):
        assert publisher.wait_until_ready(SECONDS)
        with memory_alarm():
            publisher.publish([message("a")], fates.put)
            assert eventual(lambda: not publisher.ready)
            assert fates.empty()

        assert publisher.wait_until_ready(SECONDS)
        assert fates.get(timeout=SECONDS) == [Outcome.CONFIRMED]


def test_a_blocked_publisher_stops_at_once(broker: Broker, topology: Topology, memory_alarm: MemoryAlarm) -> None:
    publisher = Publisher(broker, topology, name="tasks")
    fates: SimpleQueue[Sequence[Outcome]] = SimpleQueue()

    with memory_alarm(), running(publisher) as thread:
        assert publisher.wait_until_ready(SECONDS)
        publisher.publish([message("a")], fates.put)
        assert eventual(lambda: not publisher.ready)
        publisher.stop()
        thread.join(10)
        assert not thread.is_alive()

    assert fates.get(timeout=SECONDS) == [Outcome.UNKNOWN]


def test_it_comes_back_after_the_broker_closed_its_connection(
    sandbox: Sandbox, vhost: str, broker: Broker, topology: Topology
) -> None:
    publisher = Publisher(broker, topology, name="tasks")

    with running(publisher):
        assert publisher.wait_until_ready(SECONDS)
        close_connections(sandbox, vhost)
        assert eventual(lambda: not publisher.ready)
        assert publisher.wait_until_ready(SECONDS)
        outcomes = outcomes_of(publisher, [message("a")])

    assert outcomes == [Outcome.CONFIRMED]


def test_a_broker_that_falls_silent_while_the_topology_is_declared_is_given_up(
    sandbox: Sandbox, broker: Broker, topology: Topology
) -> None:
    with deaf_relay(sandbox.broker, TASK_EXCHANGE.encode()) as port:
        publisher = Publisher(replace(broker, port=port), topology, name="tasks")

        with running(publisher):
            assert publisher.wait_until_ready(SECONDS)


def test_every_batch_is_settled_while_connections_come_and_go(
    sandbox: Sandbox, vhost: str, broker: Broker, topology: Topology
) -> None:
    publisher = Publisher(broker, topology, name="tasks")
    over = threading.Event()
    fates: list[Outcome] = []

    def publish_on_and_on() -> None:
        while not over.is_set():
            publisher.wait_until_ready(1)
            fates.extend(outcomes_of(publisher, [message("a"), message("b")]))

    with running(publisher):
        assert publisher.wait_until_ready(SECONDS)
        threads = [threading.Thread(target=publish_on_and_on) for _ in range(4)]
        for thread in threads:
            thread.start()
        for _ in range(5):
            assert publisher.wait_until_ready(SECONDS)
            close_connections(sandbox, vhost)
        over.set()
        for thread in threads:
            thread.join()

    confirmed = fates.count(Outcome.CONFIRMED)
    ready, _ = held(sandbox, vhost, "1c.queue")
    assert confirmed <= ready <= confirmed + fates.count(Outcome.UNKNOWN)
    assert confirmed > 0


def test_an_exchange_that_was_deleted_is_declared_again(
    broker: Broker, topology: Topology, channel: BlockingChannel
) -> None:
    publisher = Publisher(broker, topology, name="tasks")

    with running(publisher):
        assert publisher.wait_until_ready(SECONDS)
        channel.exchange_delete(TASK_EXCHANGE)
        first = outcomes_of(publisher, [message("a")])
        assert publisher.wait_until_ready(SECONDS)
        second = outcomes_of(publisher, [message("a")])

    assert (first, second) == ([Outcome.UNKNOWN], [Outcome.CONFIRMED])


def test_an_exchange_that_nobody_publishes_to_is_declared_again_as_well(
    broker: Broker, topology: Topology, channel: BlockingChannel
) -> None:
    publisher = Publisher(broker, topology, name="tasks")

    with running(publisher):
        assert publisher.wait_until_ready(SECONDS)
        channel.exchange_delete(RESPONSE_EXCHANGE)
        assert eventual(lambda: answer_arrives(broker))


def answer_arrives(broker: Broker) -> bool:
    """Publishes an answer through the exchange and says whether a queue took it."""
    with pika.BlockingConnection(broker.parameters("partner")) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        try:
            channel.basic_publish(RESPONSE_EXCHANGE, RESPONSE_QUEUE, b"{}", mandatory=True)
        except (UnroutableError, ChannelClosedByBroker):
            return False
        return True


def test_a_queue_that_its_system_made_anew_is_bound_again(
    broker: Broker, topology: Topology, channel: BlockingChannel
) -> None:
    publisher = Publisher(broker, topology, name="tasks")

    with running(publisher):
        assert publisher.wait_until_ready(SECONDS)
        channel.queue_delete("1c.queue")
        channel.queue_declare("1c.queue", durable=True)

        assert eventual(lambda: delivers_to(channel, "1c.queue", publisher))


def delivers_to(channel: BlockingChannel, queue: str, publisher: Publisher) -> bool:
    outcomes_of(publisher, [message("a")])
    return int(channel.queue_declare(queue, passive=True).method.message_count) > 0


def test_a_queue_that_is_not_as_wanted_any_more_is_in_trouble_until_it_is_deleted(
    sandbox: Sandbox, vhost: str, broker: Broker, topology: Topology, channel: BlockingChannel
) -> None:
    publisher = Publisher(broker, topology, name="tasks")

    with running(publisher):
        assert publisher.wait_until_ready(SECONDS)
        channel.queue_delete("1c.queue")
        channel.queue_declare("1c.queue", durable=True, arguments=ONLY_ONE_FITS)
        assert eventual(lambda: "x-max-length" in publisher.watch.state("1c.queue").trouble)
        seen_at = publisher.watch.state("python-services.queue").seen_at
        assert eventual(lambda: publisher.watch.state("python-services.queue").seen_at > seen_at)
        close_connections(sandbox, vhost)
        assert eventual(lambda: not publisher.ready)
        assert publisher.wait_until_ready(SECONDS)
        outcomes = outcomes_of(publisher, [message("a", key="bitrix24.bitrix_x")])
        assert outcomes == [Outcome.CONFIRMED]
        with pika.BlockingConnection(broker.parameters("partner")) as connection:
            connection.channel().queue_delete("1c.queue")

        assert eventual(lambda: publisher.watch.state("1c.queue").trouble == "")
        assert publisher.watch.state("bitrix24.queue").trouble == ""


def test_a_stop_while_it_connects_ends_it(broker: Broker) -> None:
    topology = StopsMeanwhile()
    publisher = Publisher(broker, topology, name="tasks")  # type: ignore[arg-type]  # a double of a frozen class
    topology.stop = publisher.stop

    thread = threading.Thread(target=publisher.run, daemon=True)
    thread.start()
    thread.join(10)

    assert not thread.is_alive()
    publisher.stop()


def test_a_topology_that_does_not_fit_ends_it_at_start(
    broker: Broker, topology: Topology, channel: BlockingChannel
) -> None:
    channel.queue_declare("1c.queue", durable=True, arguments=ONLY_ONE_FITS)

    with pytest.raises(SettingsError, match=r"1c\.queue"):
        Publisher(broker, topology, name="tasks").run()


class CountedTopology(NothingThere):
    """A topology that fits the first time only, and counts the attempts."""

    def __init__(self) -> None:
        self.attempts = 0

    def declare(self, _parameters: ConnectionParameters) -> None:
        self.attempts += 1
        if self.attempts > 1:
            raise SettingsError("RabbitMQ has a queue '1c.queue' that is not as wanted")


def test_a_topology_that_does_not_fit_any_more_is_tried_with_pauses(
    sandbox: Sandbox, vhost: str, broker: Broker
) -> None:
    topology = CountedTopology()
    publisher = Publisher(broker, topology, name="tasks")  # type: ignore[arg-type]  # a double of a frozen class

    with running(publisher):
        assert publisher.wait_until_ready(SECONDS)
        close_connections(sandbox, vhost)
        assert eventual(lambda: topology.attempts >= 3)  # the pauses: 0.25 s and more, then 0.5 s and more
        attempts = topology.attempts

    assert attempts == 3


def test_a_message_that_is_too_large_for_the_broker_does_not_hold_up_the_others(
    broker: Broker, topology: Topology
) -> None:
    publisher = Publisher(broker, topology, name="tasks")
    large = Publication(TASK_EXCHANGE, "1c.x", b"{}", {"x": "y" * 200_000}, {"message_id": "large"})

    with running(publisher):
        assert publisher.wait_until_ready(SECONDS)
        first = outcomes_of(publisher, [large])
        assert publisher.wait_until_ready(SECONDS)
        second = outcomes_of(publisher, [message("a")])

    assert first != [Outcome.CONFIRMED]
    assert second == [Outcome.CONFIRMED]
