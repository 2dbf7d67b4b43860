"""Moments as programs write them, and as the engine takes them: in its own spelling only."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone

# ISO 8601, and what programs write that is as plain: a space for the T, small letters, a zone's name in brackets.
ISO_MOMENT = re.compile(
    r"(?P<date>\d{4}-\d\d-\d\d|\d{8}|\d{4}-?W\d\d-?\d)"
    r"(?:[Tt ](?P<time>\d\d(?::?\d\d(?::?\d\d)?)?)(?:[.,](?P<fraction>\d+))?"
    r" ?(?P<zone>[Zz]|[+-]\d\d(?::?\d\d)?)?(?:\[[^\]]*\])?)?",
    re.ASCII,
)
ENGINES_OWN = re.compile(r"\d{4,}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d{4}", re.ASCII)


def moment_of(text: str) -> datetime | None:
    """Return the moment that a text of ISO 8601 says, to the millisecond below; None where it is none.

    It has no zone where the text has none. A leap second is the first one after it, as the engine has it.
    """
    found = ISO_MOMENT.fullmatch(text)
    if found is None:
        return None
    time, extra = _settled(re.sub(r":", "", found["time"] or "00"))
    try:
        moment = datetime.fromisoformat(f"{found['date']}T{time}") + extra
        return (moment + _fraction(found["fraction"], time)).replace(tzinfo=_zone(found["zone"]))
    except (ValueError, OverflowError):
        return None


def _settled(time: str) -> tuple[str, timedelta]:
    """Return a time that Python reads and what is to be added: for 24:00, and for a leap second."""
    if time[:2] == "24" and not time[2:].strip("0"):
        return f"00{time[2:]}", timedelta(days=1)
    if time[4:] == "60":
        return f"{time[:4]}59", timedelta(seconds=1)
    return time, timedelta()


def _fraction(digits: str | None, time: str) -> timedelta:
    """Return a fraction of seconds cut to milliseconds. Raises ValueError where there are no seconds."""
    if digits and len(time) < len("HHMMSS"):
        raise ValueError("a fraction of a minute or an hour")
    return timedelta(milliseconds=int(f"{digits or '0':0<3.3}"))


def _zone(text: str | None) -> timezone | None:
    if text is None:
        return None
    digits = re.sub(r"\D", "", text)
    offset = timedelta(hours=int(digits[:2] or 0), minutes=int(digits[2:] or 0))
    if int(digits[2:] or 0) > 59:
        raise ValueError("an hour has sixty minutes")
    return timezone(-offset if text.startswith("-") else offset)


@dataclass(frozen=True, slots=True)
class Spelling:
    """How an engine writes a moment: a format of `strftime`, a mark and the digits of a fraction, and the zone.

    `offset` is how it writes the zone: as `+0000`, `+00:00` or `Z`; empty where it leaves it out, which is `zone`.
    """

    form: str = "%Y-%m-%dT%H:%M:%S"
    mark: str = "."
    digits: int = 3
    offset: str = "+0000"
    zone: timezone | None = None

    def of(self, moment: datetime) -> str:
        """Return the spelling of a moment that has a zone. Raises OverflowError beyond the years 1 to 9999."""
        zone = self.zone or (UTC if self.offset == "Z" else None)
        there = moment.astimezone(zone) if zone else moment
        text = there.strftime(self.form.replace("%Y", f"{there.year:04}"))  # on some systems it is 1 to 4 digits
        fraction = f"{self.mark}{there.microsecond:06}000"[: self.digits + 1] if self.digits else ""
        return f"{text}{fraction}{self._offset(there)}"

    def _offset(self, moment: datetime) -> str:
        written = moment.strftime("%z")
        return {"+0000": written, "+00:00": f"{written[:3]}:{written[3:]}"}.get(self.offset, self.offset)

    def fits(self, text: str) -> bool:
        """Whether a text is spelled like that already; the engine takes it as it is."""
        if self == USUAL:
            return ENGINES_OWN.fullmatch(text) is not None
        moment = moment_of(text)
        try:
            moment = moment or datetime.strptime(text, self.form)
            return self.of(moment.replace(tzinfo=moment.tzinfo or self.zone)) == text
        except (ValueError, OverflowError):
            return False


USUAL = Spelling()
_ISO_SAMPLE = re.compile(
    r"\d{4}-\d\d-\d\d(?P<between>[T ])\d\d:\d\d:\d\d(?:(?P<mark>[.,])(?P<fraction>\d{1,9}))?"
    r"(?P<offset>Z|[+-]\d\d:?\d\d)?",
    re.ASCII,
)


def spelling_of(sample: str, form: str | None, zone: timezone | None) -> Spelling:
    """Return how an engine spells that wrote this: ISO 8601, or the `form` in which it was read."""
    found = _ISO_SAMPLE.fullmatch(sample)
    if found is None:
        return Spelling(form.removesuffix("%z").rstrip(), digits=0, offset="", zone=zone) if form else USUAL
    offset = found["offset"] or ""
    if offset not in ("", "Z"):
        offset = "+00:00" if ":" in offset else "+0000"
    fraction = found["fraction"] or ""
    between = found["between"]
    form = f"%Y-%m-%d{between}%H:%M:%S"
    return Spelling(form, found["mark"] or "", len(fraction), offset, None if offset else zone)
