"""Leases: extended only when unchanged, published once, silence reported."""

import json
import threading
import time
from datetime import datetime, timedelta
from typing import Any

import pytest

from bridge import clock
from bridge.broker import QueueState, QueueWatch
from bridge.contract import RESPONSE_QUEUE, NamedTask
from bridge.engine import Reply
from bridge.leases import STALE_SECONDS, Lease, LeaseKeeper, LeaseRules, LeaseTable
from bridge.leases.extension import Extension
from bridge.leases.silence import Silence
from bridge.routing import Routing, System
from tests.unit import fakes
from tests.unit.conftest import value
from tests.unit.fakes import FakeEngine, external_task, task_row

BITRIX = System("bitrix24", 600_000)
QUICK = System("quick", 60_000)


class FakeWatch(QueueWatch):
    """Queues that were seen as the test says."""

    def __init__(self) -> None:
        super().__init__([], may_declare=False)
        self.states: dict[str, QueueState] = {}

    def state(self, queue: str) -> QueueState:
        return self.states.get(queue, QueueState(queue))


class House:
    """A table and its keeper around an engine that offers one task."""

    def __init__(self) -> None:
        rules = LeaseRules(lease_ms=60_000, extend_after_seconds=0.0)
        self.engine = FakeEngine()
        self.watch = FakeWatch()
        self.in_hand: set[NamedTask] = set()
        self.table = LeaseTable(rules, lambda task_id: [one for one in self.in_hand if one.task_id == task_id])
        camunda = self.engine.client()
        self.keeper = LeaseKeeper(
            camunda,
            self.table,
            Extension(camunda, self.table),
            Silence(camunda, self.table, self.watch, rules),
            Routing([], BITRIX),
            threading.Event(),
        )

    def publish(self, system: System = BITRIX, *, fetched_ago: float = 0.0) -> Lease:
        assert self.table.add(external_task(), system, time.monotonic() - fetched_ago)
        self.table.published(["t1"])
        return self.table.all()[0]

    def extended(self, **row: Any) -> Lease:
        """Return the lease of a task whose full lock is about to end."""
        lease = self.publish()
        self.keeper.tick()
        self.keeper.tick()  # the look after the extension
        lease.full_lock_ends = time.monotonic() + 1
        lease.move_end(lease.full_lock_ends)
        lease.published_at = time.monotonic() - 599
        lease.message_ends = time.monotonic() - 9
        end = lease.lock_expires_at
        self.engine.tasks["t1"] = task_row(**row) | {"lockExpirationTime": end.isoformat()}
        self.engine.calls.clear()
        self.table.plan(lease, 0.0)
        return lease

    def has_a_silent_task(self) -> None:
        """Let a task be due whose system took it, while all answers are read."""
        lease = self.extended()
        self.was_taken()
        self.keeper.tick()
        self.answers_were_read()
        self.table.plan(lease, 0.0)

    def was_taken(self) -> None:
        self.table.all()[0].is_taken = True

    def answers_were_read(self) -> None:
        self.watch.states[RESPONSE_QUEUE] = QueueState(
            RESPONSE_QUEUE, consumers=1, seen_empty_at=time.monotonic() + 1
        )


def never() -> None:
    raise AssertionError("nobody waits")


@pytest.fixture
def house() -> House:
    return House()


def test_a_message_that_its_system_gave_back_is_not_taken(house: House) -> None:
    lease = house.publish()
    drained = time.monotonic()
    house.watch.states[BITRIX.queue] = QueueState(BITRIX.queue, consumers=1, drained_at=drained + 0.01)
    house.table.plan(lease, 0.0)
    house.keeper.tick()
    was_taken = lease.is_taken

    house.watch.states[BITRIX.queue] = QueueState(
        BITRIX.queue, ready=1, drained_at=drained + 0.01, unheard_at=drained + 0.02
    )
    house.table.plan(lease, 0.0)
    house.keeper.tick()

    assert (was_taken, lease.is_taken) == (True, False)


