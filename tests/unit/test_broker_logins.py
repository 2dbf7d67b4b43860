"""Logins at the broker: one connection tries for all until it works, and after a refusal with growing pauses."""

import threading

import pytest

from bridge import clock
from bridge.broker.logins import Logins
from bridge.errors import LoginRefused, Unavailable

SECONDS = 5.0


def refuse(logins: Logins) -> float:
    """Have the broker refuse a login; return for how long nobody is to try again."""
    with pytest.raises(LoginRefused) as caught, logins.attempt():
        raise LoginRefused("wrong password")
    return caught.value.wait_seconds


def test_after_a_refusal_nobody_tries_until_its_pause_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(clock, "now", lambda: now)
    logins, tried = Logins(), []
    pause = refuse(logins)

    with pytest.raises(LoginRefused, match="wrong password") as caught, logins.attempt():
        tried.append("too early")
    assert caught.value.wait_seconds == pause

    now += pause
    with logins.attempt():
        tried.append("in time")
    assert tried == ["in time"]


def test_the_pauses_grow_until_a_login_works(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(clock, "now", lambda: now)
    monkeypatch.setattr("random.uniform", lambda _, most: most)
    logins, pauses = Logins(), []
    for _ in range(9):
        pauses.append(refuse(logins))
        now += pauses[-1]
    with logins.attempt():
        pass

    assert pauses == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]
    assert refuse(logins) == 0.5


def test_a_broker_that_is_away_is_no_refusal() -> None:
    logins = Logins()

    with pytest.raises(Unavailable, match="away"), logins.attempt():
        raise Unavailable("away")

    with logins.attempt():
        pass


def test_until_a_login_has_worked_one_tries_at_a_time_and_then_all() -> None:
    logins, others_try = Logins(), threading.Event()

    def other() -> None:
        with logins.attempt():
            others_try.set()

    with logins.attempt():
        thread = threading.Thread(target=other)
        thread.start()
        assert not others_try.wait(0.2)
    assert others_try.wait(SECONDS)
    thread.join(SECONDS)

    with logins.attempt(), logins.attempt():
        pass
