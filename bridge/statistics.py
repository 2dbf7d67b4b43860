"""What was carried since the start: the statistics line, and the line for what was published."""

from collections import Counter
from collections.abc import Mapping

from loguru import logger

from bridge import clock
from bridge.counted import counted

PUBLISHED_LINE_SECONDS = 1.0


class PublishedLine:
    """Says how many tasks were published: the first at once, then once a second what came in between.

    A line for every batch would cost more than its publication where tasks come one by one. From any thread.
    """

    def __init__(self) -> None:
        self._lock = clock.Lock()
        self._counts: Counter[str] = Counter()
        self._next_at = 0.0

    def add(self, counts: Mapping[str, int]) -> None:
        """Count tasks by system."""
        with self._lock:
            self._counts.update(counts)
        self.say_if_due()

    def say_if_due(self) -> None:
        """Log what was counted, unless the last line is younger than a second."""
        if self._counts and clock.now() >= self._next_at:
            self.say()

    def say(self) -> None:
        """Log what was counted and is not logged yet."""
        with self._lock:
            counts, self._counts = self._counts, Counter()
            self._next_at = clock.now() + PUBLISHED_LINE_SECONDS
        if counts:
            per_system = ", ".join(f"{system} {count}" for system, count in counts.items())
            logger.info("published {}: {}", counted(counts.total(), "task"), per_system)


class Statistics:
    """Counts since the start; may be used from any thread."""

    def __init__(self) -> None:
        self._lock = clock.Lock()
        self._started = clock.now()
        self.succeeded = 0
        self.failed = 0

    def add(self, *, succeeded: int = 0, failed: int = 0) -> None:
        """Count tasks taken from the engine: `succeeded` are confirmed in a queue, `failed` are not."""
        with self._lock:
            self.succeeded += succeeded
            self.failed += failed

    @property
    def uptime_seconds(self) -> float:
        """How long the process has run, with all the settings that it was given meanwhile."""
        return clock.now() - self._started

    def line(self) -> str:
        """Return the statistics line, whose Russian words are part of its contract."""
        uptime = int(self.uptime_seconds)
        with self._lock:
            taken = self.succeeded + self.failed
            return (
                f"Monitor - Uptime: {uptime}s | Обработано: {taken} | "
                f"Успешно: {self.succeeded} | Ошибки: {self.failed}"
            )
