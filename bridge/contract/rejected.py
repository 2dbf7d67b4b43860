"""What the broker tells of a task message that it took out of a system's queue for another one (dead-lettered)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from bridge.contract.fields import TASK_ID
from bridge.contract.keys import NamedTask
from bridge.errors import Unprocessable

FIRST_REASON = "x-first-death-reason"
EXPIRED = "expired"
WORDS = {
    "rejected": "{} rejected the message of this task",
    "delivery_limit": "{} gave the message of this task back too often",
    "maxlen": "the queue of {} was full, and the message of this task was dropped from it",
}
OF_THE_BROKER = ("maxlen",)  # no system had the message: that costs no retry


@dataclass(frozen=True, slots=True)
class RejectedMessage:
    """The task whose message it was, and the broker's reason in RabbitMQ's own words."""

    task: NamedTask
    reason: str

    @classmethod
    def of(cls, headers: Mapping[str, Any], correlation_id: str | None) -> Self:
        """Read it from a message's properties. Raises Unprocessable (`invalid`) where it is no message of ours."""
        reason, task_id, attempt = (headers.get(name) for name in (FIRST_REASON, "task_id", "attempt"))
        task_id = task_id or correlation_id
        if not isinstance(task_id, str) or not TASK_ID.fullmatch(task_id) or reason not in (EXPIRED, *WORDS):
            raise Unprocessable("invalid", f"no task message that was taken out of a queue ({reason!r:.80})")
        return cls(NamedTask(task_id, attempt if isinstance(attempt, str) else None), str(reason))

    @property
    def has_expired(self) -> bool:
        """Whether nobody took it in its time: the end of its lock tells all that there is to tell."""
        return self.reason == EXPIRED

    @property
    def costs_retry(self) -> bool:
        """Whether its system had a hand in it."""
        return self.reason not in OF_THE_BROKER

    def told_of(self, system: str) -> str:
        """Return what happened, in a sentence for whoever looks at the task."""
        return WORDS[self.reason].format(system)
