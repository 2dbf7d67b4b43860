"""How long polls wait, and what shortens them."""

import pytest

from bridge.engine import BackOffs
from bridge.intake.polls import EARLY_IN_A_ROW, PACE_SECONDS, SHORTEST_MS, Polls
from tests.unit.conftest import Clock

MINUTE_MS = 60_000


@pytest.fixture
def back_offs(clock: Clock) -> BackOffs:
    return BackOffs()


@pytest.fixture
def polls(back_offs: BackOffs) -> Polls:
    return Polls(5000, back_offs)


def wait_ms(polls: Polls, *leases: int, at_most_ms: int = 5000) -> int:
    return polls.wait_ms(leases or (MINUTE_MS,), at_most_ms=at_most_ms)


def test_a_poll_waits_as_long_as_the_settings_say(polls: Polls) -> None:
    assert wait_ms(polls) == 5000
    assert wait_ms(polls, at_most_ms=500) == 500


@pytest.mark.parametrize(("leases", "wanted"), [((10_000,), 2500), ((600_000, 12_000), 3000), ((20_000,), 5000)])
def test_a_poll_is_no_longer_than_a_quarter_of_the_shortest_lease_in_it(
    polls: Polls, leases: tuple[int, ...], wanted: int
) -> None:
    assert wait_ms(polls, *leases) == wanted


def test_a_poll_ends_when_the_next_pause_does(polls: Polls, back_offs: BackOffs, clock: Clock) -> None:
    back_offs.note(30.0)
    assert wait_ms(polls) == 5000

    clock.advance(28)

    assert wait_ms(polls) == 2000
    clock.advance(2)
    assert wait_ms(polls) == 5000


def test_the_pause_that_ends_first_counts(polls: Polls, back_offs: BackOffs, clock: Clock) -> None:
    for seconds in (40.0, 31.0, 70.0):
        back_offs.note(seconds)
    clock.advance(30)

    assert wait_ms(polls) == 1000


@pytest.mark.parametrize("seconds", [0.0, 0.1])
def test_polls_never_become_a_hot_loop(polls: Polls, back_offs: BackOffs, seconds: float) -> None:
    back_offs.note(seconds)

    assert wait_ms(polls) == SHORTEST_MS


def test_where_short_pauses_were_reported_lately_the_next_one_is_not_slept_over(
    polls: Polls, back_offs: BackOffs, clock: Clock
) -> None:
    back_offs.note(1.0)
    back_offs.note(20.0)
    clock.advance(2)

    assert wait_ms(polls) == 1000
    clock.advance(60)
    assert wait_ms(polls) == 5000


def test_pauses_without_number_cost_no_memory_without_bound(back_offs: BackOffs) -> None:
    for _ in range(20_000):
        back_offs.note(600.0)
    back_offs.note(7 * 24 * 3600.0)

    assert len(back_offs._ends) == 10_000


def test_after_a_cut_polls_are_short_enough_and_longer_again_after_a_calm_time(
    polls: Polls, clock: Clock, logged: list[str]
) -> None:
    assert polls.is_cut_off(5000, 3.0)
    polls.note_cut(3.0, "504")

    assert wait_ms(polls) == 1800
    assert [line for line in logged if "cut off after 3.0 s" in line]
    clock.advance(601)
    assert wait_ms(polls) == 5000


def test_each_further_cut_is_remembered_longer(polls: Polls, clock: Clock) -> None:
    polls.note_cut(3.0, "504")
    clock.advance(601)
    polls.note_cut(3.0, "504")

    clock.advance(601)

    assert wait_ms(polls) == 1800
    clock.advance(600)
    assert wait_ms(polls) == 5000


@pytest.mark.parametrize("seconds", [0.0, 0.1, 25.0])
def test_a_poll_that_was_refused_at_once_or_hung_was_not_cut_off(polls: Polls, seconds: float) -> None:
    assert not polls.is_cut_off(5000, seconds)


def test_an_engine_that_does_not_wait_is_asked_slowly_and_named_once(polls: Polls, logged: list[str]) -> None:
    pauses = [polls.pause_after(5000, 0.01, is_empty=True) for _ in range(100)]

    assert pauses == [pytest.approx(PACE_SECONDS - 0.01)] * 100
    assert len([line for line in logged if line.startswith("WARNING") and "asyncResponseTimeout" in line]) == 1


def test_polls_are_as_usual_when_they_wait_again(polls: Polls, logged: list[str]) -> None:
    for _ in range(EARLY_IN_A_ROW):
        polls.pause_after(5000, 0.01, is_empty=True)

    assert polls.pause_after(5000, 5.0, is_empty=True) == 0.0
    assert logged[-1] == "INFO polls wait at the engine again\n"


@pytest.mark.parametrize(
    ("wait", "seconds", "is_empty"), [(5000, 0.01, False), (0, 0.01, True), (5000, 4.9, True)]
)
def test_there_is_no_pause_where_tasks_came_or_the_poll_waited(
    polls: Polls, wait: int, seconds: float, is_empty: bool
) -> None:
    assert polls.pause_after(wait, seconds, is_empty=is_empty) == 0.0
