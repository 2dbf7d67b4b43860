"""The gate before the fetch: nothing is locked that could not be delivered."""

import time
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from config import RoutingConfig
from delivery_gate import DeliveryGate, Limits
from leases import LeaseKeeper, LeaseRules, LeaseTable
from messages import RESPONSE_QUEUE
from rabbitmq_client import Publisher, QueueState
from tests.unit.conftest import Clock
from tests.unit.fakes import external_task

ROUTING = RoutingConfig.built_in(600_000)
BITRIX = ROUTING.system_of("bitrix_create_task")
ONE_C = ROUTING.system_of("1c_sync_data")


@dataclass
class Watch:
    states: dict[str, QueueState] = field(default_factory=dict)
    hurried: int = 0

    def state(self, queue: str) -> QueueState:
        return self.states.get(queue, QueueState(seen_at=1.0))

    def hurry(self) -> None:
        self.hurried += 1


@dataclass
class Side:
    watch: Watch = field(default_factory=Watch)
    ready: bool = True
    answers_in_hand: int = 0
    has_all_answers: bool = False
    reconciled: list[str] = field(default_factory=list)

    def reconcile(self, system: Any) -> None:
        self.reconciled.append(system.name)

    def gate(self, table: LeaseTable) -> DeliveryGate:
        limits = Limits(queue_high_water=100, max_in_flight=2, waiting_answers=50)
        return DeliveryGate(
            cast(Publisher, self),
            table,
            cast(LeaseKeeper, self),
            ROUTING,
            limits,
            answers_in_hand=lambda: self.answers_in_hand,
            has_all_answers=lambda: self.has_all_answers,
        )


@pytest.fixture
def side() -> Side:
    return Side()


@pytest.fixture
def table() -> LeaseTable:
    return LeaseTable(LeaseRules(lease_ms=60_000, extend_after_seconds=1.5, retries=3, retry_timeout_ms=30_000))


def test_nothing_is_fetched_while_the_publisher_is_not_ready(side: Side, table: LeaseTable) -> None:
    side.ready = False

    assert not side.gate(table).may_fetch()


@pytest.mark.parametrize(
    ("in_hand", "in_queue", "may"), [(0, 0, True), (49, 0, True), (50, 0, False), (0, 50, False)]
)
def test_answers_go_before_new_work(side: Side, table: LeaseTable, in_hand: int, in_queue: int, may: bool) -> None:
    side.answers_in_hand = in_hand
    side.watch.states[RESPONSE_QUEUE] = QueueState(ready=in_queue)

    assert side.gate(table).may_fetch() is may


def test_an_old_look_at_the_answers_stops_nothing_once_all_of_them_are_in_hand(
    side: Side, table: LeaseTable
) -> None:
    side.watch.states[RESPONSE_QUEUE] = QueueState(ready=1000)
    side.answers_in_hand = 49

    side.has_all_answers = True

    assert side.gate(table).may_fetch()


def test_after_an_outage_of_the_engine_the_answers_that_wait_go_first(side: Side, table: LeaseTable) -> None:
    gate = side.gate(table)
    gate.note_outage()

    assert not gate.may_fetch()
    side.watch.states[RESPONSE_QUEUE] = QueueState(seen_empty_at=time.monotonic())
    assert gate.may_fetch()


def test_answers_in_hand_after_an_outage_call_for_another_look_at_their_queue(
    side: Side, table: LeaseTable
) -> None:
    gate = side.gate(table)
    gate.note_outage()
    side.watch.states[RESPONSE_QUEUE] = QueueState(seen_empty_at=time.monotonic())
    side.answers_in_hand = 1

    assert not gate.may_fetch()
    side.answers_in_hand = 0
    assert not gate.may_fetch()
    side.watch.states[RESPONSE_QUEUE] = QueueState(seen_empty_at=time.monotonic())
    assert gate.may_fetch()


def test_answers_that_nobody_applies_stop_new_work_for_a_minute_at_most(
    side: Side, table: LeaseTable, clock: Clock
) -> None:
    gate = side.gate(table)
    gate.note_outage()

    clock.advance(61)

    assert gate.may_fetch()


def test_a_full_queue_pauses_its_system_and_no_other(side: Side, table: LeaseTable) -> None:
    side.watch.states[BITRIX.queue] = QueueState(ready=100, seen_at=1.0)
    gate = side.gate(table)

    assert not gate.is_open(BITRIX)
    assert gate.is_open(ONE_C)


def test_what_was_published_since_the_last_look_counts(side: Side, table: LeaseTable) -> None:
    side.watch.states[BITRIX.queue] = QueueState(ready=60, seen_at=1.0)
    gate = side.gate(table)
    assert gate.is_open(BITRIX)

    gate.note_published(BITRIX, 40)
    assert not gate.is_open(BITRIX)
    assert side.watch.hurried == 1

    side.watch.states[BITRIX.queue] = QueueState(ready=5, seen_at=2.0)
    assert gate.is_open(BITRIX)


def test_a_missing_queue_pauses_its_system(side: Side, table: LeaseTable) -> None:
    side.watch.states[BITRIX.queue] = QueueState(trouble="it is missing")

    assert not side.gate(table).is_open(BITRIX)


def test_a_queue_that_was_lost_pauses_its_system_until_it_is_seen_as_it_should_be(
    side: Side, table: LeaseTable
) -> None:
    gate = side.gate(table)
    side.watch.states[BITRIX.queue] = QueueState(fit_at=1.0, lost_at=2.0)

    assert not gate.is_open(BITRIX)
    assert not gate.is_mended(BITRIX)
    assert gate.is_open(ONE_C)
    side.watch.states[BITRIX.queue] = QueueState(fit_at=3.0, lost_at=2.0)
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
    assert side.reconciled == ["bitrix24"]
    assert gate.room() == 2