@pytest.mark.parametrize(
    ("looks", "was_taken"),
    [
        ([(0, 1)], True),
        ([(1, 0), (0, 1)], True),  # it waited, then its system came
        ([(0, 1), (0, 0)], True),  # its system left afterwards
        ([(0, 0), (0, 1)], False),  # its queue was made anew, or it would be there
        ([(2, 0), (1, 0), (0, 1)], False),  # one of two is gone, and this may be the one
        ([(2, 1), (1, 0), (0, 1)], True),  # its system took one, then left, and came back for the other
    ],
)
def test_a_message_is_taken_where_somebody_listened_when_it_left_its_queue(
    house: House, looks: list[tuple[int, int]], was_taken: bool
) -> None:
    lease = house.publish()
    state = QueueState(BITRIX.queue)
    for ready, consumers in looks:
        state = state.seen(ready=ready, consumers=consumers)
    house.watch.states[BITRIX.queue] = state

    house.table.plan(lease, 0.0)
    house.keeper.tick()

    assert lease.is_taken == was_taken


def test_what_was_taken_before_it_could_expire_stays_taken(house: House) -> None:
    lease = house.extended()
    house.was_taken()
    house.watch.states[BITRIX.queue] = QueueState(BITRIX.queue, ready=1, unheard_at=time.monotonic())

    house.keeper.tick()

    assert lease.is_taken


def test_answers_of_one_instance_are_applied_one_after_the_other(house: House) -> None:
    for task_id in ("t1", "t2"):  # both of the instance p1
        house.table.add(external_task(task_id), BITRIX, time.monotonic())
    events: list[str] = []

    with house.table.answering(NamedTask("t1"), never) as first:
        with house.table.answering(NamedTask("t2"), lambda: events.append("second may come again")) as second:
            assert (first, second) == (True, False)
        events.append("first is done")

    assert events == ["first is done", "second may come again"]


def test_a_task_offered_again_while_its_answer_is_applied_is_not_published_again(house: House) -> None:
    lease = house.publish()
    lease.full_lock_ends = lease.message_ends = time.monotonic() - 1

    with house.table.answering(NamedTask("t1"), never):
        again = house.table.add(external_task(lock_ends_in=2000), BITRIX, time.monotonic())

    assert again is False
    assert house.table.in_flight(BITRIX) == 1


def test_a_task_offered_again_after_its_full_lock_is_published_again(house: House) -> None:
    lease = house.publish()
    lease.full_lock_ends = lease.message_ends = time.monotonic() - 1

    assert house.table.add(external_task(lock_ends_in=2000), BITRIX, time.monotonic())


def test_answers_of_different_instances_do_not_wait_for_each_other(house: House) -> None:
    entered = []

    with house.table.answering(NamedTask("t1"), never), house.table.answering(NamedTask("t2"), never):
        entered.append("both")

    assert entered == ["both"]


def test_an_unchanged_lease_becomes_a_full_lock(house: House) -> None:
    lease = house.publish()

    house.keeper.tick()

    assert 599_000 < house.engine.body_of("extendLock")["newDuration"] <= 600_000
    assert lease.extended
    assert 599 < lease.lock_ends - time.monotonic() <= 600


def test_a_task_that_was_answered_costs_no_call(house: House) -> None:
    house.publish()
    house.table.done("t1")

    house.keeper.tick()

    assert house.engine.calls == []
    assert house.table.in_flight(BITRIX) == 0


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"retries": 2}, id="a failure was reported"),
        pytest.param(
            {"lockExpirationTime": (fakes.NOW + timedelta(seconds=5)).isoformat()}, id="its back-off runs"
        ),
        pytest.param({"workerId": "w2"}, id="another worker has it"),
        pytest.param({"workerId": None}, id="somebody unlocked it"),
    ],
)
def test_a_changed_task_is_never_extended(house: House, change: dict[str, Any]) -> None:
    house.publish()
    house.engine.tasks["t1"] |= change

    house.keeper.tick()

    assert house.engine.words() == ["external-task"]
    assert house.table.all() == []


