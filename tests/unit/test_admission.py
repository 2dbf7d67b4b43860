"""The admission before the fetch: nothing is locked that could not be delivered."""

from dataclasses import dataclass, field, replace
from typing import cast

import pytest

from bridge import clock as clock_module
from bridge.broker import Inbox, Publisher, QueueState
from bridge.contract import RESPONSE_QUEUE
from bridge.intake.admission import CATCHING_UP_SECONDS, STANDSTILL_SECONDS, Admission, Limits
from bridge.leases import LeaseKeeper, LeaseRules, LeaseTable
from config import RoutingConfig
from tests.unit.conftest import Clock
from tests.unit.fakes import external_task

ROUTING = RoutingConfig.built_in(600_000)
BITRIX = ROUTING.systems_of("bitrix_create_task")[0]
ONE_C = ROUTING.systems_of("1c_sync_data")[0]


@dataclass
class Watch:
    states: dict[str, QueueState] = field(default_factory=dict)
    hurried: int = 0

    def state(self, queue: str) -> QueueState:
        return self.states.get(queue, QueueState(queue, seen_at=1.0))

    def look_soon(self) -> None:
        self.hurried += 1


@dataclass
class Side:
    watch: Watch = field(default_factory=Watch)
    ready: bool = True
    in_hand: int = 0
    has_all: bool = False
    subscribed: bool = True
    is_read: bool = True
    prefetch: int = 1
    done: int = 0
    reconciled: int = 0

    def rebuild_once(self) -> None:
        """Nothing was locked before."""

    def reconcile(self) -> None:
        self.reconciled += 1

    def gate(self, table: LeaseTable) -> Admission:
        """A gate after its start: no answer waited then."""
        before = self.watch.states.get(RESPONSE_QUEUE, QueueState(RESPONSE_QUEUE, seen_at=1.0))
        gate = self.new_gate(table)
        later = clock_module.now() + 1
        self.watch.states[RESPONSE_QUEUE] = QueueState(
            RESPONSE_QUEUE, seen_at=later - 0.5, seen_empty_at=later - 0.5
        )
        in_hand, self.in_hand = self.in_hand, 0
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(clock_module, "now", lambda: later)
            gate.may_fetch()
        self.in_hand, self.watch.states[RESPONSE_QUEUE] = in_hand, before
        self.watch.hurried = 0
        return gate

    def new_gate(self, table: LeaseTable) -> Admission:
        limits = Limits(queue_high_water=100, max_in_flight=2, waiting_answers=50)
        return Admission(
            cast(Publisher, self),
            table,
            cast(LeaseKeeper, self),
            cast(Inbox, self),
            limits,
        )


@pytest.fixture
def side() -> Side:
    return Side()


@pytest.fixture
def table() -> LeaseTable:
    return LeaseTable(LeaseRules(lease_ms=60_000, extend_after_seconds=1.5))


def test_nothing_is_fetched_while_the_publisher_is_not_ready(side: Side, table: LeaseTable) -> None:
    side.ready = False

    assert not side.gate(table).may_fetch()


@pytest.mark.parametrize(
    ("in_hand", "in_queue", "may"), [(0, 0, True), (49, 0, True), (50, 0, False), (0, 50, False)]
)
def test_answers_go_before_new_work(side: Side, table: LeaseTable, in_hand: int, in_queue: int, may: bool) -> None:
    side.in_hand = in_hand
    side.watch.states[RESPONSE_QUEUE] = QueueState(RESPONSE_QUEUE, ready=in_queue)

    assert side.gate(table).may_fetch() is may


def test_an_old_look_at_the_answers_stops_nothing_once_all_of_them_are_in_hand(
    side: Side, table: LeaseTable
) -> None:
    side.watch.states[RESPONSE_QUEUE] = QueueState(RESPONSE_QUEUE, ready=1000)
    side.in_hand = 49

    side.has_all = True

    assert side.gate(table).may_fetch()


def test_after_an_outage_of_the_engine_the_answers_that_wait_go_first(
    side: Side, table: LeaseTable, clock: Clock
) -> None:
    gate = side.gate(table)
    gate.note_outage()

    assert not gate.may_fetch()
    clock.advance(1)
    side.watch.states[RESPONSE_QUEUE] = seen()
    assert not gate.may_fetch()  # what was delivered just before is on its way
    clock.advance(0.3)
    assert gate.may_fetch()


def seen(*, ready: int = 0) -> QueueState:
    """The response queue as it is seen now."""
    now = clock_module.now()
    return QueueState(RESPONSE_QUEUE, ready=ready, consumers=1, seen_at=now, seen_empty_at=-1.0 if ready else now)


def test_what_waited_after_an_outage_is_applied_first_and_what_came_since_does_not_count(
    side: Side, table: LeaseTable, clock: Clock
) -> None:
    gate = side.gate(table)
    gate.note_outage()
    clock.advance(1)
    side.watch.states[RESPONSE_QUEUE], side.in_hand = seen(ready=3), 1
    clock.advance(0.3)

    assert not gate.may_fetch()
    side.done = 3
    assert not gate.may_fetch()
    side.done = 4
    assert gate.may_fetch()


def test_what_is_on_its_way_to_us_after_an_outage_is_applied_first_too(
    side: Side, table: LeaseTable, clock: Clock
) -> None:
    gate = side.gate(table)
    gate.note_outage()
    clock.advance(1)
    side.watch.states[RESPONSE_QUEUE], side.prefetch = seen(ready=3), 5
    clock.advance(0.3)
    gate.may_fetch()

    side.in_hand, side.done = 5, 3
    may_at_first = gate.may_fetch()
    side.in_hand, side.done = 0, 8

    assert not may_at_first
    assert gate.may_fetch()


