"""When the pauses end that we have reported with failures: the engine tells no waiting poll of it."""

import heapq
import math

from bridge import clock

KEPT = 10_000
LONGEST_SECONDS = 3600.0  # the end of a longer one is found by the usual polls
REMEMBERED_SECONDS = 60.0


class BackOffs:
    """The ends of reported pauses, on the monotonic clock; may be used from any thread."""

    def __init__(self) -> None:
        self._lock = clock.Lock()
        self._ends: list[float] = []
        self._shortest = math.inf
        self._remembered_until = 0.0

    def note(self, seconds: float) -> None:
        """Note a pause that begins now."""
        now = clock.now()
        with self._lock:
            if seconds <= self._shortest or now >= self._remembered_until:
                self._shortest, self._remembered_until = seconds, now + REMEMBERED_SECONDS
            if seconds <= LONGEST_SECONDS and len(self._ends) < KEPT:
                heapq.heappush(self._ends, now + seconds)

    def next_in(self) -> float:
        """Return the seconds until the next one ends; infinite where there is none."""
        now = clock.now()
        with self._lock:
            while self._ends and self._ends[0] <= now:
                heapq.heappop(self._ends)
            return self._ends[0] - now if self._ends else math.inf

    def shortest_lately(self) -> float:
        """Return the shortest one of the last minute: the next may begin, and end, while a poll is out."""
        return self._shortest if clock.now() < self._remembered_until else math.inf
