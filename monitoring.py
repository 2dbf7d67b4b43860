"""What an operator sees: the logs and the statistics line."""

import logging
import sys
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from loguru import logger

import clock

if TYPE_CHECKING:
    from loguru import Message, Record

TEXT_FORMAT = "{time:YYYY-MM-DD HH:mm:ss.SSS} | {level: <7} | {thread.name} | {message}"
ROTATE_AT = "50 MB"
KEPT_FILES = 5
REPEAT_SECONDS = 30.0
REPEATS_SHOWN = 10
HELD_BACK = "held_back"
RECENT_ERRORS = 8
PUBLISHED_LINE_SECONDS = 1.0
WARNING = logger.level("WARNING").no


def configure_logs(directory: Path, level: str, log_format: str, *, file_name: str) -> None:
    """Log to stderr and to `<directory>/<file_name>.log` (all) and `<file_name>_errors.log` (ERROR and up).

    A folder that cannot be written is a warning: stderr has it all.
    """
    logging.getLogger("pika").setLevel(logging.CRITICAL)  # its errors reach us as exceptions
    logger.remove()
    logger.configure(patcher=Repeats().note)
    logger.add(_remember, level="ERROR", filter=_is_shown, format="{message}")
    as_json = log_format == "json"
    _add_sink(sys.stderr, level, as_json=as_json)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        _add_sink(directory / f"{file_name}.log", level, as_json=as_json)
        _add_sink(directory / f"{file_name}_errors.log", "ERROR", as_json=as_json)
    except OSError as error:
        logger.warning("LOG_DIR {}: {}; logging to stderr only", directory, error)


def _add_sink(sink: object, level: str, *, as_json: bool) -> None:
    rotation = (
        {"rotation": ROTATE_AT, "retention": KEPT_FILES, "encoding": "utf-8"} if isinstance(sink, Path) else {}
    )
    # diagnose would print the values of variables, which may be secrets
    logger.add(  # type: ignore[call-overload]
        sink,
        level=level,
        format=TEXT_FORMAT,
        filter=_is_shown,
        serialize=as_json,
        diagnose=False,
        **rotation,
    )


def _is_shown(record: "Record") -> bool:
    return not record["extra"].get(HELD_BACK)


@dataclass(frozen=True, slots=True)
class LoggedError:
    """A line of the error log."""

    moment: datetime
    text: str


_recent_errors: deque[LoggedError] = deque(maxlen=RECENT_ERRORS)


def recent_errors() -> list[LoggedError]:
    """Return the last errors that were logged, the latest first."""
    return list(reversed(_recent_errors.copy()))


def _remember(message: "Message") -> None:
    record = message.record
    _recent_errors.append(LoggedError(record["time"], record["message"]))


class Repeats:
    """Holds back warnings and errors of one place in the code that repeat too often, and counts them.

    Of each place ten in 30 s are shown; the first one after that says how many were not.
    """

    def __init__(self) -> None:
        self._lock = clock.Lock()
        self._seen: dict[tuple[str | None, int], tuple[float, int]] = {}  # place -> window's end, count in it

    def note(self, record: "Record") -> None:
        """Mark a record that is held back, or add to its message how many were."""
        if record["level"].no < WARNING:
            return
        place, now = (record["name"], record["line"]), clock.now()
        with self._lock:
            ends, count = self._seen.get(place, (0.0, 0))
            held_back = max(0, count - REPEATS_SHOWN)
            if now >= ends:
                ends, count = now + REPEAT_SECONDS, 0
            self._seen[place] = ends, count + 1
        if count >= REPEATS_SHOWN:
            record["extra"][HELD_BACK] = True
        elif count == 0 and held_back:
            record["message"] += f" (and {held_back} more like it before)"


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
            logger.info("published {} tasks: {}", counts.total(), per_system)


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

    def line(self) -> str:
        """Return the statistics line, whose Russian words are part of its contract."""
        uptime = int(clock.now() - self._started)
        with self._lock:
            taken = self.succeeded + self.failed
            return (
                f"Monitor - Uptime: {uptime}s | Обработано: {taken} | "
                f"Успешно: {self.succeeded} | Ошибки: {self.failed}"
            )
