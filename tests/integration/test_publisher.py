"""The publisher: every message's fate comes back, whatever the broker does."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from queue import SimpleQueue
from typing import Self

import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import ChannelClosedByBroker, UnroutableError

from bridge.broker import COPIES_PLACE, Broker, Outcome, Publisher, Topology
from bridge.broker import publisher as publisher_module
from bridge.broker import watch as watch_module
from bridge.broker.bent_pika import DeadlineConnection
from bridge.broker.topology import RESPONSE_EXCHANGE, Exchange, Queue
from bridge.contract import RESPONSE_QUEUE, TASK_EXCHANGE, Publication
from bridge.errors import SettingsError
from bridge.routing import Routing, System
from sandbox.sandbox import Sandbox
from tests.conftest import MemoryAlarm
from tests.integration.deaf_relay import deaf_relay
from tests.integration.services import (
    SECONDS,
    close_connections,
    eventual,
    held,
    message,
    outcomes_of,
    publisher_of,
    running,
)

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

    def declare_over(self, connection: DeadlineConnection) -> None:
        connection.close()
        self.stop()


def test_a_batch_is_confirmed_and_in_its_queues(
    sandbox: Sandbox, vhost: str, broker: Broker, topology: Topology
) -> None:
    publisher = publisher_of(broker, topology, name="tasks")
    batch = [message(str(n), key=key) for n in range(100) for key in ("1c.1c_sync_data", "bitrix24.bitrix_x")]

    with running(publisher):
        assert publisher.wait_until_ready(SECONDS)
        outcomes = outcomes_of(publisher, batch)

    assert outcomes == [Outcome.CONFIRMED] * 200
    assert [held(sandbox, vhost, name) for name in ("1c.queue", "bitrix24.queue")] == [(100, 0), (100, 0)]


def test_a_batch_that_is_too_late_never_leaves(
    sandbox: Sandbox, vhost: str, broker: Broker, topology: Topology
) -> None:
    publisher, told = publisher_of(broker, topology, name="tasks"), SimpleQueue[Sequence[Outcome]]()

    with running(publisher):
        assert publisher.wait_until_ready(SECONDS)
        publisher.publish([message("late", key="1c.1c_x")], told.put, send_by=time.monotonic())
        publisher.publish([message("good", key="1c.1c_x")], told.put, send_by=time.monotonic() + SECONDS)
        outcomes = [told.get(timeout=SECONDS), told.get(timeout=SECONDS)]

    assert outcomes == [[Outcome.UNSENT], [Outcome.CONFIRMED]]
    assert held(sandbox, vhost, "1c.queue") == (1, 0)


def test_large_and_small_messages_of_a_batch_arrive_as_they_were_and_in_order(
    broker: Broker, topology: Topology, channel: BlockingChannel
) -> None:
    publisher = publisher_of(broker, topology, name="tasks")
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
    publisher = publisher_of(broker, NOTHING_BOUND, name="tasks")

    with running(publisher):
        assert publisher.wait_until_ready(SECONDS)
        outcomes = outcomes_of(publisher, [message("a"), message("b", key="nobody.knows"), message("c")])

    assert outcomes == [Outcome.CONFIRMED, Outcome.RETURNED, Outcome.CONFIRMED]


def test_returns_of_messages_without_ids_are_told_apart(broker: Broker, channel: BlockingChannel) -> None:
    channel.queue_declare("there", durable=True)
    publisher = publisher_of(broker, NOTHING_BOUND, name="detours")
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
    publisher = publisher_of(broker, topology, name="detours")

    with running(publisher):
        assert publisher.wait_until_ready(SECONDS)
        channel.queue_delete("camunda.responses.retry.5s")
        assert eventual(lambda: "camunda.responses.retry.5s" in sandbox.broker.api.queues(vhost))


def test_a_returned_message_that_is_published_again_is_confirmed_once_a_queue_is_there(
    broker: Broker, channel: BlockingChannel
) -> None:
    publisher = publisher_of(broker, NOTHING_BOUND, name="tasks")

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
    publisher = publisher_of(broker, Topology(NOTHING_BOUND.exchanges, (full, free)), name="tasks")

    with running(publisher):
        assert publisher.wait_until_ready(SECONDS)
        filling = outcomes_of(publisher, [message("a")])
        outcomes = outcomes_of(publisher, [message("b"), message("c", key="bitrix24.bitrix_x")])

    assert filling == [Outcome.CONFIRMED]
    assert outcomes == [Outcome.REFUSED, Outcome.CONFIRMED]


def test_without_a_connection_nothing_is_sent(broker: Broker, topology: Topology) -> None:
    publisher = publisher_of(broker, topology, name="tasks")

    outcomes = outcomes_of(publisher, [message("a"), message("b")])

    assert outcomes == [Outcome.UNSENT, Outcome.UNSENT]
    assert not publisher.ready


def test_a_publisher_that_the_broker_blocks_is_not_ready_until_the_alarm_is_over(
    broker: Broker, topology: Topology, memory_alarm: MemoryAlarm
) -> None:
    publisher = publisher_of(broker, topology, name="tasks")
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
    publisher = publisher_of(broker, topology, name="tasks")
    fates: SimpleQueue[Sequence[Outcome]] = SimpleQueue()

    with running(publisher) as thread:
        assert publisher.wait_until_ready(SECONDS)
        with memory_alarm():
            publisher.publish([message("a")], fates.put)
            assert eventual(lambda: not publisher.ready)
            publisher.stop()
            thread.join(10)
            assert not thread.is_alive()

    assert fates.get(timeout=SECONDS) == [Outcome.UNKNOWN]


def test_it_comes_back_after_the_broker_closed_its_connection(
    sandbox: Sandbox, vhost: str, broker: Broker, topology: Topology
) -> None:
    publisher = publisher_of(broker, topology, name="tasks")

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
        publisher = publisher_of(replace(broker, port=port), topology, name="tasks")

        with running(publisher):
            assert publisher.wait_until_ready(SECONDS)


def test_every_batch_is_settled_while_connections_come_and_go(
    sandbox: Sandbox, vhost: str, broker: Broker, topology: Topology
) -> None:
    publisher = publisher_of(broker, topology, name="tasks")
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
    publisher = publisher_of(broker, topology, name="tasks")

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
    publisher = publisher_of(broker, topology, name="tasks")

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
    publisher = publisher_of(broker, topology, name="tasks")

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
    publisher = publisher_of(broker, topology, name="tasks")

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
    publisher = publisher_of(broker, topology, name="tasks")  # type: ignore[arg-type]  # a double of a frozen class
    topology.stop = publisher.stop

    thread = threading.Thread(target=publisher.run, daemon=True)
    thread.start()
    thread.join(10)

    assert not thread.is_alive()
    publisher.stop()


def test_a_queue_of_ours_that_does_not_fit_ends_it_at_start(
    broker: Broker, topology: Topology, channel: BlockingChannel
) -> None:
    channel.queue_declare(RESPONSE_QUEUE, durable=True, arguments=ONLY_ONE_FITS)

    with pytest.raises(SettingsError, match=r"camunda\.responses\.queue"):
        publisher_of(broker, topology, name="tasks").run()


def test_a_queue_of_a_system_that_does_not_fit_at_the_start_is_in_trouble_before_anything_is_published(
    broker: Broker, topology: Topology, channel: BlockingChannel, logged: list[str]
) -> None:
    channel.queue_declare("1c.queue", durable=True, arguments=ONLY_ONE_FITS)
    publisher = publisher_of(broker, topology, name="tasks")

    with running(publisher):
        assert publisher.wait_until_ready(SECONDS)
        trouble = publisher.watch.state("1c.queue").trouble
        outcomes = outcomes_of(publisher, [message("a", key="bitrix24.bitrix_x")])
        assert eventual(lambda: publisher.watch.state("default.queue").seen_at > 0)

    assert "'1c.queue' that differs" in trouble
    assert "x-max-length is the value '1' of type 'signedint', wanted is none" in trouble
    assert outcomes == [Outcome.CONFIRMED]
    assert len([line for line in logged if line.startswith("ERROR")]) == 1, logged


def test_a_queue_that_the_broker_refuses_to_make_is_tried_again_without_a_line_for_each_try(
    broker: Broker, logged: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch_module, "PERIOD_SECONDS", 0.5)
    crm = System("crm", 60_000, queue_arguments={"x-max-length": "many"})
    topology = Topology.of(Routing([crm], System("default", 60_000)), queue_type="classic", passive=False)
    publisher = publisher_of(broker, topology, name="tasks")

    with running(publisher):
        assert publisher.wait_until_ready(SECONDS)
        time.sleep(4.0)  # eight rounds
        assert "makes no queue 'crm.queue'" in publisher.watch.state("crm.queue").trouble

    assert len([line for line in logged if "crm.queue is declared again" in line]) <= 1, logged


def test_a_queue_of_a_system_that_is_missing_where_we_declare_nothing_is_its_own_trouble(
    broker: Broker, topology: Topology, channel: BlockingChannel, logged: list[str]
) -> None:
    topology.declare(broker.parameters("administrator"))
    channel.queue_delete("1c.queue")
    publisher = publisher_of(broker, replace(topology, passive=True), name="tasks")

    with running(publisher):
        assert publisher.wait_until_ready(SECONDS)
        assert "no queue '1c.queue'" in publisher.watch.state("1c.queue").trouble
        assert outcomes_of(publisher, [message("a", key="bitrix24.x")]) == [Outcome.CONFIRMED]
        assert eventual(lambda: publisher.watch.state("default.queue").seen_at > 0)
        channel.queue_declare("1c.queue", durable=True)
        publisher.watch.look_soon()
        assert eventual(lambda: publisher.watch.state("1c.queue").trouble == "")

    assert len([line for line in logged if line.startswith("ERROR")]) == 1, logged


class Churn:
    """A partner that deletes its queue again and again, and declares it anew every other time."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._over = threading.Event()
        self.rounds = 0
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        with pika.BlockingConnection(self._broker.parameters("partner")) as connection:
            channel = connection.channel()
            while not self._over.wait(0.02):
                channel.queue_delete("1c.queue")
                if self.rounds % 2:
                    channel.queue_declare("1c.queue", durable=True)
                self.rounds += 1


