"""The engine's dates, which a setting of its server may write without their zone, or in another order."""

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta, timezone
from itertools import product
from typing import Any, Protocol

from loguru import logger

from bridge.errors import Unavailable

NAMES = ("lockExpirationTime", "createTime")
# What is not ISO 8601. Where two of them fit, the one nearest to now is meant: all our dates are about now.
ORDERS = ("%d.%m.%Y", "%Y/%m/%d", "%d/%m/%Y", "%m/%d/%Y")
FORMATS = [f"{order}{between}%H:%M:%S{zone}" for order, between, zone in product(ORDERS, " T", ("", "%z", " %z"))]
FRACTION = re.compile(r"(?<=:\d\d)[.,]\d{1,9}")
QUARTER = timedelta(minutes=15)  # zones differ by quarters of an hour
OFFSETS = [quarters * QUARTER for quarters in sorted(range(-14 * 4, 14 * 4 + 1), key=abs)]
SLACK = timedelta(minutes=5)  # of the clocks, and of a fetch that waited
LONGEST_LOCK = timedelta(minutes=10)


class Server(Protocol):
    """Where the engine's clock can be asked for."""

    def server_time(self) -> datetime | None:
        """Return it to the second, None where nobody tells. Raises Unavailable."""


class EngineDates:
    """Gives the dates of the engine's rows their zone, where they have none.

    The zone is learned from the ends of locks: one that we have just taken ends after the time that we asked for,
    and another that is held ends soon. For all threads: two that learn at a time learn the same.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._zone: timezone | None = None
        self._ahead: timedelta | None = None  # of the engine's clock, before ours

    def complete(self, rows: Iterable[Any], lock_ms: Mapping[str, int] | None = None) -> None:
        """Write the dates of rows as ISO 8601 with a zone, where they are not. What is no date stays as it is.

        `lock_ms`: for how long they were just locked, by topic.
        """
        for row in rows:
            text = row.get("lockExpirationTime") if isinstance(row, dict) else None
            if not isinstance(text, str) or not (readings := _readings(text)):
                continue
            if readings[0].tzinfo and _is_iso(text):
                return  # as the engine writes one, it writes all
            if readings[0].tzinfo is None:
                self._learn(text, timedelta(milliseconds=(lock_ms or {}).get(str(row.get("topicName")), 0)))
            self._write(row)

    def _write(self, row: dict[str, Any]) -> None:
        for name in NAMES:
            if isinstance(text := row.get(name), str) and (readings := _readings(text)):
                row[name] = _with_zone(self._nearest(readings), self._zone).isoformat()

    def _learn(self, text: str, asked: timedelta) -> None:
        """Learn the zone in which a lock ends when it should; only one that was just taken can change it."""
        if self._zone is not None and not asked:
            return
        now, moment = self._now(), self._nearest(_readings(text))
        earliest, latest = (now + asked, now + asked) if asked else (now, now + LONGEST_LOCK)
        local = datetime.now().astimezone().utcoffset() or timedelta()
        known = local if self._zone is None else self._zone.utcoffset(None)
        for offset in (known, *OFFSETS):
            zone = timezone(offset)
            if earliest - SLACK <= moment.replace(tzinfo=zone) <= latest + SLACK:
                if zone != self._zone:
                    logger.warning("the engine's dates have no zone, such as {!r}: {} is taken", text[:40], zone)
                self._zone = zone
                return

    def _nearest(self, readings: list[datetime]) -> datetime:
        now = self._now()
        return min(readings, key=lambda reading: abs(_with_zone(reading, UTC) - now))

    def _now(self) -> datetime:
        """Return the time by the engine's clock, which is asked for once."""
        if self._ahead is None:
            self._ahead = timedelta()
            try:
                theirs = self._server.server_time()
            except Unavailable:
                theirs = None
            if theirs is not None:
                self._ahead = theirs - datetime.now(UTC)
        return datetime.now(UTC) + self._ahead


def _with_zone(moment: datetime, zone: timezone | None) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=zone)


def _is_iso(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False


def _readings(text: str) -> list[datetime]:
    """Return what a date may mean: one of ISO 8601 only that, another all that fits; none where it is no date."""
    try:
        return [datetime.fromisoformat(text)]
    except ValueError:
        found = []
        for form in FORMATS:
            try:
                found.append(datetime.strptime(FRACTION.sub("", text), form))
            except ValueError:
                continue
        return found
