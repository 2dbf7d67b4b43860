"""Alarms: what stands in the log before a person notices it elsewhere."""

import threading
from dataclasses import dataclass, field
from typing import cast

import pytest

from alarms import REMIND_SECONDS, UNHEARD_SECONDS, Alarms
from rabbitmq_client import ERROR_QUEUE, QueueState, QueueWatch
from tests.unit.conftest import Clock

QUEUE = "bitrix24.queue"
UNHEARD = f"WARNING alarm: nobody listens to {QUEUE}, 7 messages wait; is its system running?"


@dataclass
class Watch:
    states: dict[str, QueueState] = field(default_factory=dict)

    def state(self, queue: str) -> QueueState:
        return self.states.get(queue, QueueState())


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
def guard(watch: Watch, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Alarms:
    return Alarms(cast(QueueWatch, watch), [QUEUE], 100, threading.Event())


def test_a_queue_that_nobody_listens_to_is_an_alarm_after_a_while_and_so_is_its_end(
    guard: Alarms, watch: Watch, clock: Clock, logged: list[str]
) -> None:
    watch.states[QUEUE] = QueueState(ready=7)
    guard.look()
    assert logged == []

    clock.advance(UNHEARD_SECONDS)
    guard.look()
    guard.look()
    assert [line.strip() for line in logged] == [UNHEARD]

    watch.states[QUEUE] = QueueState(ready=7, consumers=1)
    guard.look()
    assert logged[-1].strip() == f"INFO alarm over: {QUEUE}"


def test_an_alarm_that_lasts_comes_again_now_and_then(
    guard: Alarms, watch: Watch, clock: Clock, logged: list[str]
) -> None:
    watch.states[QUEUE] = QueueState(ready=7)
    guard.look()
    for pause in (UNHEARD_SECONDS, REMIND_SECONDS - 1, 1):
        clock.advance(pause)
        guard.look()

    assert [line.strip() for line in logged] == [UNHEARD, UNHEARD]


def test_a_system_that_only_restarts_is_no_alarm(
    guard: Alarms, watch: Watch, clock: Clock, logged: list[str]
) -> None:
    for consumers in (0, 1, 0):
        watch.states[QUEUE] = QueueState(ready=7, consumers=consumers)
        guard.look()
        clock.advance(UNHEARD_SECONDS - 1)

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