def test_no_task_of_a_known_system_is_in_the_default_queue_however_often_its_queue_is_deleted(
    broker: Broker, topology: Topology, channel: BlockingChannel
) -> None:
    publisher = publisher_of(broker, topology, name="tasks")
    fates: Counter[Outcome] = Counter()

    with running(publisher):
        assert publisher.wait_until_ready(SECONDS)
        with Churn(broker) as churn:
            while churn.rounds < 200:
                batch = [message(str(n), key=key) for n in range(10) for key in ("1c.1c_x", "bitrix24.x")]
                fates.update(outcomes_of(publisher, batch))
        assert eventual(lambda: outcomes_of(publisher, [message("last")]) == [Outcome.CONFIRMED])

    assert fates.keys() <= {Outcome.CONFIRMED, Outcome.RETURNED}
    assert fates[Outcome.RETURNED] > 0
    assert channel.queue_declare("default.queue", passive=True).method.message_count == 0


def test_a_message_that_comes_back_has_its_queue_bound_again_at_once(
    broker: Broker, topology: Topology, channel: BlockingChannel, logged: list[str]
) -> None:
    publisher = publisher_of(broker, topology, name="tasks")

    with running(publisher):
        assert publisher.wait_until_ready(SECONDS)
        assert eventual(lambda: publisher.watch.state("default.queue").fit_at > 0)
        channel.queue_delete("1c.queue")
        channel.queue_declare("1c.queue", durable=True)
        began = time.monotonic()
        assert outcomes_of(publisher, [message("a")]) == [Outcome.RETURNED]
        assert eventual(lambda: not publisher.watch.state("1c.queue").is_lost)
        assert outcomes_of(publisher, [message("a")]) == [Outcome.CONFIRMED]

    assert time.monotonic() - began < 2
    assert any("1c.queue was deleted or lost its binding" in line for line in logged)


