"""Alarms: what stands in the log before a person notices it elsewhere."""

import threading
from dataclasses import dataclass, field, replace
from typing import cast

import pytest

from bridge import clock as clock_module
from bridge.broker import ERROR_QUEUE, QueueState, QueueWatch
from bridge.contract import RESPONSE_QUEUE
from bridge.observe.alarms import QUIET_SECONDS, REMIND_SECONDS, UNHEARD_SECONDS, Alarms
from tests.unit.conftest import Clock

QUEUE = "bitrix24.queue"
UNHEARD = f"WARNING alarm: nobody listens to {QUEUE}, 7 messages wait; is its system running?"


@dataclass
class Watch:
    states: dict[str, QueueState] = field(default_factory=dict)

    is_fresh: bool = True

    def state(self, queue: str) -> QueueState:
        state = self.states.get(queue, QueueState(queue))
        return replace(state, seen_at=clock_module.now()) if self.is_fresh else state


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
def guard(watch: Watch, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Alarms:
    return guard_of(watch)


def guard_of(watch: Watch, why_unread: str = "") -> Alarms:
    queues = [QUEUE, RESPONSE_QUEUE]
    return Alarms(cast(QueueWatch, watch), queues, 100, threading.Event(), why_unread=lambda: why_unread)


def test_a_queue_that_nobody_listens_to_is_an_alarm_after_a_while_and_so_is_its_end(
    guard: Alarms, watch: Watch, clock: Clock, logged: list[str]
) -> None:
    watch.states[QUEUE] = QueueState(QUEUE, ready=7)
    guard.look()
    assert logged == []

    clock.advance(UNHEARD_SECONDS)
    guard.look()
    guard.look()
    assert [line.strip() for line in logged] == [UNHEARD]

    watch.states[QUEUE] = QueueState(QUEUE, ready=7, consumers=1)
    guard.look()
    assert logged[-1].strip() == f"INFO alarm over: {QUEUE}"


def test_an_alarm_that_lasts_comes_again_now_and_then(
    guard: Alarms, watch: Watch, clock: Clock, logged: list[str]
) -> None:
    watch.states[QUEUE] = QueueState(QUEUE, ready=7)
    guard.look()
    for pause in (UNHEARD_SECONDS, REMIND_SECONDS - 1, 1):
        clock.advance(pause)
        guard.look()

    assert [line.strip() for line in logged] == [UNHEARD, UNHEARD]


def test_a_system_that_only_restarts_is_no_alarm(
    guard: Alarms, watch: Watch, clock: Clock, logged: list[str]
) -> None:
    for consumers in (0, 1, 0):
        watch.states[QUEUE] = QueueState(QUEUE, ready=7, consumers=consumers)
        guard.look()
        clock.advance(UNHEARD_SECONDS - 1)

    assert logged == []


def test_a_full_error_queue_is_an_alarm_naming_the_tool(guard: Alarms, watch: Watch, logged: list[str]) -> None:
    watch.states[ERROR_QUEUE] = QueueState(ERROR_QUEUE, ready=99)
    guard.look()
    assert logged == []

    watch.states[ERROR_QUEUE] = QueueState(ERROR_QUEUE, ready=100)
    guard.look()

    assert len(logged) == 1
    assert logged[0].startswith(f"ERROR alarm: {ERROR_QUEUE} holds 100 messages")
    assert "tools/dead_letters.py" in logged[0]


@pytest.mark.parametrize(("queue", "ready"), [(QUEUE, 7), (ERROR_QUEUE, 100)])
def test_an_alarm_is_steady_while_a_tool_holds_the_messages(
    guard: Alarms, watch: Watch, clock: Clock, logged: list[str], queue: str, ready: int
) -> None:
    watch.states[queue] = QueueState(queue, ready=ready)
    guard.look()
    clock.advance(UNHEARD_SECONDS)
    guard.look()

    for _ in range(3):
        watch.states[queue] = QueueState(queue, ready=0)
        guard.look()
        clock.advance(QUIET_SECONDS - 1)
        guard.look()
        watch.states[queue] = QueueState(queue, ready=ready)
        guard.look()

    assert len(logged) == 1, logged


def test_an_alarm_is_over_once_its_queue_stays_empty(
    guard: Alarms, watch: Watch, clock: Clock, logged: list[str]
) -> None:
    watch.states[QUEUE] = QueueState(QUEUE, ready=7)
    guard.look()
    clock.advance(UNHEARD_SECONDS)
    guard.look()

    watch.states[QUEUE] = QueueState(QUEUE, ready=0)
    guard.look()
    clock.advance(QUIET_SECONDS)
    guard.look()

    assert logged[-1].strip() == f"INFO alarm over: {QUEUE}"


@pytest.mark.parametrize(
    ("why", "text"),
    [
        (
            "they wait for the engine (refused)",
            "7 answers wait in {}, which we do not read now: they wait for the",
        ),
        ("", "nobody reads {}, 7 answers wait; is the response handler running?"),
    ],
)
def test_answers_that_we_do_not_read_are_no_systems_fault(
    watch: Watch, clock: Clock, logged: list[str], why: str, text: str
) -> None:
    guard = guard_of(watch, why)
    watch.states[RESPONSE_QUEUE] = QueueState(RESPONSE_QUEUE, ready=7)
    guard.look()
    clock.advance(UNHEARD_SECONDS)

    guard.look()

    (line,) = logged
    assert text.format(RESPONSE_QUEUE) in line
    assert "is its system running" not in line


def test_what_was_seen_long_ago_begins_no_alarm(
    guard: Alarms, watch: Watch, clock: Clock, logged: list[str]
) -> None:
    watch.states[QUEUE] = QueueState(QUEUE, ready=7, seen_at=clock.now())
    watch.is_fresh = False
    for _ in range(10):
        clock.advance(UNHEARD_SECONDS)
        guard.look()

    assert logged == []
