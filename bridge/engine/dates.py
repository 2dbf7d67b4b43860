"""The engine's dates, which a setting of its server may write without their zone, or in another order.

As it writes them it reads them, and nothing else.
"""

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta, timezone
from itertools import product
from typing import Any, Protocol

from loguru import logger

from bridge.contract import Variables
from bridge.engine.moments import ENGINES_OWN, USUAL, moment_of, spelling_of
from bridge.errors import Unavailable, Unprocessable

NAMES = ("lockExpirationTime", "createTime")
# What is not ISO 8601. Where two of them fit, the one nearest to now is meant: all our dates are about now.
ORDERS = ("%d.%m.%Y", "%Y/%m/%d", "%d/%m/%Y", "%m/%d/%Y")
FORMATS = [f"{order}{between}%H:%M:%S{zone}" for order, between, zone in product(ORDERS, " T", ("", "%z", " %z"))]
FRACTION = re.compile(r"(?<=:\d\d)[.,]\d{1,9}")
QUARTER = timedelta(minutes=15)  # zones differ by quarters of an hour
OFFSETS = [quarters * QUARTER for quarters in sorted(range(-14 * 4, 14 * 4 + 1), key=abs)]
SLACK = timedelta(minutes=5)  # of the clocks, and of a fetch that waited
LONGEST_LOCK = timedelta(minutes=10)
NO_ZONE = "the moment has no zone, and which instant is meant cannot be known; end it with Z or with +03:00"


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
        self._spelling = USUAL

    def complete(self, rows: Iterable[Any], lock_ms: Mapping[str, int] | None = None) -> None:
        """Write the dates of rows as ISO 8601 with a zone, where they are not. What is no date stays as it is.

        `lock_ms`: for how long they were just locked, by topic.
        """
        for row in rows:
            text = row.get("lockExpirationTime") if isinstance(row, dict) else None
            if not isinstance(text, str) or not (readings := _readings(text)):
                continue
            if readings[0].tzinfo and _is_iso(text):
                self._note_spelling(text)
                return  # as the engine writes one, it writes all
            if readings[0].tzinfo is None:
                self._learn(text, timedelta(milliseconds=(lock_ms or {}).get(str(row.get("topicName")), 0)))
            self._note_spelling(text)
            self._write(row)

    def spell(self, variables: Variables) -> Variables:
        """Return the variables with each Date in the engine's own spelling of the same instant.

        What is no moment of ISO 8601 stays as it is, for the engine to judge. Raises Unprocessable for a moment
        without its zone, and for a day or an hour that does not exist, such as the 30th of February: the engine
        counts on from them.
        """
        return {name: self._spelled(name, envelope) for name, envelope in variables.items()}

    def _spelled(self, name: str, envelope: dict[str, Any]) -> dict[str, Any]:
        text = envelope.get("value")
        if envelope.get("type") not in ("Date", "date") or not isinstance(text, str):
            return envelope
        moment = moment_of(text)
        if self._spelling.fits(text) or moment is None:
            if moment is None and ENGINES_OWN.fullmatch(text) and text[4] == "-":  # a year that Python knows
                raise _refused(name, text, "there is no such moment, and the engine would store another one")
            return envelope
        if moment.tzinfo is None:
            raise _refused(name, text, NO_ZONE)
        try:
            return {**envelope, "value": self._spelling.of(moment)}
        except OverflowError:  # in the engine's zone it is before the year 1 or after 9999
            return envelope

    def _note_spelling(self, text: str) -> None:
        """Learn from a date of the engine's own how it wants dates."""
        if self._spelling.zone != self._zone or not self._spelling.fits(text):
            nearest = min(_forms(text), key=lambda form: abs(self._away(text, form)), default=None)
            self._spelling = spelling_of(text, nearest, self._zone)

    def _away(self, text: str, form: str) -> timedelta:
        moment = datetime.strptime(FRACTION.sub("", text), form)
        return _with_zone(moment, self._zone or UTC) - self._now()

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


def _refused(name: str, text: str, why: str) -> Unprocessable:
    return Unprocessable("invalid", f"variable {name!r:.80} (Date, {len(text)} characters): {why}")


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
        return [datetime.strptime(FRACTION.sub("", text), form) for form in _forms(text)]


def _forms(text: str) -> list[str]:
    """Return the forms that a date fits which is not of ISO 8601."""
    return [form for form in FORMATS if _has_form(FRACTION.sub("", text), form)]


def _has_form(text: str, form: str) -> bool:
    try:
        datetime.strptime(text, form)
    except ValueError:
        return False
    return True
