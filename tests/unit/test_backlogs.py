"""Whose tasks a fetch asks for: of all systems together, and of each with a backlog by itself."""

from collections import Counter
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from bridge.intake.backlogs import Backlogs
from bridge.routing import System

A, B, C = ALL = tuple(System(name, 600_000) for name in "abc")


def drain(waiting: Counter[System], *, max_tasks: int, fetches: int) -> list[Sequence[System]]:
    """Let the backlogs choose, and fetch as the engine does where all tasks of A are older than those of B."""
    backlogs, asked = Backlogs(), []
    for _ in range(fetches):
        systems = backlogs.next(ALL)
        asked.append(systems)
        batch: list[System] = []
        for system in systems:
            batch += [system] * min(waiting[system], max_tasks - len(batch))
        waiting.subtract(batch)
        backlogs.note(systems, batch, is_full=len(batch) == max_tasks)
    return asked


def test_without_a_backlog_all_are_asked_together() -> None:
    assert drain(Counter({A: 3, C: 2}), max_tasks=10, fetches=3) == [ALL] * 3


def test_a_system_with_a_backlog_is_asked_by_itself_in_turn_with_the_others() -> None:
    asked = drain(Counter({A: 45}), max_tasks=10, fetches=7)

    assert asked == [ALL, (A,), (B, C), (A,), (B, C), (A,), (B, C)]


def test_a_backlog_that_is_gone_is_forgotten() -> None:
    asked = drain(Counter({A: 15}), max_tasks=10, fetches=4)

    assert asked == [ALL, (A,), ALL, ALL]


def test_backlogs_behind_the_first_come_to_light() -> None:
    asked = drain(Counter({A: 100, B: 100}), max_tasks=10, fetches=9)

    assert asked == [ALL, (A,), (B, C), (B,), (A,), (C,), (B,), (A,), (C,)]


def test_a_system_that_may_get_nothing_now_is_not_asked() -> None:
    backlogs = Backlogs()
    backlogs.note(ALL, [A, B], is_full=True)

    assert [backlogs.next((B, C)) for _ in range(4)] == [(B,), (C,), (B,), (C,)]
    assert backlogs.next(()) == ()


@given(st.lists(st.integers(0, 60), min_size=3, max_size=3))
def test_no_system_waits_for_more_than_a_batch_of_each_other_one(counts: list[int]) -> None:
    waiting = Counter(dict(zip(ALL, counts, strict=True)))

    asked = drain(waiting, max_tasks=10, fetches=40)

    assert not +waiting
    for system in ALL:
        gaps = "".join("x" if system in systems else "-" for systems in asked)
        assert "----" not in gaps
