"""The logs: where they go, and what is held back of errors that repeat."""

import logging
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from loguru import logger

from bridge import clock

if TYPE_CHECKING:
    from loguru import Message, Record

TEXT_FORMAT = "{time:YYYY-MM-DD HH:mm:ss.SSS} | {level: <7} | {thread.name} | {message}"
ROTATE_AT = "50 MB"
KEPT_FILES = 5
REPEAT_SECONDS = 30.0
REPEATS_SHOWN = 10
HELD_BACK = "held_back"
RECENT_ERRORS = 8
WARNING = logger.level("WARNING").no
_HELD_BACK_BEFORE = re.compile(r" \(and \d+ more like it before\)$")
_NUMBERS = re.compile(r"\b(?:[0-9a-f]{8}-[0-9a-f-]{27}|\d+(?:\.\d+)?)\b")  # an id, or any other number


def configure_logs(directory: Path, level: str, log_format: str, *, file_name: str) -> None:
    """Log to stderr and to `<directory>/<file_name>.log` (all) and `<file_name>_errors.log` (ERROR and up).

    A folder that cannot be written is a warning: stderr has it all.
    """
    logging.getLogger("pika").setLevel(logging.CRITICAL)  # its errors reach us as exceptions
    logger.remove()
    as_json = log_format == "json"
    logger.configure(patcher=Repeats().note if as_json else _in_one_line_after(Repeats()))
    logger.add(_remember, level="ERROR", format="{message}")
    _add_sink(sys.stderr, level, as_json=as_json)
    try:
        directory.mkdir(mode=0o750, parents=True, exist_ok=True)
        _add_sink(directory / f"{file_name}.log", level, as_json=as_json)
        _add_sink(directory / f"{file_name}_errors.log", "ERROR", as_json=as_json)
    except OSError as error:
        logger.warning("LOG_DIR {}: {}; logging to stderr only", directory, error)


def _add_sink(sink: object, level: str, *, as_json: bool) -> None:
    rotation = (
        {"rotation": ROTATE_AT, "retention": KEPT_FILES, "encoding": "utf-8", "opener": _open_for_us}
        if isinstance(sink, Path)
        else {}
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


def _in_one_line_after(repeats: "Repeats") -> "Callable[[Record], None]":
    """Return what keeps a message in one line and from commanding a terminal: it may quote what others wrote."""

    def patch(record: "Record") -> None:
        repeats.note(record)
        if not record["message"].isprintable():
            record["message"] = "".join(map(_printable, record["message"]))

    return patch


def _printable(letter: str) -> str:
    return letter if letter.isprintable() else letter.encode("unicode_escape").decode()


def _open_for_us(path: str, flags: int) -> int:
    """Open a file that only its user and group may read: errors may quote what systems sent."""
    return os.open(path, flags, 0o640)


def _is_shown(record: "Record") -> bool:
    return not record["extra"].get(HELD_BACK)


@dataclass(frozen=True, slots=True)
class LoggedError:
    """An error as it was logged last, how often it was, and since when."""

    moment: datetime
    text: str
    count: int
    since: datetime


_recent_errors: dict[str, LoggedError] = {}


def recent_errors() -> list[LoggedError]:
    """Return the last errors that were logged, the latest first; those that differ in numbers only are one."""
    return list(reversed(_recent_errors.copy().values()))


def _remember(message: "Message") -> None:
    """Keep an error, also one that is held back in the log; the sink's own lock lets in one thread at a time."""
    moment, text = message.record["time"], _HELD_BACK_BEFORE.sub("", message.record["message"])
    kind = _NUMBERS.sub("#", text)
    known = _recent_errors.pop(kind, None)
    since, count = (known.since, known.count) if known else (moment, 0)
    _recent_errors[kind] = LoggedError(moment, text, count + 1, since)
    if len(_recent_errors) > RECENT_ERRORS:
        del _recent_errors[next(iter(_recent_errors))]


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
