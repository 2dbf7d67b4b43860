"""Growing, jittered pauses between attempts."""

import random


class Backoff:
    """Pauses in seconds that double from `first` to `longest`, each shortened at random by up to half.

    The jitter keeps many workers from knocking at a returning server in step.
    """

    def __init__(self, first: float = 0.5, longest: float = 30.0) -> None:
        self._first = first
        self._longest = longest
        self._next = first

    def pause(self) -> float:
        """Return the seconds to wait before the next attempt; the following pause is twice as long."""
        seconds = self._next
        self._next = min(self._next * 2, self._longest)
        return seconds * random.uniform(0.5, 1.0)  # noqa: S311  # no secret

    def reset(self) -> None:
        """Start again with the shortest pause: the last attempt succeeded."""
        self._next = self._first
