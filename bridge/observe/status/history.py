"""What was counted in the last minute and the last hour."""

import threading
from collections import Counter, deque
from collections.abc import Callable

from bridge import clock, metrics

MINUTE, HOUR = 60.0, 3600.0
NOTE_SECONDS = 5.0
Counts = Counter[tuple[str, str]]


def count_all() -> Counts:
    """Return what was counted so far: by what happened, such as `fetched`, and by the system or the reason."""
    counts: Counts = Counter()
    for name, labels, value in metrics.totals():
        counts[_kind_of(name, labels)] += int(value)
    return counts


def _kind_of(name: str, labels: list[str]) -> tuple[str, str]:
    match name, labels:
        case "tasks_fetched", [system, _]:
            return "fetched", system
        case "tasks_published", [system, result]:
            return ("published" if result == "confirmed" else result), system
        case "round_trip_seconds", [system]:
            return "answered", system
        case "responses", [_, outcome]:
            return outcome, ""
        case _:
            return name, labels[0]


class History:
    """Remembers the counts: each 5 s for a minute, each minute for an hour."""

    def __init__(self, count: Callable[[], Counts], stopping: threading.Event) -> None:
        self._count = count
        self._stopping = stopping
        self._minute: deque[tuple[float, Counts]] = deque(maxlen=int(MINUTE / NOTE_SECONDS) + 1)
        self._hour: deque[tuple[float, Counts]] = deque(maxlen=int(HOUR / MINUTE) + 1)
        self.note()

    def run(self) -> None:
        """Take note every few seconds until stopping."""
        while not self._stopping.wait(NOTE_SECONDS):
            self.note()

    def note(self) -> None:
        """Remember the counts of now."""
        moment = clock.now(), self._count()
        self._minute.append(moment)
        if not self._hour or moment[0] - self._hour[-1][0] >= MINUTE:
            self._hour.append(moment)

    def lately(self) -> tuple[Counts, Counts]:
        """Return what was counted in the last minute and the last hour; less where the process is younger."""
        now = self._count()
        return now - _counts_before(self._minute, MINUTE), now - _counts_before(self._hour, HOUR)


def _counts_before(notes: deque[tuple[float, Counts]], seconds: float) -> Counts:
    begin = clock.now() - seconds - NOTE_SECONDS / 2
    return next((counts for moment, counts in notes.copy() if moment >= begin), Counter())