def test_a_partner_that_bound_a_queue_of_its_own_goes_on_getting_every_task(
    broker: Broker, topology: Topology, channel: BlockingChannel
) -> None:
    topology.declare(broker.parameters("administrator"))
    channel.queue_declare("audit", durable=True)
    channel.queue_bind("audit", TASK_EXCHANGE, "#")
    publisher = publisher_of(broker, topology, name="tasks")

    with running(publisher):
        assert publisher.wait_until_ready(SECONDS)
        outcomes_of(publisher, [message("a"), message("b", key="bitrix24.x"), message("c", key="default.z")])
    taken = [channel.basic_get("audit", auto_ack=True) for _ in range(4)]

    seen = [(method.exchange, method.routing_key) for method, _, _ in taken if method]
    assert seen == [
        (TASK_EXCHANGE, "1c.1c_sync_data"),
        (TASK_EXCHANGE, "bitrix24.x"),
        (TASK_EXCHANGE, "default.z"),
    ]


def weak_login(sandbox: Sandbox, vhost: str, broker: Broker, **rights: str) -> Broker:
    """Returns a login with these rights; asked for again, it changes them."""
    sandbox.broker.api.add_user(f"weak-{vhost}", "secret-of-weak")
    sandbox.broker.api.set_permissions(f"weak-{vhost}", vhost, **rights)
    return replace(broker, username=f"weak-{vhost}", read_password=lambda: "secret-of-weak")


