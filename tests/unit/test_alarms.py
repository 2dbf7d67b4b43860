"""Alarms: what stands in the log before a person notices it elsewhere."""

import threading
from dataclasses import dataclass, field, replace
from typing import cast

import pytest

import clock as clock_module
from alarms import HEARD_SECONDS, REMIND_SECONDS, UNHEARD_SECONDS, Alarms
from rabbitmq_client import ERROR_QUEUE, QueueState, QueueWatch
from tests.unit.conftest import Clock

QUEUE = "bitrix24.queue"
UNHEARD = f"WARNING alarm: nobody listens to {QUEUE}, 7 messages wait; is its system running?"


@dataclass
class Watch:
    states: dict[str, QueueState] = field(default_factory=dict)
    held_back: set[str] = field(default_factory=set)
    is_fresh: bool = True

    def state(self, queue: str) -> QueueState:
        state = self.states.get(queue, QueueState())
        return replace(state, seen_at=clock_module.now()) if self.is_fresh else state


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
def guard(watch: Watch, clock: Clock) -> Alarms:
    is_held_back = watch.held_back.__contains__
    return Alarms(cast(QueueWatch, watch), [QUEUE], 100, threading.Event(), is_held_back)


def look(guard: Alarms, clock: Clock, seconds: float) -> None:
    """Look every second, as often as it takes."""
    for _ in range(int(seconds)):
        clock.advance(1)
        guard.look()


def test_a_queue_that_nobody_listens_to_is_an_alarm_after_a_while_and_so_is_its_end(
    guard: Alarms, watch: Watch, clock: Clock, logged: list[str]
) -> None:
    watch.states[QUEUE] = QueueState(ready=7)
    look(guard, clock, UNHEARD_SECONDS)
    assert logged == []

    look(guard, clock, 2)
    assert [line.strip() for line in logged] == [UNHEARD]

    watch.states[QUEUE] = QueueState(ready=7, consumers=1)
    look(guard, clock, HEARD_SECONDS + 1)
    assert logged[-1].strip() == f"INFO alarm over: {QUEUE}"


def test_a_tool_that_has_a_look_at_the_queue_does_not_end_the_alarm(
    guard: Alarms, watch: Watch, clock: Clock, logged: list[str]
) -> None:
    for consumers in (0, 1, 0, 1, 0):
        watch.states[QUEUE] = QueueState(ready=7, consumers=consumers)
        look(guard, clock, HEARD_SECONDS - 2 if consumers else UNHEARD_SECONDS + 2)

    assert [line.strip() for line in logged] == [UNHEARD]


def test_a_queue_that_we_leave_alone_on_purpose_is_no_alarm(
    guard: Alarms, watch: Watch, clock: Clock, logged: list[str]
) -> None:
    watch.states[QUEUE] = QueueState(ready=7)
    watch.held_back.add(QUEUE)

    look(guard, clock, 2 * UNHEARD_SECONDS)

    assert logged == []


def test_what_was_seen_long_ago_begins_no_alarm_and_ends_none(
    guard: Alarms, watch: Watch, clock: Clock, logged: list[str]
) -> None:
    watch.states[QUEUE] = QueueState(ready=7, seen_at=clock.now())
    watch.is_fresh = False
    look(guard, clock, 2 * UNHEARD_SECONDS)
    assert logged == []

    watch.is_fresh = True
    look(guard, clock, 2)
    watch.states[QUEUE], watch.is_fresh = QueueState(ready=7, consumers=1), False
    look(guard, clock, 2 * UNHEARD_SECONDS)

    assert [line.strip() for line in logged] == [UNHEARD]


def test_an_alarm_that_lasts_comes_again_now_and_then(
    guard: Alarms, watch: Watch, clock: Clock, logged: list[str]
) -> None:
    watch.states[QUEUE] = QueueState(ready=7)
    look(guard, clock, UNHEARD_SECONDS + REMIND_SECONDS + 1)

    assert [line.strip() for line in logged] == [UNHEARD, UNHEARD]


def test_a_system_that_only_restarts_is_no_alarm(
    guard: Alarms, watch: Watch, clock: Clock, logged: list[str]
) -> None:
    for consumers in (0, 1, 0):
        watch.states[QUEUE] = QueueState(ready=7, consumers=consumers)
        look(guard, clock, UNHEARD_SECONDS - 1)

    assert logged == []


def test_a_full_error_queue_is_an_alarm_naming_the_tool(guard: Alarms, watch: Watch, logged: list[str]) -> None:
    watch.states[ERROR_QUEUE] = QueueState(ready=99)
    guard.look()
    assert logged == []

    watch.states[ERROR_QUEUE] = QueueState(ready=100)
    guard.look()

    assert len(logged) == 1
    assert logged[0].startswith(f"ERROR alarm: {ERROR_QUEUE} holds 100 messages")
    assert "tools/dead_letters.py" in logged[0]
