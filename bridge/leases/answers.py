"""Answers that are with us, being applied or in a delay tier: their tasks must not be handed out again."""

import math
from typing import Any

from bridge import clock
from bridge.contract import NamedTask

MOST_WAITING, MOST_APPLIED = 100_000, 10_000  # so many answers are remembered; the oldest is forgotten first


class AnswersWithUs:
    """Knows which attempt of a task has its answer with us, be the task in flight or not; from any thread."""

    def __init__(self) -> None:
        self._until: dict[str, tuple[NamedTask, float]] = {}
        self._applied_at: dict[str, float] = {}
        self._owed: dict[str, None] = {}
        self._lock = clock.Lock()

    def note(self, answer: NamedTask, until: float) -> None:
        """Note that an answer is with us until that moment (monotonic) at the latest."""
        with self._lock:
            self._until.pop(answer.task_id, None)
            self._until[answer.task_id] = answer, until
            _keep_the_newest(self._until, MOST_WAITING)

    def forget(self, task_id: str, *, applied: bool = False) -> None:
        """Note that the answer is of no use any more, or `applied`, which ended its task."""
        with self._lock:
            self._until.pop(task_id, None)
            if applied:
                self._applied_at[task_id] = clock.now()
                self._owed.pop(task_id, None)
                _keep_the_newest(self._applied_at, MOST_APPLIED)

    def note_owed(self, task_id: str) -> None:
        """Note that a task was published and let go: its answer may come later, or be in hand unread."""
        with self._lock:
            self._owed[task_id] = None
            _keep_the_newest(self._owed, MOST_WAITING)

    def is_owed(self, task_id: str) -> bool:
        """Whether the task was published and let go before."""
        return task_id in self._owed

    def until(self, task_id: str, retries: int | None) -> float:
        """Return until when one of them answers the attempt that has so many retries left; 0.0 for none."""
        answer, until = self._until.get(task_id, (None, 0.0))
        return until if answer is not None and answer.is_of_attempt(retries) else 0.0

    def applied_at(self, task_id: str) -> float:
        """Return when an answer ended the task."""
        return self._applied_at.get(task_id, -math.inf)


def _keep_the_newest(known: dict[str, Any], most: int) -> None:
    if len(known) > most:
        del known[next(iter(known))]
