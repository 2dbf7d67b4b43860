"""Dates as a server may be set to write them: each is the same moment afterwards."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from bridge.engine.dates import EngineDates
from bridge.errors import Unavailable

LOCK_MS = 60_000
FORMATS = [
    "%Y-%m-%dT%H:%M:%S.%f",
    "%Y-%m-%dT%H:%M:%S",
    "%Y-%m-%d %H:%M:%S",
    "%d.%m.%Y %H:%M:%S",
    "%d/%m/%Y %H:%M:%S",
    "%m/%d/%Y %H:%M:%S",
    "%Y/%m/%d %H:%M:%S.%f",
]


class Server:
    """An engine whose clock is `ahead` of ours."""

    def __init__(self, ahead: timedelta | None = timedelta()) -> None:
        self.ahead = ahead
        self.asked = 0

    def server_time(self) -> datetime | None:
        self.asked += 1
        if self.ahead is None:
            raise Unavailable("nobody tells")
        return datetime.now(UTC) + self.ahead


def row(ends: datetime, form: str, zone: timezone, topic: str = "t") -> dict[str, str]:
    local = ends.astimezone(zone)
    return {
        "topicName": topic,
        "lockExpirationTime": local.strftime(form),
        "createTime": (local - timedelta(seconds=90)).strftime(form),
    }


def seconds_off(given: str, moment: datetime) -> float:
    return abs((datetime.fromisoformat(given) - moment).total_seconds())


@pytest.mark.parametrize("hours", [-9.5, -3, 0, 3, 5.75, 13])
@pytest.mark.parametrize("form", FORMATS)
def test_a_date_without_zone_is_the_moment_that_the_engine_means(
    form: str, hours: float, logged: list[str]
) -> None:
    zone = timezone(timedelta(hours=hours))
    ends = datetime.now(UTC) + timedelta(milliseconds=LOCK_MS)
    dates = EngineDates(Server())
    rows = [row(ends, form, zone), row(ends, form, zone)]

    dates.complete(rows, {"t": LOCK_MS})

    assert [seconds_off(each["lockExpirationTime"], ends) < 2 for each in rows] == [True, True]
    assert seconds_off(rows[0]["createTime"], ends - timedelta(seconds=90)) < 2
    assert len(logged) == 1
    assert "no zone" in logged[0]


@pytest.mark.parametrize("form", ["%d.%m.%Y %H:%M:%S%z", "%d/%m/%Y %H:%M:%S %z", "%Y-%m-%d %H:%M:%S%z"])
def test_a_date_with_zone_in_another_order_is_read(form: str, logged: list[str]) -> None:
    ends = datetime.now(UTC) + timedelta(seconds=60)
    one = row(ends, form, timezone(timedelta(hours=3)))

    EngineDates(Server()).complete([one], {"t": LOCK_MS})

    assert seconds_off(one["lockExpirationTime"], ends) < 2
    assert logged == []


def test_the_zone_is_learned_though_the_clocks_are_hours_apart() -> None:
    server = Server(timedelta(hours=2))
    ends = datetime.now(UTC) + timedelta(hours=2, milliseconds=LOCK_MS)
    one = row(ends, FORMATS[0], timezone(timedelta(hours=3)))

    EngineDates(server).complete([one], {"t": LOCK_MS})

    assert seconds_off(one["lockExpirationTime"], ends) < 2


def test_another_zone_after_a_change_to_summer_time_is_learned_by_the_next_fetch(logged: list[str]) -> None:
    dates = EngineDates(Server())
    for hours in (1, 1, 2):
        ends = datetime.now(UTC) + timedelta(milliseconds=LOCK_MS)
        one = row(ends, FORMATS[1], timezone(timedelta(hours=hours)))
        dates.complete([one], {"t": LOCK_MS})
        assert seconds_off(one["lockExpirationTime"], ends) < 2

    assert len(logged) == 2


def test_a_task_that_is_read_before_any_fetch_tells_the_zone_too() -> None:
    ends = datetime.now(UTC) + timedelta(minutes=7)
    one = row(ends, FORMATS[0], timezone(timedelta(hours=-7)))

    EngineDates(Server(None)).complete([one])

    assert seconds_off(one["lockExpirationTime"], ends) < 2


def test_rows_with_a_zone_and_what_is_no_date_stay_as_they_are_and_nobody_is_asked() -> None:
    server = Server()
    rows = [
        None,
        "odd",
        {"lockExpirationTime": None},
        {"lockExpirationTime": "soon", "topicName": "t"},
        {"lockExpirationTime": "287453-02-08T11:42:07.991"},
        {"lockExpirationTime": 5},
        {"lockExpirationTime": "2026-11-26T21:04:19.000+0000", "createTime": "never"},
    ]
    before = repr(rows)

    EngineDates(server).complete(rows, {"t": LOCK_MS})

    assert (repr(rows), server.asked) == (before, 0)
