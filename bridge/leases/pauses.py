"""The pauses after failures that were reported here: nothing may turn one into a lock."""

from dataclasses import dataclass
from datetime import datetime

from bridge import clock
from bridge.contract import TaskState, attempt_of

FEW = 1_000  # entries that cost nothing worth a look through all of them
TOLERANCE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class _Begun:
    """A failure that was sent: how the task stood before, and the retries and the message that it sets."""

    before: TaskState
    retries: int
    message: str


class Pauses:
    """Knows which tasks pause, also where the reply to the failure was lost. From any thread."""

    def __init__(self) -> None:
        self._begun: dict[str, _Begun] = {}
        self._ends: dict[str, float] = {}
        self._failed_locks: dict[str, datetime | None] = {}
        self._most = FEW

    def begin(self, before: TaskState, retries: int, message: str) -> None:
        """Note that a failure is about to be reported, which sets these retries and this message."""
        self._begun[before.id] = _Begun(before, retries, message)

    def has_begun(self, state: TaskState, attempt: str | None) -> bool:
        """Whether a failure of that attempt, whose reply was lost, has had its effect, as the task stands now.

        `attempt` is None where the system does not say.
        """
        begun = self._begun.get(state.id)
        if begun is None or state.retries != begun.retries:
            return False
        if attempt not in (None, attempt_of(begun.before.retries)):
            return False
        if begun.before.retries != begun.retries:
            return True
        is_moved = state.lock_expires_at != begun.before.lock_expires_at
        return is_moved and state.error_message == begun.message

    def note(self, task_id: str, pause_ms: int, lock_expires_at: datetime | None = None) -> None:
        """Note that a failure has had its effect on the lock that would have ended then."""
        self._begun.pop(task_id, None)
        if len(self._ends) >= self._most:
            self._forget_ended()
        self._ends[task_id] = clock.now() + pause_ms / 1000
        self._failed_locks[task_id] = lock_expires_at

    def _forget_ended(self) -> None:
        """Forget the pauses that are over; look through all again once there are twice as many."""
        since = clock.now() - TOLERANCE_SECONDS
        self._ends = {task: end for task, end in self._ends.items() if end > since}
        self._failed_locks = {task: self._failed_locks.get(task) for task in self._ends}
        self._most = max(FEW, 2 * len(self._ends))

    def has_failed(self, task_id: str, lock_expires_at: datetime) -> bool:
        """Whether a failure was applied under just this lock."""
        return self._failed_locks.get(task_id) == lock_expires_at

    def forget(self, task_id: str) -> None:
        """Note that a failure was refused."""
        self._begun.pop(task_id, None)

    def goes_on(self, task_id: str) -> bool:
        """Whether the task pauses now."""
        return clock.now() < self._ends.get(task_id, 0.0) + TOLERANCE_SECONDS