def test_without_the_right_to_write_it_is_not_ready_until_the_right_is_granted(
    sandbox: Sandbox, vhost: str, broker: Broker, topology: Topology, channel: BlockingChannel
) -> None:
    topology.declare(broker.parameters("administrator"))
    channel.queue_declare("audit", durable=True)
    channel.queue_bind("audit", TASK_EXCHANGE, "#")
    weak = weak_login(sandbox, vhost, broker, write=r"^(?!camunda\.external)")
    publisher = publisher_of(weak, topology, name="tasks")

    with running(publisher):
        assert eventual(lambda: "lacks the write permission" in publisher.trouble)
        assert not publisher.wait_until_ready(2)
        assert "exchange 'camunda.external.tasks'" in publisher.trouble
        assert not publisher.connected
        weak_login(sandbox, vhost, broker)
        assert publisher.wait_until_ready(SECONDS)
        assert publisher.trouble == ""
        assert outcomes_of(publisher, [message("a")]) == [Outcome.CONFIRMED]

    assert channel.queue_declare("audit", passive=True).method.message_count == 1


def test_a_place_that_is_refused_is_certainly_not_delivered_and_asked_for_until_it_is_granted(
    sandbox: Sandbox, vhost: str, broker: Broker, topology: Topology
) -> None:
    topology.declare(broker.parameters("administrator"))
    weak = weak_login(sandbox, vhost, broker, write=r"^(?!amq\.default)")
    publisher = publisher_of(weak, topology, name="detours", place=COPIES_PLACE)

    with running(publisher):
        assert publisher.wait_until_ready(SECONDS)
        fine, denied, after = (
            message("a"),
            message("b", exchange="", key="camunda.responses.retry.5s"),
            message("c"),
        )
        outcomes = outcomes_of(publisher, [fine, denied, after])
        assert eventual(lambda: "'amq.default'" in publisher.trouble)
        assert not publisher.ready
        weak_login(sandbox, vhost, broker)
        assert publisher.wait_until_ready(SECONDS)

    assert outcomes[1:] == [Outcome.DENIED, Outcome.UNSENT]
    assert outcomes[0] in (Outcome.CONFIRMED, Outcome.UNKNOWN)


def test_one_topic_that_is_refused_stops_no_other(
    sandbox: Sandbox, vhost: str, broker: Broker, topology: Topology
) -> None:
    topology.declare(broker.parameters("administrator"))
    weak = weak_login(sandbox, vhost, broker)
    limits = {"exchange": TASK_EXCHANGE, "write": r"^(?!1c\.)", "read": ".*"}
    sandbox.broker.api.request("PUT", f"/topic-permissions/{vhost}/{weak.username}", limits)
    publisher = publisher_of(weak, topology, name="tasks")

    with running(publisher):
        assert publisher.wait_until_ready(SECONDS)
        first = outcomes_of(publisher, [message("a", key="1c.x"), message("b", key="bitrix24.x")])
        assert eventual(lambda: outcomes_of(publisher, [message("b", key="bitrix24.x")]) == [Outcome.CONFIRMED])

    assert first == [Outcome.DENIED, Outcome.UNSENT]


