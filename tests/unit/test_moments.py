"""A Date in an answer: whoever wrote it, the engine gets its own spelling of the same instant, or nothing."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.contract import Variables
from bridge.engine.dates import EngineDates
from bridge.errors import Unprocessable

examples = settings(derandomize=True, max_examples=300, deadline=None, database=None)
USUAL = "%Y-%m-%dT%H:%M:%S.%f%z"


class Server:
    def server_time(self) -> datetime | None:
        return None


def dates(*, writes: str = "2026-11-27T10:00:00.000+0000") -> EngineDates:
    """An engine whose dates look like that."""
    known = EngineDates(Server())
    known.complete([{"topicName": "t", "lockExpirationTime": writes}], {"t": 600_000})
    return known


def spelled(text: Any, known: EngineDates | None = None, kind: str = "Date") -> Any:
    variables: Variables = {"due": {"value": text, "type": kind}}
    return (known or dates()).spell(variables)["due"]["value"]


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("2026-05-17T09:02:58.387+0300", "2026-05-17T09:02:58.387+0300"),
        ("2026-05-17T09:02:58.387+03:00", "2026-05-17T09:02:58.387+0300"),
        ("2026-05-17T09:02:58.387Z", "2026-05-17T09:02:58.387+0000"),
        ("2026-05-17T09:02:58Z", "2026-05-17T09:02:58.000+0000"),
        ("2026-05-17T09:02:46.1118058Z", "2026-05-17T09:02:46.111+0000"),
        ("2026-05-17T09:02:46.9999999Z", "2026-05-17T09:02:46.999+0000"),
        ("2026-05-17T09:02:46.123456789+05:30", "2026-05-17T09:02:46.123+0530"),
        ("2026-05-17T09:02:46,5-03", "2026-05-17T09:02:46.500-0300"),
        ("2026-05-17t09:02:58z", "2026-05-17T09:02:58.000+0000"),
        ("2026-05-17 09:02:58+03:00", "2026-05-17T09:02:58.000+0300"),
        ("2026-05-17 09:02:58 +0300", "2026-05-17T09:02:58.000+0300"),
        ("2026-05-17T09:02Z", "2026-05-17T09:02:00.000+0000"),
        ("20260517T090258Z", "2026-05-17T09:02:58.000+0000"),
        ("2026-W20-7T09:02:58Z", "2026-05-17T09:02:58.000+0000"),
        ("2026-05-17T09:02:58+03:00[Europe/Moscow]", "2026-05-17T09:02:58.000+0300"),
        ("2026-05-17T24:00:00Z", "2026-05-18T00:00:00.000+0000"),
        ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00.000+0000"),
        ("2026-05-17T09:02:58-00:00", "2026-05-17T09:02:58.000+0000"),
        ("0001-01-01T00:00:00+14:00", "0001-01-01T00:00:00.000+1400"),
        ("9999-12-31T23:59:59.999-12:00", "9999-12-31T23:59:59.999-1200"),
    ],
)
def test_a_moment_of_iso_8601_is_spelled_as_the_engine_does(text: str, stored: str) -> None:
    assert spelled(text) == stored


@pytest.mark.parametrize(
    "text",
    ["2026-05-17T09:02:58.387", "2026-05-17T09:02:58", "2026-05-17 09:02", "2026-05-17", "20260517T090258"],
)
def test_a_moment_without_a_zone_is_refused_with_a_sentence_that_says_so(text: str) -> None:
    with pytest.raises(Unprocessable) as caught:
        spelled(text)

    assert caught.value.reason == "invalid"
    assert caught.value.detail.startswith(f"variable 'due' (Date, {len(text)} characters): the moment has no zone")


@pytest.mark.parametrize(
    "value",
    [
        "soon",
        "",
        None,
        1779000000000,
        "2026-02-30T00:00:00Z",
        "2026-05-17T25:00:00Z",
        "2026-05-17T09:02:58+24:00",
        "2026-05-17T09:02:58+03:60",
        "9999-12-31T24:00:00Z",
        "17.05.2026 09:02:58 +0300",
        "2026-05-17T09.5Z",
        "12026-05-17T09:02:58.387+0300",
        "٢٠٢٦-05-17T09:02:58Z",
    ],
)
def test_what_is_no_moment_of_iso_8601_or_the_engines_own_is_left_to_the_engine(value: Any) -> None:
    assert spelled(value) == value


@pytest.mark.parametrize(
    "text",
    ["2026-02-30T00:00:00.000+0000", "2026-13-01T00:00:00.000+0300", "2026-05-17T25:61:00.000+0000"],
)
def test_a_day_or_an_hour_that_does_not_exist_is_refused_where_the_engine_would_count_on(text: str) -> None:
    with pytest.raises(Unprocessable, match=r"variable 'due' .* there is no such moment"):
        spelled(text)


def test_only_a_date_is_touched() -> None:
    assert spelled("2026-05-17T09:02:58Z", kind="String") == "2026-05-17T09:02:58Z"
    assert spelled("2026-05-17T09:02:58Z", kind="date") == "2026-05-17T09:02:58.000+0000"


offsets = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
zones = st.sampled_from(["Europe/Moscow", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Pacific/Chatham"])
instants = st.datetimes(
    datetime(1583, 1, 2),  # before, the engine counts in another calendar
    datetime(9999, 12, 30),
    timezones=offsets | zones.map(ZoneInfo),
)


@examples
@given(instants, st.integers(0, 9), st.sampled_from(["T", "t", " "]), st.booleans())
def test_an_instant_that_goes_in_is_the_same_instant_at_the_engine(
    instant: datetime, digits: int, between: str, has_colon: bool
) -> None:
    seconds = int((instant.utcoffset() or timedelta()).total_seconds())
    instant = instant.astimezone(timezone(timedelta(minutes=seconds // 60)))  # an offset in text has whole minutes
    fraction = f".{instant.microsecond:06}000"[: digits + 1] if digits else ""
    offset = f"{instant:%z}" if not has_colon else f"{instant:%z}"[:3] + ":" + f"{instant:%z}"[3:]
    written = f"{instant.year:04}-{instant:%m-%d}{between}{instant:%H:%M:%S}{fraction}{offset}"

    stored = datetime.strptime(spelled(written), USUAL)

    given_milliseconds = int(f"{instant.microsecond:06}"[:3].ljust(3, "0")[: min(digits, 3)].ljust(3, "0"))
    assert stored == instant.replace(microsecond=1000 * given_milliseconds)


@examples
@given(st.integers(-7200, 7200), zones)
def test_the_hour_that_comes_twice_stays_the_one_it_was(seconds: int, zone: str) -> None:
    around_a_change = datetime(2026, 10, 25, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    written = around_a_change.astimezone(ZoneInfo(zone)).isoformat()

    assert datetime.strptime(spelled(written), USUAL) == around_a_change


@examples
@given(st.text(max_size=40))
def test_no_text_is_more_than_refused(text: str) -> None:
    try:
        stored = spelled(text)
    except Unprocessable:
        stored = text

    assert isinstance(stored, str)


PLUS_5 = timezone(timedelta(hours=5))


@pytest.mark.parametrize(
    ("form", "zone", "stored"),
    [
        ("%Y-%m-%dT%H:%M:%SZ", UTC, "2026-05-17T06:02:58Z"),
        ("%Y-%m-%dT%H:%M:%S.%f+00:00", UTC, "2026-05-17T09:02:58.387000+03:00"),
        ("%Y-%m-%d %H:%M:%S+0000", UTC, "2026-05-17 09:02:58+0300"),
        ("%Y-%m-%dT%H:%M:%S", PLUS_5, "2026-05-17T11:02:58"),
        ("%d.%m.%Y %H:%M:%S", PLUS_5, "17.05.2026 11:02:58"),
    ],
)
def test_an_engine_that_writes_dates_in_another_way_gets_them_in_that_way(
    form: str, zone: timezone, stored: str
) -> None:
    known = dates(writes=(datetime.now(zone) + timedelta(minutes=10)).strftime(form))

    assert spelled("2026-05-17T09:02:58.387+03:00", known) == stored
    assert spelled(stored, known) == stored
