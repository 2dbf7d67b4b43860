"""How long tasks are locked, and what a failure costs."""

from dataclasses import dataclass

from bridge.routing import System


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """What a failure costs where its system does not say: the retries after a first one, and the pause."""

    retries: int
    pause_ms: int

    def left(self, retries: int | None) -> int:
        """Return how many retries a task has after one more failure; `retries` is None before its first."""
        return self.retries if retries is None else max(0, retries - 1)


@dataclass(frozen=True, slots=True)
class LeaseRules:
    """How long tasks are locked, and what an unanswered one costs; `lease_ms` None: the full time at once."""

    lease_ms: int | None
    extend_after_seconds: float
    retry: RetryPolicy

    def lease_ms_of(self, system: System) -> int:
        """Return how long a task of this system is locked at first."""
        return min(self.lease_ms or system.lock_ms, system.lock_ms)

    def has_extension(self, system: System) -> bool:
        """Whether the first lock is shorter than the full one."""
        return self.lease_ms_of(system) < system.lock_ms
