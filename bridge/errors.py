"""The four errors of this project; library errors are translated into them where they occur.

WorkerError
├── SettingsError   the operator must act: a setting, the routing or the broker's topology is wrong
├── Unavailable     wait: the same call may succeed later
├── TaskGone        drop: the engine does not know this task any more
└── Unprocessable   set aside: this message or task can never succeed as it is
"""

from collections.abc import Mapping
from typing import Literal, get_args

# Why a message or a task can never succeed as it is; in the error queue it is the header `x-error-reason`.
Reason = Literal["invalid", "too_large", "forged", "foreign_lock", "rejected_by_engine", "retries_exhausted"]
REASONS: tuple[Reason, ...] = get_args(Reason)


class WorkerError(Exception):
    """The base of all errors that this project raises on purpose."""


class SettingsError(WorkerError):
    """The operator must act. Its text names the setting, what was found and what is wanted."""


class WrongQueue(SettingsError):
    """Single queues are missing or differ; `troubles` says what is wrong by the queue's name.

    Such a queue of a system concerns its system alone; `ours` says whether one of our own is among them.
    """

    def __init__(self, troubles: Mapping[str, str], *, ours: bool) -> None:
        super().__init__("; ".join(troubles.values()))
        self.troubles = troubles
        self.ours = ours


class Unavailable(WorkerError):
    """The engine or the broker cannot serve now; the same call may succeed later.

    `wait_seconds`: for so long the server asked to be left alone (`Retry-After`).
    """

    log_level = "WARNING"  # we will try again

    def __init__(self, text: str = "", *, wait_seconds: float = 0.0) -> None:
        super().__init__(text)
        self.wait_seconds = wait_seconds


class Unanswered(Unavailable):
    """A request went out and no reply came within `seconds`: the server may still be at work on it."""

    def __init__(self, text: str, seconds: float, *, timed_out: bool) -> None:
        super().__init__(text)
        self.seconds = seconds
        self.timed_out = timed_out


class LoginRefused(Unavailable):
    """A server refuses our login; the engine locks an account that asks often (`bridge/engine/login.py`)."""

    log_level = "ERROR"  # trying again helps nobody until a person looks


class NotGivenOut(Unavailable):
    """The engine is reachable, and fails to give out the tasks of a fetch: one of them cannot be read there."""


class RightMissing(Unavailable):
    """The broker refuses us an act that we need a permission for; its text names the permission."""


class TaskGone(WorkerError):
    """The engine does not know the task: it was completed or cancelled before."""


class Unprocessable(WorkerError):
    """A message or task that can never succeed as it is."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