def test_a_lapsed_lease_that_is_otherwise_unchanged_is_locked_again(house: House) -> None:
    house.publish(fetched_ago=60.0)
    house.engine.replies["extendLock"] = [fakes.EXPIRED]

    house.keeper.tick()

    assert house.engine.words() == ["external-task", "extendLock", "lock"]


def test_a_lock_that_ended_too_early_was_ended_by_a_failure_and_is_not_taken_again(house: House) -> None:
    house.publish(fetched_ago=30.0)
    house.engine.replies["extendLock"] = [fakes.EXPIRED]

    house.keeper.tick()

    assert house.engine.words() == ["external-task", "extendLock"]
    assert house.table.all() == []


def test_an_extension_that_fails_for_now_is_tried_again(house: House) -> None:
    lease = house.publish()
    house.engine.replies["external-task"] = [fakes.AWAY]

    house.keeper.tick()

    assert house.table.all() == [lease]
    assert house.table.due(time.monotonic() + 10) == [lease]


def test_a_task_that_is_planned_twice_is_due_once(house: House) -> None:
    lease = house.publish()
    now = time.monotonic()

    house.table.plan(lease, now)
    house.table.plan(lease, now)

    assert house.table.due(now + 100) == [lease]


def test_an_engine_that_is_away_is_asked_once_for_many_leases(house: House) -> None:
    for number in range(1000):
        house.table.add(external_task(f"t{number}"), BITRIX, time.monotonic())
        house.table.published([f"t{number}"])
    house.engine.replies["external-task"] = [fakes.AWAY]

    house.keeper.tick()

    assert len(house.engine.calls) == 1
    assert len(house.table.due(time.monotonic() + 10)) == 1000


def failed_elsewhere(house: House, lease: Lease, *, ends: datetime) -> None:
    """Let another process have reported a failure meanwhile."""
    house.engine.tasks[lease.task_id] |= {"retries": 3, "lockExpirationTime": ends.isoformat()}
    house.engine.calls.clear()


def test_a_task_extended_just_after_its_failure_pauses_again(house: House) -> None:
    lease = house.publish()
    house.keeper.tick()
    failed_elsewhere(house, lease, ends=lease.lock_expires_at)

    house.keeper.tick()

    assert house.engine.words() == ["external-task", "extendLock"]
    assert house.engine.body_of("extendLock")["newDuration"] == 5_000
    assert house.table.all() == []


def test_a_failure_reported_after_the_extension_keeps_its_pause(house: House) -> None:
    lease = house.publish()
    house.keeper.tick()
    failed_elsewhere(house, lease, ends=lease.lock_expires_at - timedelta(minutes=5))

    house.keeper.tick()

    assert house.engine.words() == ["external-task"]
    assert house.table.all() == []


def test_an_extended_lease_is_looked_at_once_more_and_kept(house: House) -> None:
    lease = house.publish()
    house.keeper.tick()
    house.engine.calls.clear()

    house.keeper.tick()
    house.keeper.tick()

    assert house.engine.words() == ["external-task"]
    assert house.table.all() == [lease]


def test_the_leases_extended_at_the_end_are_looked_at_too(house: House) -> None:
    house.publish()

    house.keeper.finish()

    assert house.engine.words() == ["external-task", "extendLock", "external-task"]


