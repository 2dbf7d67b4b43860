"""What was counted in the last minute and the last hour, how full the queues were, and what changed."""

import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise

from bridge import clock, metrics
from bridge.observe.status.changes import HOUR, Change, Changes
from bridge.observe.status.snapshot import Snapshot

MINUTE = 60.0
NOTE_SECONDS = 5.0
Counts = Counter[tuple[str, str]]


def count_all() -> Counts:
    """Return what was counted so far: by what happened, such as `fetched`, and by the system or the reason."""
    counts: Counts = Counter()
    for name, labels, value in metrics.totals():
        if value:
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
        case "rejected", [system, "maxlen"]:  # no fault of the system's
            return "dropped", system
        case _:
            return name, labels[0]


@dataclass(frozen=True, slots=True)
class Note:
    """What was counted up to a moment, and how many messages waited then, by system, as far as known."""

    moment: float
    counts: Counts
    waiting: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Course:
    """How a system fared in each minute of the last hour, the latest last: answers, and messages that waited."""

    answered: tuple[int, ...]
    waiting: tuple[int | None, ...]


class History:
    """Remembers the counts: each 5 s for a minute, each minute for an hour."""

    def __init__(
        self, count: Callable[[], Counts], snapshot: Callable[[], Snapshot], stopping: threading.Event
    ) -> None:
        self._count = count
        self._snapshot = snapshot
        self._stopping = stopping
        self._minute: deque[Note] = deque(maxlen=int(MINUTE / NOTE_SECONDS) + 1)
        self._hour: deque[Note] = deque(maxlen=int(HOUR / MINUTE) + 1)
        self._changes = Changes(snapshot(), _reconnects(count()))
        self.note()

    def run(self) -> None:
        """Take note every few seconds until stopping."""
        while not self._stopping.wait(NOTE_SECONDS):
            self.note()

    def note(self) -> None:
        """Remember the counts of now, and what has changed."""
        now, counts = self._snapshot(), self._count()
        waiting = {system.name: system.queue.ready for system in now.systems if system.queue.is_known}
        note = Note(clock.now(), counts, waiting)
        self._minute.append(note)
        if not self._hour or note.moment - self._hour[-1].moment >= MINUTE:
            self._hour.append(note)
        self._changes.note(now, _reconnects(counts))

    def lately(self) -> tuple[Counts, Counts]:
        """Return what was counted in the last minute and the last hour; less where the process is younger."""
        now = self._count()
        return now - _counts_before(self._minute, MINUTE), now - _counts_before(self._hour, HOUR)

    def course(self, system: str) -> Course:
        """Return the last hour of a system; shorter where the process is younger."""
        notes = self._hour.copy()
        answered = [note.counts["answered", system] for note in notes]
        return Course(
            tuple(later - earlier for earlier, later in pairwise(answered)),
            tuple(note.waiting.get(system) for note in list(notes)[1:]),
        )

    def changes(self) -> list[Change]:
        """Return what changed in the last hour, the latest first."""
        return self._changes.lately()


def _reconnects(counts: Counts) -> dict[str, int]:
    return {kind: count for (what, kind), count in counts.items() if what == "reconnects"}


def _counts_before(notes: deque[Note], seconds: float) -> Counts:
    """Return the counts of so long ago, or of the last note where a process that stood still took none since."""
    begin, known = clock.now() - seconds - NOTE_SECONDS / 2, notes.copy()
    return next((note.counts for note in known if note.moment >= begin), known[-1].counts)
