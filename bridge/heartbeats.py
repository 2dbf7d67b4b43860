"""When each loop must turn again: what /livez looks at. A loop is known by the name of its thread."""

import threading

from bridge import clock

PATIENCE_SECONDS = 45.0  # more than the longest call to the engine and the longest pause between attempts

_due: dict[str, float] = {}


def beat(*, within: float = PATIENCE_SECONDS) -> None:
    """Say that this thread's loop turns, and will turn again within that many seconds."""
    _due[threading.current_thread().name] = clock.now() + within


def overdue_seconds(loop: str, begun: float) -> float:
    """Return for how long a loop should have turned again; `begun` is when it was started (monotonic)."""
    due = max(_due.get(loop, 0.0), begun + PATIENCE_SECONDS)
    return max(0.0, clock.now() - due)