def test_a_lease_that_is_fetched_again_while_it_is_read_keeps_the_promise_of_its_message(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = house.publish(fetched_ago=70)
    house.was_taken()
    promised = lease.full_lock_ends = time.monotonic() + 30
    read = house.engine.send

    def fetch_then_read(method: str, path: str, body: bytes | None = None, *, timeout_seconds: float) -> Reply:
        if path.startswith("/external-task?"):
            house.engine.tasks["t1"] = task_row(lock_ends_in=130)
            assert not house.table.add(external_task(lock_ends_in=130), BITRIX, time.monotonic())
        return read(method, path, body, timeout_seconds=timeout_seconds)

    monkeypatch.setattr(house.engine, "send", fetch_then_read)

    house.keeper.tick()

    assert house.engine.words() == ["external-task"]
    assert lease.full_lock_ends == promised


def test_no_extension_happens_while_an_answer_is_applied(house: House) -> None:
    lease = house.publish()

    with house.table.answering(NamedTask("t1"), never):
        house.keeper.tick()

    assert "extendLock" not in house.engine.words()
    assert house.table.due(time.monotonic() + 10) == [lease]


@pytest.mark.parametrize(("seconds_left", "is_extended"), [(40, False), (10, True)])
def test_a_lease_that_ends_soon_is_extended_beside_a_long_answer_of_its_instance(
    house: House, seconds_left: int, is_extended: bool
) -> None:
    house.publish(fetched_ago=60 - seconds_left)
    house.table.add(external_task("t2"), BITRIX, time.monotonic())

    with house.table.answering(NamedTask("t2"), never):
        house.keeper.tick()

    assert ("extendLock" in house.engine.words()) == is_extended


def test_a_task_offered_again_after_its_lease_lapsed_is_extended_and_not_published(house: House) -> None:
    house.publish(fetched_ago=70)
    offered_again = external_task(lock_ends_in=130)
    house.engine.tasks["t1"] = task_row(lock_ends_in=130)

    is_new = house.table.add(offered_again, BITRIX, time.monotonic())
    house.keeper.tick()

    assert not is_new
    assert "extendLock" in house.engine.words()


def test_a_task_offered_before_its_lease_ended_is_a_new_attempt(house: House) -> None:
    house.publish(fetched_ago=20)

    assert house.table.add(external_task(lock_ends_in=80), BITRIX, time.monotonic())


def test_a_task_offered_again_after_a_failure_is_a_new_attempt(house: House) -> None:
    house.publish(fetched_ago=70)

    assert house.table.add(external_task(lock_ends_in=130, retries=2), BITRIX, time.monotonic())


def test_a_task_that_was_fetched_but_not_confirmed_is_published_again(house: House) -> None:
    house.table.add(external_task(), BITRIX, time.monotonic() - 70)

    assert house.table.add(external_task(lock_ends_in=130), BITRIX, time.monotonic())
    assert house.table.in_flight(BITRIX) == 1


def test_a_system_whose_full_lock_is_the_lease_needs_no_extension(house: House) -> None:
    lease = house.publish(QUICK)

    house.keeper.tick()

    assert lease.extended
    assert house.engine.calls == []


def test_a_system_that_took_the_message_and_stays_silent_costs_a_retry(house: House) -> None:
    house.has_a_silent_task()

    house.keeper.tick()

    failure = house.engine.body_of("failure")
    assert failure["retries"] == 3
    assert failure["errorMessage"].startswith("no answer from bitrix24 within 600 s")
    assert house.table.all() == []


@pytest.mark.parametrize(("beside_seconds", "pauses_again"), [(0, True), (2, False)])
def test_the_lock_of_the_next_fetch_is_not_cut_where_the_reply_to_the_failure_was_lost(
    house: House, beside_seconds: int, pauses_again: bool
) -> None:
    lease = house.extended()
    house.was_taken()
    house.keeper.tick()
    house.answers_were_read()
    house.engine.tasks["t1"] = task_row() | {"lockExpirationTime": lease.lock_expires_at.isoformat()}
    house.table.plan(lease, 0.0)
    house.engine.replies["failure"] = [fakes.AWAY]
    house.keeper.tick()
    house.engine.calls.clear()
    end = lease.lock_expires_at + timedelta(seconds=beside_seconds)
    house.engine.tasks["t1"] = task_row(retries=3) | {"lockExpirationTime": end.isoformat()}
    house.table.plan(lease, 0.0)

    house.keeper.tick()

    assert ("extendLock" in house.engine.words()) == pauses_again
    assert house.table.all() == []


def test_no_silence_is_reported_after_a_look_that_took_long(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.has_a_silent_task()
    read, passed = house.engine.send, [0.0]

    def read_slowly(method: str, path: str, body: bytes | None = None, *, timeout_seconds: float) -> Reply:
        passed[0] += (
            2 * STALE_SECONDS if method == "GET" else 0.0
        )  # meanwhile another process may apply its answer
        return read(method, path, body, timeout_seconds=timeout_seconds)

    monkeypatch.setattr(clock, "now", lambda: time.monotonic() + passed[0])
    monkeypatch.setattr(house.engine, "send", read_slowly)
    house.keeper.tick()
    calls_after_slow_look = house.engine.words()
    monkeypatch.setattr(house.engine, "send", read)

    house.keeper.tick()

    assert "failure" not in calls_after_slow_look
    assert "failure" in house.engine.words()


def test_a_message_that_still_waits_in_its_queue_is_no_silence(house: House) -> None:
    house.extended()

    house.keeper.tick()

    assert house.engine.calls == []
    assert house.table.all() == []


def test_silence_is_not_reported_while_answers_wait_to_be_read(house: House) -> None:
    lease = house.extended()
    house.was_taken()

    house.keeper.tick()

    assert house.engine.words() == ["t1", "extendLock"]
    assert house.engine.body_of("extendLock")["newDuration"] == 60_000
    assert house.table.all() == [lease]


def test_an_engine_that_is_away_is_asked_once_for_many_silent_tasks(house: House) -> None:
    for number in range(100):
        house.table.add(external_task(f"t{number}"), QUICK, time.monotonic() - 59)
        house.table.published([f"t{number}"])
    for lease in house.table.all():
        lease.published_at -= 59
        lease.is_taken = True
        house.table.plan(lease, 0.0)
    house.watch.states[QUICK.queue] = QueueState(QUICK.queue, seen_empty_at=time.monotonic())
    house.engine.replies["t0"] = [fakes.AWAY]

    house.keeper.tick()

    assert house.engine.words() == ["t0"]
    assert house.table.in_flight(QUICK) == 100
    assert house.table.due(time.monotonic() + 10)[0].task_id == "t1"  # the one in trouble does not stay in front


def test_a_message_that_was_deleted_with_its_queue_costs_its_task_no_retry(house: House) -> None:
    lease = house.extended()
    house.answers_were_read()
    house.watch.states[BITRIX.queue] = QueueState(
        BITRIX.queue, seen_empty_at=time.monotonic(), lost_at=lease.published_at + 1
    )

    house.keeper.tick()

    assert house.engine.words() == []
    assert house.table.all() == []


def test_a_task_whose_lock_has_ended_is_locked_again_while_its_answer_is_in_hand(house: House) -> None:
    lease = house.extended()
    house.was_taken()
    house.in_hand.add(NamedTask("t1", None, "complete"))
    house.engine.replies["extendLock"] = [fakes.EXPIRED]

    house.keeper.tick()

    assert house.engine.words() == ["t1", "extendLock", "lock"]
    assert house.table.all() == [lease]


def test_a_silent_task_whose_lock_has_ended_is_left_to_the_engine(house: House) -> None:
    lease = house.extended()
    house.was_taken()
    lease.lock_ends = time.monotonic()

    house.keeper.tick()

    assert house.engine.words() == ["t1"]
    assert house.table.all() == []


def test_an_answered_task_that_somebody_else_holds_is_left_to_him(house: House) -> None:
    house.extended()
    house.was_taken()
    house.in_hand.add(NamedTask("t1", None, "complete"))
    house.engine.replies["extendLock"] = [fakes.EXPIRED]
    house.engine.replies["lock"] = [fakes.LOCKED_BY_OTHER]

    house.keeper.tick()

    assert house.table.all() == []


def test_a_heartbeat_that_came_another_way_is_adopted(house: House) -> None:
    lease = house.extended()
    house.was_taken()
    row = house.engine.tasks["t1"]
    row["lockExpirationTime"] = (
        datetime.fromisoformat(row["lockExpirationTime"]) + timedelta(hours=1)
    ).isoformat()

    house.keeper.tick()

    assert 3_590 < lease.lock_ends - time.monotonic() < 3_610
    assert house.engine.words() == ["t1"]


def history(*failed_at: datetime) -> Reply:
    return Reply(200, json.dumps([{"timestamp": moment.isoformat()} for moment in failed_at]).encode())


@pytest.mark.parametrize("lock_grew_by", [timedelta(hours=1), timedelta(0)])
def test_a_failure_that_only_history_tells_of_is_no_sign_of_life(house: House, lock_grew_by: timedelta) -> None:
    lease = house.extended(retries=None)
    assert lease.fetched_at is not None
    house.was_taken()
    row = house.engine.tasks["t1"]
    row["lockExpirationTime"] = (datetime.fromisoformat(row["lockExpirationTime"]) + lock_grew_by).isoformat()
    row["errorMessage"] = "Bitrix24 is down"
    house.engine.replies["external-task-log"] = [history(lease.fetched_at + timedelta(seconds=1))]

    house.keeper.tick()

    assert house.table.all() == []
    assert house.engine.words() == ["t1", "external-task-log"]


@pytest.mark.parametrize(
    "reply", [history(), fakes.refusal(403, "no"), fakes.refusal(404, "no such resource"), None]
)
def test_a_failure_of_an_earlier_attempt_hides_no_sign_of_life(house: House, reply: Reply | None) -> None:
    lease = house.extended()
    assert lease.fetched_at is not None
    house.was_taken()
    row = house.engine.tasks["t1"]
    row["lockExpirationTime"] = (
        datetime.fromisoformat(row["lockExpirationTime"]) + timedelta(hours=1)
    ).isoformat()
    row["errorMessage"] = "Bitrix24 was down"
    house.engine.replies["external-task-log"] = [reply or history(lease.fetched_at)]

    house.keeper.tick()

    assert 3_590 < lease.lock_ends - time.monotonic() < 3_610


def test_a_suspended_task_is_looked_at_later(house: House) -> None:
    lease = house.extended()
    house.was_taken()
    house.engine.tasks["t1"]["suspended"] = True

    house.keeper.tick()

    assert house.table.all() == [lease]
    assert house.engine.words() == ["t1"]


def test_tasks_of_an_earlier_process_count_and_are_published_when_offered_again(house: House) -> None:
    house.engine.replies["external-task"] = [
        Reply(200, json.dumps([task_row()]).encode()),
        Reply(200, b"[]"),
    ]

    house.keeper.rebuild_once()

    assert house.table.in_flight(BITRIX) == 1
    assert house.table.add(external_task(lock_ends_in=130), BITRIX, time.monotonic())
    assert house.table.in_flight(BITRIX) == 1


def test_tasks_that_were_answered_through_another_process_are_dropped(house: House) -> None:
    house.extended()
    house.engine.tasks.clear()

    house.keeper.reconcile()

    assert house.table.in_flight(BITRIX) == 0


def test_at_the_end_all_published_leases_are_extended(house: House) -> None:
    lease = house.publish()

    house.keeper.finish()

    assert lease.extended


def test_answered_tasks_leave_nothing_behind(house: House) -> None:
    for number in range(5_000):
        task = external_task(f"t{number}")
        house.table.add(task, BITRIX, time.monotonic())
        house.table.published([task.id])
        house.table.done(task.id)

    assert len(house.table._agenda) <= 1_001
    assert house.table.all() == []


def test_a_system_is_silent_until_it_answers(house: House) -> None:
    house.has_a_silent_task()
    house.keeper.tick()
    after_the_silence = value("system_silent", system=BITRIX.name)

    house.publish()
    house.table.done("t1", answered=True)

    assert (after_the_silence, value("system_silent", system=BITRIX.name)) == (1.0, 0.0)
