"""Loops that turn, and loops that are stuck."""

import threading
from unittest.mock import Mock

import pytest

from bridge import heartbeats
from bridge.broker import Broker, QueueWatch, Topology
from bridge.broker.connection import BrokerConnection, ChannelUser
from bridge.engine import Http, Login
from bridge.errors import Unavailable
from bridge.intake.outbox import UNCONFIRMED_BATCHES
from bridge.observe.alarms import Alarms
from bridge.observe.status.health import stuck_loops
from bridge.routing import Routing, System
from tests.unit.conftest import Clock
from tests.unit.fakes import external_task, task_row
from tests.unit.test_camunda_worker import Bench
from tests.unit.test_leases import BITRIX, FakeWatch, House


@pytest.fixture(autouse=True)
def time(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Clock:
    return clock


def beat(loop: str, **options: float) -> None:
    thread = threading.Thread(target=heartbeats.beat, kwargs=options, name=loop)
    thread.start()
    thread.join()


def test_a_loop_that_turned_within_its_time_is_not_stuck(time: Clock) -> None:
    beat("turning")

    time.advance(45)

    assert stuck_loops(["turning"], begun=0.0) == []


def test_a_loop_that_stands_still_is_named_with_how_long_it_is_overdue(time: Clock) -> None:
    beat("standing")
    beat("turning")

    time.advance(40)
    beat("turning")
    time.advance(15)

    assert stuck_loops(["standing", "turning"], begun=0.0) == ["standing has not turned: 10 s overdue"]


def test_a_loop_that_never_began_is_given_the_same_time(time: Clock) -> None:
    begun = time.now()
    time.advance(45)
    assert stuck_loops(["never"], begun) == []

    time.advance(1)

    assert stuck_loops(["never"], begun) == ["never has not turned: 1 s overdue"]


def test_a_loop_may_ask_for_more_time_once(time: Clock) -> None:
    beat("patient", within=100)
    time.advance(99)
    assert stuck_loops(["patient"], begun=0.0) == []

    beat("patient")
    time.advance(50)

    assert stuck_loops(["patient"], begun=0.0) == ["patient has not turned: 5 s overdue"]


@pytest.fixture
def beats(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the threads that said that they turn, one for each time."""
    heard: list[str] = []
    monkeypatch.setattr(heartbeats, "beat", lambda **_: heard.append(threading.current_thread().name))
    return heard


def test_a_worker_that_waits_for_the_broker_to_confirm_still_turns(beats: list[str]) -> None:
    bench = Bench()
    for _ in range(UNCONFIRMED_BATCHES):
        bench.outbox._window.acquire()
    bench.offer(task_row())
    release = threading.Timer(1.2, bench.outbox._window.release)
    release.start()

    bench.worker.turn()

    assert len(bench.publisher.batches) == 1
    assert beats == ["MainThread"]


def test_a_worker_turns_with_each_attempt(beats: list[str]) -> None:
    bench = Bench()
    bench.admission.wait_for_broker = lambda _: bench.stopping.set() or False  # type: ignore[method-assign, assignment, func-returns-value]

    bench.worker.run()

    assert beats == ["MainThread"]


def test_many_extensions_are_many_turns(beats: list[str]) -> None:
    house = House()
    for number in range(5):
        house.engine.tasks[f"t{number}"] = task_row(f"t{number}")
        house.table.add(external_task(f"t{number}"), BITRIX, 0.0)
    house.table.published(f"t{number}" for number in range(5))

    house.keeper.tick()

    assert beats == ["MainThread"] * 5


class TwoTurns(threading.Event):
    """Lets a loop turn twice at once, then stops it."""

    left = 2

    def wait(self, timeout: float | None = None) -> bool:
        self.left -= 1
        return self.left < 0


def test_the_loop_of_the_leases_turns(beats: list[str]) -> None:
    house = House()
    house.keeper._stopping = TwoTurns()

    house.keeper.run()

    assert beats == ["MainThread"] * 2


def test_the_loop_of_the_alarms_turns(beats: list[str]) -> None:
    watch = FakeWatch()

    Alarms(watch, [], 10_000, TwoTurns()).run()

    assert beats == ["MainThread"] * 2


@pytest.fixture
def connection() -> BrokerConnection:
    broker = Broker("127.0.0.1", 9, "/", "user", str)
    topology = Topology.of(Routing([], System("1c", 60_000)), queue_type="classic", passive=False)
    return BrokerConnection(broker, topology, Mock(spec=ChannelUser), QueueWatch([]), name="us tasks")


def test_a_connection_turns_while_it_is_open(connection: BrokerConnection, beats: list[str]) -> None:
    connection._connection = Mock(is_open=True)

    connection._tick()

    assert beats == ["MainThread"]


def test_a_connection_turns_with_each_attempt_and_each_pause(
    connection: BrokerConnection, beats: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pause = TwoTurns()
    monkeypatch.setattr(pause, "is_set", lambda: pause.left <= 0)
    connection._stopping = pause

    connection.run()

    assert "Connection refused" in connection.trouble
    assert beats == ["MainThread"] * 4


def test_each_call_to_the_engine_is_a_turn(beats: list[str]) -> None:
    http = Http("http://127.0.0.1:9", Login(None))

    for _ in range(2):
        with pytest.raises(Unavailable):
            http.send("GET", "/version", timeout_seconds=1)

    assert beats == ["MainThread"] * 2


def test_a_connection_that_is_being_opened_is_given_the_time_that_heartbeats_need(
    connection: BrokerConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[float] = []
    monkeypatch.setattr(heartbeats, "beat", lambda *, within: given.append(within))
    monkeypatch.setattr(connection, "_declare_topology", lambda: given.append(0))
    monkeypatch.setattr(connection, "_loop_until_lost", lambda: connection._stopping.set())

    connection.run()

    assert given == [45 + 2 * 30, 0, 45 + 2 * 30]
