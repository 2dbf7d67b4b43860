"""How long a poll waits at the engine, and how soon the next may follow."""

from collections.abc import Iterable

from loguru import logger

from bridge import clock
from bridge.engine import BackOffs

SHORTEST_MS = 250
PACE_SECONDS = 0.25  # between polls that come back at once with nothing: at most 5 requests a second, all in all
EARLY_IN_A_ROW = 3
CUT_SECONDS = 0.3  # what fails sooner was refused, and did not wait
CUT_SLACK_SECONDS = 2.0
SAFE_SHARE = 0.6  # of the time after which a poll was cut off
FIRST_CALM_SECONDS = 600.0
LONGEST_CALM_SECONDS = 86_400.0


class Polls:
    """Keeps polls as long as the settings say, and shorter where something is known that a poll would sleep over.

    It learns from each: a proxy may cut off what waits for long, and then the engine locks tasks for nobody; an
    engine, or what is before it, may not wait at all.
    """

    def __init__(self, longest_ms: int, back_offs: BackOffs) -> None:
        self._longest_ms = longest_ms
        self._back_offs = back_offs
        self._uncut_ms = longest_ms
        self._calm_seconds = FIRST_CALM_SECONDS
        self._longer_at = 0.0
        self._early = 0

    def wait_ms(self, lease_ms: Iterable[int], *, at_most_ms: float) -> int:
        """Return how long the next poll is to wait, which asks for tasks with these leases.

        What comes at the end of a poll must have most of its lease before it, and a pause that ends is not slept
        over: no event wakes the poll for it.
        """
        if clock.now() >= self._longer_at:
            self._uncut_ms = self._longest_ms
        quarter_ms = min(lease_ms, default=self._longest_ms) // 4
        pause_ms = 1000 * min(self._back_offs.next_in(), self._back_offs.shortest_lately())
        return int(min(at_most_ms, self._uncut_ms, quarter_ms, max(SHORTEST_MS, pause_ms)))

    def is_cut_off(self, wait_ms: int, seconds: float) -> bool:
        """Whether a poll that failed after that time may have been cut off while it waited."""
        return CUT_SECONDS <= seconds <= wait_ms / 1000 + CUT_SLACK_SECONDS

    def note_cut(self, seconds: float, reason: str) -> None:
        """Note that something before the engine ended a poll that waited: the next ones are shorter."""
        self._uncut_ms = max(SHORTEST_MS, min(self._uncut_ms, int(1000 * SAFE_SHARE * seconds)))
        self._longer_at = clock.now() + self._calm_seconds
        self._calm_seconds = min(2 * self._calm_seconds, LONGEST_CALM_SECONDS)
        logger.warning(
            "a poll was cut off after {:.1f} s by something between us and the engine; polls wait {} ms now: {}",
            seconds,
            self._uncut_ms,
            reason,
        )

    def pause_after(self, wait_ms: int, seconds: float, *, is_empty: bool) -> float:
        """Return the seconds to wait before the next poll, after one that took that long."""
        if not is_empty or not wait_ms:
            return 0.0
        if seconds >= wait_ms / 2000:
            self._note_patience()
            return 0.0
        self._early += 1
        if self._early == EARLY_IN_A_ROW:
            logger.warning(
                "polls come back at once with no task instead of waiting {} ms: the engine, or a proxy before it, "
                "ignores asyncResponseTimeout; it is asked {:g} times a second at most",
                wait_ms,
                1 / PACE_SECONDS,
            )
        return max(0.0, PACE_SECONDS - seconds)

    def _note_patience(self) -> None:
        if self._early >= EARLY_IN_A_ROW:
            logger.info("polls wait at the engine again")
        self._early = 0
