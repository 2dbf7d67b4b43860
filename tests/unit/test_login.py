"""The login: Camunda locks an account after ten wrong passwords, so a refused one is tried three times only."""

from threading import Event, Thread

import pytest

from bridge.engine.login import Login
from bridge.errors import LoginRefused, Unavailable
from tests.unit.conftest import Clock

ACCEPTED = 200
REFUSED = 401


@pytest.fixture
def login(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Login:
    """Return a login that lives by `clock`."""
    return Login("demo", lambda: "secret-password")


def request(login: Login, status: int | None) -> None:
    """Make one request that carries the login, and let it be answered with `status`."""
    with login.attempt() as attempt:
        attempt.status = status


def test_an_accepted_login_is_used_again_at_once(login: Login) -> None:
    for _ in range(20):
        request(login, ACCEPTED)

    with login.attempt() as attempt:
        assert attempt.status is None


def test_a_refused_login_waits_20_seconds(login: Login, clock: Clock) -> None:
    request(login, REFUSED)

    clock.advance(19.9)
    with pytest.raises(LoginRefused, match="refuses the login of CAMUNDA_AUTH_USERNAME 'demo'"):
        request(login, ACCEPTED)

    clock.advance(0.1)
    request(login, ACCEPTED)


def test_a_login_refused_twice_waits_40_seconds(login: Login, clock: Clock) -> None:
    request(login, REFUSED)
    clock.advance(20)
    request(login, REFUSED)

    clock.advance(39.9)
    with pytest.raises(LoginRefused):
        request(login, ACCEPTED)

    clock.advance(0.1)
    request(login, ACCEPTED)


def refuse_three_times(login: Login, clock: Clock) -> None:
    for pause in (20, 40, 0):
        request(login, REFUSED)
        clock.advance(pause)


def test_a_login_refused_three_times_is_never_tried_again(login: Login, clock: Clock) -> None:
    refuse_three_times(login, clock)

    clock.advance(365 * 24 * 3600)

    with pytest.raises(
        LoginRefused, match="3 times; correct CAMUNDA_AUTH_PASSWORD_FILE, or the credentials and restart"
    ):
        request(login, ACCEPTED)


def test_a_password_that_was_exchanged_is_tried_at_once(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    passwords = ["old"]
    login = Login("demo", lambda: passwords[-1])
    refuse_three_times(login, clock)

    passwords.append("new")
    request(login, ACCEPTED)

    assert login.password == "new"


def test_an_exchanged_password_that_is_refused_too_has_its_own_three_attempts(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    passwords = ["old"]
    login = Login("demo", lambda: passwords[-1])
    refuse_three_times(login, clock)

    passwords.append("new")
    refuse_three_times(login, clock)

    with pytest.raises(LoginRefused, match="3 times"):
        request(login, ACCEPTED)


def test_the_password_is_not_in_the_error(login: Login, clock: Clock) -> None:
    refuse_three_times(login, clock)

    with pytest.raises(LoginRefused) as caught:
        request(login, ACCEPTED)

    assert "secret-password" not in str(caught.value)


def test_an_accepted_login_forgets_the_refusals_before(login: Login, clock: Clock) -> None:
    for _ in range(5):
        request(login, REFUSED)
        clock.advance(20)
        request(login, ACCEPTED)

    request(login, ACCEPTED)
    request(login, REFUSED)
    clock.advance(20)
    request(login, ACCEPTED)


@pytest.mark.parametrize("status", [None, 302, 404, 500, 502, 503])
def test_what_says_nothing_of_the_login_does_not_forget_the_refusals(
    login: Login, clock: Clock, status: int | None
) -> None:
    for pause in (20, 40, 0):
        request(login, REFUSED)
        clock.advance(pause)
        if pause:
            request(login, status)

    with pytest.raises(LoginRefused, match="3 times"):
        request(login, ACCEPTED)


def test_a_request_that_gets_no_reply_counts_as_nothing(login: Login) -> None:
    with pytest.raises(Unavailable, match="connection refused"), login.attempt():
        raise Unavailable("connection refused")

    request(login, ACCEPTED)


def test_a_refused_login_is_unavailable_so_that_services_wait(login: Login) -> None:
    request(login, REFUSED)

    with pytest.raises(Unavailable):
        request(login, ACCEPTED)


def test_without_a_login_a_refusal_is_not_counted() -> None:
    login = Login(None)

    for _ in range(10):
        request(login, REFUSED)

    request(login, ACCEPTED)


def two_requests_at_once(login: Login, *, seconds: float) -> bool:
    """Tell whether a second request begins within `seconds` while the first has no reply."""
    second_began = Event()

    def second() -> None:
        with login.attempt() as attempt:
            second_began.set()
            attempt.status = ACCEPTED

    thread = Thread(target=second)
    with login.attempt() as attempt:
        thread.start()
        at_once = second_began.wait(seconds)
        attempt.status = ACCEPTED
    thread.join()
    assert second_began.is_set()
    return at_once


def test_before_a_login_was_accepted_requests_go_one_at_a_time(login: Login) -> None:
    assert not two_requests_at_once(login, seconds=0.1)


def test_after_a_login_was_accepted_requests_go_side_by_side(login: Login) -> None:
    request(login, ACCEPTED)

    assert two_requests_at_once(login, seconds=10)


def test_after_a_refusal_requests_go_one_at_a_time_again(login: Login, clock: Clock) -> None:
    request(login, ACCEPTED)
    request(login, REFUSED)
    clock.advance(20)

    assert not two_requests_at_once(login, seconds=0.1)


def test_requests_that_are_refused_side_by_side_cost_one_login(login: Login, clock: Clock) -> None:
    request(login, ACCEPTED)

    with login.attempt() as first, login.attempt() as second, login.attempt() as third, login.attempt() as early:
        first.status = second.status = third.status = REFUSED
        early.status = ACCEPTED

    with pytest.raises(LoginRefused, match="refuses the login"):
        request(login, ACCEPTED)
    clock.advance(20)
    request(login, ACCEPTED)


def test_of_two_requests_at_the_start_a_wrong_password_costs_one(login: Login) -> None:
    refusals: list[LoginRefused] = []

    def second() -> None:
        try:
            request(login, REFUSED)
        except LoginRefused as error:
            refusals.append(error)

    thread = Thread(target=second)
    with login.attempt() as attempt:
        thread.start()
        attempt.status = REFUSED
    thread.join()

    assert len(refusals) == 1
