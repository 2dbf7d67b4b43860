"""Keys of answers that nobody knows: ignored, but said once for each system, and counted."""

from collections.abc import Iterable

from loguru import logger

from bridge import clock, metrics
from bridge.contract import Response, nearest

MOST_WARNINGS = 1000
LOOKS_PER_SECOND = 5
UNKNOWN_SYSTEM = "unknown"


class UnknownKeys:
    """Warns of each key once per system; may be used from any thread."""

    def __init__(self) -> None:
        self._warned: set[tuple[str, str]] = set()
        self._second = 0.0
        self._looks = 0

    def may_look(self) -> bool:
        """Whether it is worth a call to learn whose answer it is; now and then finds every system."""
        now = clock.now()
        if now - self._second > 1.0:
            self._second, self._looks = now, 0
        self._looks += 1
        return self._looks <= LOOKS_PER_SECOND

    def note(self, system: str, keys: Iterable[str]) -> None:
        """Count an answer with such keys, and warn of what is new."""
        metrics.unknown_keys(system).inc()
        if system == UNKNOWN_SYSTEM:
            return
        for key in keys:
            if (system, key[:80]) not in self._warned and len(self._warned) < MOST_WARNINGS:
                self._warned.add((system, key[:80]))
                self._warn(system, key[:80])

    def _warn(self, system: str, key: str) -> None:
        meant = nearest(key, Response.model_fields)
        hint = f"; did you mean {meant!r}?" if meant else ""
        logger.warning("answers of {} have a key {!r}, which is unknown and ignored{}", system, key, hint)
