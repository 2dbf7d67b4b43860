"""Tasks whose answer is with us, or met a fetch on its way: they are not handed out again."""

import json
import time
from datetime import timedelta

import pytest

from bridge.contract import NamedTask
from bridge.engine import Reply
from bridge.routing import System
from tests.unit.fakes import NOW, external_task, task_row
from tests.unit.test_leases import House, never

BITRIX = System("bitrix24", 600_000)


@pytest.fixture
def house() -> House:
    return House()


def offered(house: House, *, retries: int | None = None) -> bool:
    """Whether the task may be published that the engine gives out now."""
    return house.table.add(external_task(retries=retries), BITRIX, time.monotonic())


@pytest.mark.parametrize(
    ("kind", "attempt", "retries", "is_held"),
    [
        ("complete", None, None, True),
        ("complete", None, 2, True),
        ("complete", "first", None, True),
        ("bpmn_error", "2", 2, True),
        ("complete", "first", 2, False),
        ("failure", "2", 2, True),
        ("failure", None, 2, False),  # it may be why the task is offered
        ("extend_lock", None, None, False),
        (None, None, None, False),
    ],
)
def test_a_task_that_we_know_nothing_of_is_held_while_its_answer_waits(
    house: House, kind: str | None, attempt: str | None, retries: int | None, is_held: bool
) -> None:
    house.table.answer_waits(NamedTask("t1", attempt, kind), 60.0)

    assert offered(house, retries=retries) is not is_held
    assert house.table.in_flight(BITRIX) == 1


def test_an_answer_that_is_parked_holds_its_task(house: House) -> None:
    with house.table.answering(NamedTask("t1", "first", "complete"), never):
        pass  # the engine was away

    assert not offered(house)


def test_an_answer_of_no_use_holds_nothing(house: House) -> None:
    house.table.answer_waits(NamedTask("t1", "first", "failure"), 60.0)
    house.table.answer_is_gone("t1")

    assert offered(house)


def test_a_held_task_is_locked_for_as_long_as_its_answer_may_need_and_no_longer(house: House) -> None:
    house.table.answer_waits(NamedTask("t1", None, "complete"), 300.0)
    house.engine.tasks["t1"] |= {"lockExpirationTime": (NOW + timedelta(seconds=60)).isoformat()}
    offered(house)

    house.keeper.tick()

    assert 59_000 < house.engine.body_of("extendLock")["newDuration"] <= 60_000


def test_a_task_that_was_answered_while_its_fetch_was_under_way_is_not_published(house: House) -> None:
    sent = time.monotonic()
    house.table.done("t1", answered=True)

    assert not house.table.add(external_task(), BITRIX, sent)
    assert house.table.in_flight(BITRIX) == 0


def test_a_task_that_failed_under_just_the_lock_that_a_fetch_brings_late_is_not_published(house: House) -> None:
    task = external_task()
    house.table.pauses.note("t1", 5_000, task.lock_expires_at)

    assert not house.table.add(task, BITRIX, time.monotonic())
    assert offered_later(house)


def offered_later(house: House) -> bool:
    return house.table.add(external_task(lock_ends_in=61), BITRIX, time.monotonic())


def test_an_extension_that_met_the_fetch_makes_no_new_attempt_of_it(house: House) -> None:
    house.publish()
    sent = time.monotonic()
    house.table.extended("t1", 600_000)

    assert not house.table.add(external_task(lock_ends_in=120), BITRIX, sent)


def test_an_extension_never_makes_a_lock_shorter(house: House) -> None:
    lease = house.publish()
    lease.full_lock_ends = time.monotonic() - 1  # its promise is over, its lock was fetched anew

    house.keeper.tick()

    assert house.engine.body_of("extendLock")["newDuration"] > 59_000


def test_a_task_that_was_let_go_is_held_while_its_answer_is_in_hand(house: House) -> None:
    lease = house.publish()
    house.table.drop(lease)
    house.in_hand.add(NamedTask("t1", "first", "failure"))

    assert offered(house, retries=2)
    house.table.drop(house.table.all()[0])
    assert not offered(house)


def test_an_extension_keeps_out_its_own_answer_and_not_those_of_the_same_instance(house: House) -> None:
    lease = house.publish()
    house.table.add(external_task("t2"), BITRIX, time.monotonic())  # of the same instance

    with (
        house.table.answering(NamedTask("t2"), never) as other,
        house.table.extending(lease) as alone,
        house.table.extending(lease, beside_others=True) as beside,
        house.table.answering(NamedTask("t1"), lambda: None) as own,
    ):
        assert (other, alone, beside, own) == (True, False, True, False)


def test_a_renewed_lock_ends_once_the_first_message_has_expired_unread(house: House) -> None:
    lease = house.publish()
    house.keeper.tick()
    lease.full_lock_ends = lease.message_ends = time.monotonic() - 1
    lease.lock_ends, lease.extended = time.monotonic() + 500, True
    house.table.plan(lease, 0.0)
    house.engine.calls.clear()

    house.keeper.tick()

    assert house.engine.body_of("extendLock")["newDuration"] == 1_000
    assert house.table.all() == []


def test_counting_ends_though_a_page_holds_only_what_was_seen_before(house: House) -> None:
    page, end = Reply(200, json.dumps([task_row("t1"), task_row("t2")]).encode()), Reply(200, b"[]")
    house.engine.replies["external-task"] = [page, end]
    house.keeper.rebuild_once()
    house.engine.replies["external-task"] = [page, page, end]

    house.keeper.reconcile()

    assert {lease.task_id for lease in house.table.all()} == {"t1", "t2"}
    assert [path for path in house.engine.paths if "firstResult" in path] == [
        f"/external-task?firstResult={first}&maxResults=1000" for first in (0, 1000, 0, 1000, 2000)
    ]
