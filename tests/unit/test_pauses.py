"""What is remembered of pauses after failures, and for how long."""

import pytest

from bridge.leases.pauses import FEW, Pauses
from tests.unit.conftest import Clock


@pytest.fixture
def pauses() -> Pauses:
    return Pauses()


def test_pauses_that_are_over_are_forgotten_so_that_memory_stays_flat(pauses: Pauses, clock: Clock) -> None:
    for number in range(20 * FEW):
        pauses.note(f"t{number}", 5_000)
        clock.advance(0.1)

    assert len(pauses._ends) <= FEW
    assert len(pauses._failed_locks) <= FEW


def test_of_many_pauses_that_go_on_none_is_forgotten(pauses: Pauses, clock: Clock) -> None:
    for number in range(5 * FEW):
        pauses.note(f"t{number}", 600_000)
        clock.advance(0.1)

    assert all(pauses.goes_on(f"t{number}") for number in range(5 * FEW))