@pytest.fixture
def small_messages(sandbox: Sandbox) -> Iterator[int]:
    """A broker that takes no large message."""
    most = 100_000
    usual = sandbox.broker.ctl("eval", "{ok, Most} = application:get_env(rabbit, max_message_size), Most.").strip()
    sandbox.broker.ctl("eval", f"application:set_env(rabbit, max_message_size, {most}).")
    yield most
    sandbox.broker.ctl("eval", f"application:set_env(rabbit, max_message_size, {usual}).")


def test_a_message_that_is_too_large_for_the_broker_is_told_apart_and_stops_no_other(
    broker: Broker, topology: Topology, small_messages: int
) -> None:
    publisher = publisher_of(broker, topology, name="tasks")
    large = replace(message("b"), body=b"x" * (small_messages + 1))

    with running(publisher):
        assert publisher.wait_until_ready(SECONDS)
        outcomes = outcomes_of(publisher, [message("a"), large, message("c")])
        assert eventual(lambda: outcomes_of(publisher, [message("c")]) == [Outcome.CONFIRMED])

    assert outcomes[1:] == [Outcome.TOO_LARGE, Outcome.UNSENT]
    assert publisher.most_bytes == small_messages


def test_an_idle_publisher_needs_no_right_that_it_does_not_use(
    sandbox: Sandbox, vhost: str, broker: Broker, topology: Topology, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publisher_module, "IDLE_SECONDS", 0.1)
    topology.declare(broker.parameters("administrator"))
    weak = weak_login(sandbox, vhost, broker, write=r"^(?!amq\.default)")
    publisher = publisher_of(weak, topology, name="tasks")

    with running(publisher):
        assert publisher.wait_until_ready(SECONDS)
        began = publisher._last_progress
        assert eventual(lambda: publisher._last_progress > began + 1)
        assert publisher.trouble == ""


def test_the_pauses_grow_while_nothing_works_although_the_channel_opens(
    sandbox: Sandbox, vhost: str, broker: Broker, topology: Topology, logged: list[str]
) -> None:
    topology.declare(broker.parameters("administrator"))
    weak = weak_login(sandbox, vhost, broker, write=r"^(?!camunda\.external)")
    publisher = publisher_of(weak, topology, name="tasks")

    with running(publisher):
        assert eventual(lambda: len([line for line in logged if "next attempt" in line]) >= 4)
        attempts = [line for line in logged if "next attempt" in line]

    pauses = [float(line.rpartition(" in ")[2].split()[0]) for line in attempts[:4]]
    assert pauses[2] >= 1.0
    assert pauses[3] >= 2.0


class CountedTopology(NothingThere):
    """A topology that fits the first time only, and counts the attempts."""

    def __init__(self) -> None:
        self.attempts = 0

    def declare_over(self, connection: DeadlineConnection) -> None:
        connection.close()
        self.attempts += 1
        if self.attempts > 1:
            raise SettingsError("RabbitMQ has a queue '1c.queue' that is not as wanted")


def test_a_topology_that_does_not_fit_any_more_is_tried_with_pauses(
    sandbox: Sandbox, vhost: str, broker: Broker
) -> None:
    topology = CountedTopology()
    publisher = publisher_of(broker, topology, name="tasks")  # type: ignore[arg-type]  # a double of a frozen class

    with running(publisher):
        assert publisher.wait_until_ready(SECONDS)
        close_connections(sandbox, vhost)
        assert eventual(lambda: topology.attempts >= 3)  # the pauses: 0.25 s and more, then 0.5 s and more
        attempts = topology.attempts

    assert attempts == 3


def test_a_message_that_is_too_large_for_the_broker_does_not_hold_up_the_others(
    broker: Broker, topology: Topology
) -> None:
    publisher = publisher_of(broker, topology, name="tasks")
    large = Publication(TASK_EXCHANGE, "1c.x", b"{}", {"x": "y" * 200_000}, {"message_id": "large"})

    with running(publisher):
        assert publisher.wait_until_ready(SECONDS)
        first = outcomes_of(publisher, [large])
        assert publisher.wait_until_ready(SECONDS)
        second = outcomes_of(publisher, [message("a")])

    assert first != [Outcome.CONFIRMED]
    assert second == [Outcome.CONFIRMED]
