"""Rows of the engine's replies: one that cannot be read is skipped, named in one line and counted."""

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from loguru import logger

from bridge import clock, metrics
from bridge.counted import counted

NAMED_AGAIN_SECONDS = 600.0
MOST_NAMED = 1000
UNREADABLE = (KeyError, TypeError, ValueError, AttributeError, OverflowError)

Built = TypeVar("Built")
_named_at: dict[tuple[str, str], float] = {}


def readable(call: str, build: Callable[[Any], Built], rows: Iterable[Any]) -> list[Built]:
    """Return what `build` makes of the rows of a reply to `call`, without those that it cannot read."""
    built, troubles = [], []
    for row in rows:
        try:
            built.append(build(row))
        except UNREADABLE as error:
            troubles.append(f"{_name_of(row)}: {_reason(error)}")
    if troubles:
        metrics.unreadable_rows(call).inc(len(troubles))
        _say(call, troubles)
    return built


def _name_of(row: Any) -> str:
    """Return which row it is, and nothing of its variables."""
    if not isinstance(row, dict):
        return f"a {type(row).__name__} instead of an object"
    names = [f"{name} {row[name]!r:.80}" for name in ("id", "topicName") if name in row]
    return " of ".join(names) or "a row without an id"


def _reason(error: Exception) -> str:
    return f"it has no {error.args[0]}" if isinstance(error, KeyError) else str(error)[:200]


def _say(call: str, troubles: Iterable[str]) -> None:
    """Name what was not named lately."""
    now = clock.now()
    fresh = [trouble for trouble in troubles if now >= _named_at.get((call, trouble), now)]
    if len(_named_at) > MOST_NAMED:
        _named_at.clear()
    _named_at.update({(call, trouble): now + NAMED_AGAIN_SECONDS for trouble in fresh})
    if fresh:
        skipped = ("row that cannot be read and is skipped", "rows that cannot be read and are skipped")
        rows = counted(len(fresh), *skipped)
        logger.warning("the engine's reply to {} has {}: {}", call, rows, "; ".join(fresh[:10]))
