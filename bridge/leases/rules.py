"""How long tasks are locked, and what a failure costs."""

from dataclasses import dataclass

from bridge.contract import TaskState
from bridge.engine import CamundaClient
from bridge.retry_policy import RetryPolicy
from bridge.routing import System

# What the engine said of a task longer ago may be over: another process may have answered it since.
STALE_SECONDS = 5.0


def retry_policy(engine: CamundaClient, state: TaskState, system: System) -> RetryPolicy:
    """Return what a failure of a task costs: as its model says, else its system. Raises Unavailable."""
    return engine.models.retry_policy(state) or system.retry


@dataclass(frozen=True, slots=True)
class LeaseRules:
    """How long tasks are locked at first; `lease_ms` None: the full time at once."""

    lease_ms: int | None
    extend_after_seconds: float

    def lease_ms_of(self, system: System) -> int:
        """Return how long a task of this system is locked at first."""
        return min(self.lease_ms or system.lock_ms, system.lock_ms)

    def has_extension(self, system: System) -> bool:
        """Whether the first lock is shorter than the full one."""
        return self.lease_ms_of(system) < system.lock_ms
