"""What answers carry in vain, or hardly mean: unknown keys, unused fields, short locks. Said once per system."""

from collections.abc import Iterable

from loguru import logger

from bridge import clock, metrics
from bridge.contract import Response, nearest

MOST_WARNINGS = 1000
LOOKS_PER_SECOND = 5
UNKNOWN_SYSTEM = "unknown"


class InVain:
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
            if self._is_new(system, key[:80]):
                self._warn(system, key[:80])

    def note_unused(self, system: str, response: Response) -> None:
        """Warn once per system and type of answer of fields that it cannot carry to the engine."""
        for field in response.unused_fields:
            if self._is_new(system, f"{response.response_type}.{field}"):
                kind = response.response_type
                logger.warning(
                    "answers of {} have {} with {}, which it cannot carry: ignored", system, field, kind
                )

    def note_short_lock(self, system: str, lock_ms: int) -> None:
        """Warn once per system of a lock that hardly lasts until the next sign of life."""
        if self._is_new(system, "a short lock"):
            logger.warning(
                "an extend_lock of {} asks for a lock of {} ms; lock_duration counts milliseconds: when it ends, "
                "the task may come again while it is worked on",
                system,
                lock_ms,
            )

    def note_dropped(self, system: str) -> None:
        """Warn once per system of variables of a failure that the engine is too old for."""
        if self._is_new(system, "variables of a failure"):
            logger.warning(
                "the engine is older than 7.15: variables of a failure are left out, such as {}'s", system
            )

    def _is_new(self, system: str, what: str) -> bool:
        is_new = (system, what) not in self._warned and len(self._warned) < MOST_WARNINGS
        if is_new:
            self._warned.add((system, what))
        return is_new

    def _warn(self, system: str, key: str) -> None:
        meant = nearest(key, Response.model_fields)
        hint = f"; did you mean {meant!r}?" if meant else ""
        logger.warning("answers of {} have a key {!r}, which is unknown and ignored{}", system, key, hint)
