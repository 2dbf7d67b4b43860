"""What a failed attempt costs where its system does not say: retries and pauses, of a system or of a model."""

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Self

from pydantic import TypeAdapter, ValidationError

MOST_RETRIES = 1000
LONGEST_PAUSE = timedelta(days=49)
_CYCLE = re.compile(r"(?:R(?P<retries>\d{1,9})/)?(?P<pauses>[^/]+)")
_duration: TypeAdapter[timedelta] = TypeAdapter(timedelta)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """The retries that a first failure leaves, and the pause after each failure in turn; the last one repeats."""

    retries: int = 3
    pauses_ms: tuple[int, ...] = (30_000,)

    def left(self, retries: int | None) -> int:
        """Return how many retries a task has after one more failure; `retries` is None before its first."""
        return self.retries if retries is None else max(0, retries - 1)

    def pause_ms(self, left: int) -> int:
        """Return the pause after a failure that leaves so many retries."""
        failed_before = max(0, self.retries - left)
        return self.pauses_ms[min(failed_before, len(self.pauses_ms) - 1)]

    @classmethod
    def of_cycle(cls, text: str) -> Self:
        """Read what a model says, as its jobs do in `failedJobRetryTimeCycle`: `R5/PT10M`, or `PT1M,PT5M,PT1H`.

        A list without a number has as many retries as pauses. Raises ValueError.
        """
        match = _CYCLE.fullmatch("".join(text.split()))
        if match is None:
            raise ValueError(f"{text!r:.80} is no cycle such as R5/PT10M or PT1M,PT5M,PT1H")
        pauses = tuple(_pause_ms(part) for part in match["pauses"].split(","))
        retries = len(pauses) if match["retries"] is None else int(match["retries"])
        if retries > MOST_RETRIES:
            raise ValueError(f"{text!r:.80} has more than {MOST_RETRIES} retries")
        return cls(retries, pauses)


USUAL = RetryPolicy()


def _pause_ms(text: str) -> int:
    try:
        pause = _duration.validate_python(text) if text.startswith("P") else None
    except ValidationError:
        pause = None
    if pause is None or not timedelta(0) <= pause <= LONGEST_PAUSE:
        raise ValueError(f"{text!r:.80} is no ISO 8601 duration up to 49 days, such as PT10M")
    return int(pause.total_seconds() * 1000)
