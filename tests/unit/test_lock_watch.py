"""What the fault suite takes for one lock, and what for two."""

import time
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from sandbox.engine_api import EngineApi
from tests.faults.lock_watch import LockWatch

LEASE_SECONDS = 60.0


class Engine:
    """Has one task, whose lock ends at a moment."""

    def __init__(self) -> None:
        self.ends = 0.0

    def request(self, *_: object, **__: object) -> list[dict[str, Any]]:
        end = datetime.fromtimestamp(self.ends, UTC).isoformat()
        return [{"id": "t1", "retries": None, "lockExpirationTime": end}]


def locks_of(monkeypatch: pytest.MonkeyPatch, *looks: tuple[float, float]) -> list[float]:
    """Return how long each lock was held; each look is a moment, and when the lock ends that is seen then."""
    engine = Engine()
    now = 1000.0
    monkeypatch.setattr(time, "time", lambda: now)
    watch = LockWatch(cast(EngineApi, engine), "d", LEASE_SECONDS)
    for now, engine.ends in looks:  # noqa: B007  # the clock reads it
        watch.sample()
    return [round(lock.held_until - lock.since) for lock in watch.locks]


def test_a_fetch_after_the_end_of_a_lock_is_another_lock_though_nobody_looked_between(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks = (1000.2, 1060.0), (1059.9, 1060.0), (1060.4, 1120.1), (1119.9, 1120.1), (1130.0, 1180.3)

    assert locks_of(monkeypatch, *looks) == [60, 60, 10]


@pytest.mark.parametrize(
    "look", [(1059.0, 1119.0), (1002.0, 1602.0), (1060.5, 1660.5)], ids=["by a lease", "to the full lock", "late"]
)
def test_a_lock_that_is_made_longer_stays_one(monkeypatch: pytest.MonkeyPatch, look: tuple[float, float]) -> None:
    ends = look[1]

    (held,) = locks_of(monkeypatch, (1000.2, 1060.0), look, (ends - 1.0, ends))

    assert held == round(ends - 1.0 - 1000.0)
