"""Holds the answers back while the engine is unavailable, and lets them in again little by little."""

import threading
from collections.abc import Callable

from loguru import logger

from bridge import clock
from bridge.backoff import Backoff
from bridge.errors import Unavailable
from bridge.texts import Said

LONGEST_PAUSE_SECONDS = 5.0  # answers flow again soon after the engine is back
REFUSED_IN_A_ROW = 3  # fewer may be refused for what they hold
REFUSED_PAUSE_SECONDS = 1.0


class CircuitBreaker:
    """Lets at most `width` threads call the engine at once; none while it is unavailable, then one first.

    `probe` asks the engine for a sign of life and raises Unavailable; `on_close` and `on_open` tell the consumer.
    """

    def __init__(
        self,
        probe: Callable[[], object],
        stopping: threading.Event,
        *,
        width: int,
        on_close: Callable[[], None],
        on_open: Callable[[], None],
    ) -> None:
        self._probe = probe
        self._stopping = stopping
        self._full_width = width
        self._width = width
        self._inside = 0
        self._is_open = True
        self._refused: set[str] = set()
        self._not_before = 0.0
        self.trouble = ""
        self._changed = clock.Condition()
        self._on_close = on_close
        self._on_open = on_open

    @property
    def is_stopping(self) -> bool:
        """Whether nothing more should begin."""
        return self._stopping.is_set()

    def pause(self, seconds: float) -> None:
        """Wait between two calls of the same response; a stop ends that."""
        self._stopping.wait(seconds)

    def enter(self) -> bool:
        """Wait for a place inside and take it; False when stopping."""
        with self._changed:
            while not self._may_enter():
                if self._stopping.is_set():
                    return False
                self._changed.wait(0.5)
            self._inside += 1
            return not self._stopping.is_set()

    def _may_enter(self) -> bool:
        return self._is_open and self._inside < self._width and clock.now() >= self._not_before

    def leave(self, *, served: bool) -> None:
        """Give the place back; `served` (the engine did answer) widens a gate that has just opened again."""
        with self._changed:
            self._inside -= 1
            if served:
                self._forget_refusals()
                self._width = min(self._width + 1, self._full_width)
            self._changed.notify(2)

    def note_refusal(self, key: str, reason: str, wait_seconds: float) -> None:
        """Note that a call got no word of the engine's, though the engine is reachable: a gateway keeps it back.

        Where that was asked for (`wait_seconds`), or where one `key` after the other is refused, nobody enters for
        a while, and after that first one: what the others would be told is known.
        """
        with self._changed:
            self._refused.add(key)
            if not wait_seconds and len(self._refused) < REFUSED_IN_A_ROW:
                return
            is_news = not self.trouble
            self.trouble = reason
            self._width = 1
            self._not_before = clock.now() + max(wait_seconds, REFUSED_PAUSE_SECONDS)
        if is_news:
            logger.warning("something before the engine refuses answers, they wait: {}", reason)

    def _forget_refusals(self) -> None:
        self._refused.clear()
        if self._not_before and self._is_open:
            self._not_before, self.trouble = 0.0, ""
            logger.info("the engine takes answers again")

    def engine_answers(self, reason: str) -> bool:
        """Ask the engine itself, after a call got no answer; while it is unavailable, wait here until it is back.

        Returns True where the engine answers, so that the trouble is the call's own; False after an outage.
        Call it outside the gate.
        """
        try:
            self._probe()
        except Unavailable as error:
            if self._close(Said("{reason}; {error}", reason=reason, error=str(error)), error.log_level):
                self._wait_for_engine()
            return False
        return True

    def _close(self, reason: str, log_level: str) -> bool:
        """Close the gate; False where another thread did so before and waits for the engine already."""
        with self._changed:
            if not self._is_open:
                return False
            self._is_open = False
            self.trouble = reason
            self._width = 1
        logger.log(log_level, "the engine is unavailable, answers wait in their queue: {}", reason)
        self._on_close()
        return True

    def _wait_for_engine(self) -> None:
        backoff, wait_seconds = Backoff(longest=LONGEST_PAUSE_SECONDS), 0.0
        while not self._stopping.wait(max(backoff.pause(), wait_seconds)):
            try:
                self._probe()
            except Unavailable as error:
                wait_seconds = error.wait_seconds
                logger.log(error.log_level, "the engine is still unavailable: {}", error)
                continue
            logger.info("the engine is back")
            with self._changed:
                self._is_open = True
                self.trouble = ""
                self._changed.notify_all()
            self._on_open()
            return
