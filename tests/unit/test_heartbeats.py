"""Loops that turn, and loops that are stuck."""

import threading

import pytest

import heartbeats
from status.health import stuck_loops
from tests.unit.conftest import Clock


@pytest.fixture(autouse=True)
def time(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Clock:
    monkeypatch.setattr(heartbeats, "time", clock)
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
    begun = time.monotonic()
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