def test_after_an_outage_with_no_answer_ready_those_in_hand_are_all_that_waited(
    side: Side, table: LeaseTable, clock: Clock
) -> None:
    gate = side.gate(table)
    gate.note_outage()
    clock.advance(1)
    side.watch.states[RESPONSE_QUEUE], side.prefetch = replace(seen(), seen_empty_at=0.0), 100
    at_once = gate.may_fetch()
    clock.advance(0.3)
    side.in_hand = 2  # they were on their way
    before = gate.may_fetch()
    side.done, side.in_hand = 2, 5

    assert (at_once, before) == (False, False)
    assert gate.may_fetch()


def test_nothing_is_fetched_before_the_response_queue_was_seen_at_the_start(
    side: Side, table: LeaseTable, clock: Clock
) -> None:
    gate = side.new_gate(table)

    assert not gate.may_fetch()
    clock.advance(1)
    side.watch.states[RESPONSE_QUEUE] = seen()
    clock.advance(0.3)
    assert gate.may_fetch()


def test_nothing_is_fetched_after_an_outage_before_the_answers_are_read_again(
    side: Side, table: LeaseTable, clock: Clock
) -> None:
    gate = side.gate(table)
    gate.note_outage()
    clock.advance(1)
    side.watch.states[RESPONSE_QUEUE], side.subscribed = seen(), False
    clock.advance(0.3)

    assert not gate.may_fetch()
    side.subscribed = True
    clock.advance(1)
    side.watch.states[RESPONSE_QUEUE] = seen()
    clock.advance(0.3)
    assert gate.may_fetch()


def test_answers_that_nobody_applies_stop_new_work_for_seconds_and_those_that_go_on_for_longer(
    side: Side, table: LeaseTable, clock: Clock
) -> None:
    gate = side.gate(table)
    gate.note_outage()
    for ready in (40, 30, 20):
        clock.advance(CATCHING_UP_SECONDS - 1)
        side.watch.states[RESPONSE_QUEUE] = seen(ready=ready)
        assert not gate.may_fetch()

    clock.advance(CATCHING_UP_SECONDS)

    assert gate.may_fetch()


def test_answers_that_the_engine_is_called_for_may_take_it_longer(
    side: Side, table: LeaseTable, clock: Clock
) -> None:
    gate = side.gate(table)
    gate.note_outage()
    side.in_hand = 8
    clock.advance(CATCHING_UP_SECONDS - 1)
    side.watch.states[RESPONSE_QUEUE] = seen(ready=30)
    gate.may_fetch()

    clock.advance(CATCHING_UP_SECONDS + 1)
    assert not gate.may_fetch()
    clock.advance(STANDSTILL_SECONDS - CATCHING_UP_SECONDS)
    assert gate.may_fetch()


def test_a_full_queue_pauses_its_system_and_no_other(side: Side, table: LeaseTable) -> None:
    side.watch.states[BITRIX.queue] = QueueState(BITRIX.queue, ready=100, seen_at=1.0)
    gate = side.gate(table)

    assert not gate.is_open(BITRIX)
    assert gate.is_open(ONE_C)


def test_what_was_published_since_the_last_look_counts(side: Side, table: LeaseTable) -> None:
    side.watch.states[BITRIX.queue] = QueueState(BITRIX.queue, ready=60, seen_at=1.0)
    gate = side.gate(table)
    assert gate.is_open(BITRIX)

    gate.note_published(BITRIX, 40)
    assert not gate.is_open(BITRIX)
    assert "messages in bitrix24.queue: 100, " in gate.paused()["bitrix24"]
    assert side.watch.hurried == 1

    side.watch.states[BITRIX.queue] = QueueState(BITRIX.queue, ready=5, seen_at=2.0)
    assert gate.is_open(BITRIX)


def test_a_missing_queue_pauses_its_system(side: Side, table: LeaseTable) -> None:
    side.watch.states[BITRIX.queue] = QueueState(BITRIX.queue, trouble="it is missing")

    assert not side.gate(table).is_open(BITRIX)


def test_a_queue_that_was_lost_pauses_its_system_until_it_is_seen_as_it_should_be(
    side: Side, table: LeaseTable
) -> None:
    gate = side.gate(table)
    side.watch.states[BITRIX.queue] = QueueState(BITRIX.queue, fit_at=1.0, lost_at=2.0)

    assert not gate.is_open(BITRIX)
    assert not gate.is_mended(BITRIX)
    assert gate.is_open(ONE_C)
    side.watch.states[BITRIX.queue] = QueueState(BITRIX.queue, fit_at=3.0, lost_at=2.0)
    assert gate.is_open(BITRIX)
    assert gate.is_mended(BITRIX)


def test_a_queue_that_refused_a_message_is_left_alone_for_a_while(side: Side, table: LeaseTable) -> None:
    gate = side.gate(table)

    gate.pause(BITRIX, 30.0)

    assert not gate.is_open(BITRIX)
    assert gate.is_open(ONE_C)


def test_a_system_with_too_much_in_flight_is_counted_anew_and_paused(side: Side, table: LeaseTable) -> None:
    gate = side.gate(table)
    for task_id in ("t1", "t2"):
        table.add(external_task(task_id), BITRIX, 0.0)

    assert not gate.is_open(BITRIX)
    assert side.reconciled == 1
    assert gate.room([ONE_C]) == 2
