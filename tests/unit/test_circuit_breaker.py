"""The circuit breaker that holds answers back while the engine is unavailable."""

import threading

import pytest

from bridge.answers.circuit_breaker import CircuitBreaker
from bridge.errors import LoginRefused, Unavailable
from tests.unit.conftest import Clock


class Engine:
    """An engine whose signs of life are scripted; True when the script is over."""

    def __init__(self, *signs: bool, error: Unavailable | None = None) -> None:
        self._signs = list(signs)
        self._error = error or Unavailable("connection refused")

    def probe(self) -> None:
        if self._signs and not self._signs.pop(0):
            raise self._error


def breaker_at(engine: Engine, events: list[str], stopping: threading.Event | None = None) -> CircuitBreaker:
    return CircuitBreaker(
        engine.probe,
        stopping or threading.Event(),
        width=4,
        on_close=lambda: events.append("close"),
        on_open=lambda: events.append("open"),
    )


def test_an_engine_that_answers_leaves_the_gate_open() -> None:
    events: list[str] = []
    breaker = breaker_at(Engine(True), events)

    assert breaker.engine_answers("timeout")
    assert breaker._is_open
    assert events == []


def test_an_outage_closes_the_gate_until_the_engine_is_back() -> None:
    events: list[str] = []
    breaker = breaker_at(Engine(False, False, True), events)

    assert not breaker.engine_answers("refused")
    assert breaker._is_open
    assert events == ["close", "open"]


@pytest.mark.parametrize(
    ("error", "level"), [(Unavailable("refused"), "WARNING"), (LoginRefused("refuses the login"), "ERROR")]
)
def test_a_refused_login_is_an_error_at_once_and_an_outage_a_warning(
    logged: list[str], error: Unavailable, level: str
) -> None:
    breaker_at(Engine(False, error=error), []).engine_answers("401")

    assert logged[0].rstrip() == f"{level} the engine is unavailable, answers wait in their queue: 401; {error}"


def test_after_an_outage_one_goes_first_and_each_success_lets_one_more_in() -> None:
    breaker = breaker_at(Engine(False), [])
    breaker.engine_answers("refused")
    entered = []

    breaker.enter()
    second = threading.Thread(target=lambda: entered.append(breaker.enter()))
    second.start()
    second.join(0.2)
    assert entered == []
    breaker.leave(served=True)
    second.join(5)

    assert entered == [True]
    assert breaker.enter()  # a second place beside the one that is taken


def test_nobody_enters_while_stopping() -> None:
    stopping = threading.Event()
    stopping.set()

    assert not breaker_at(Engine(), [], stopping).enter()


def test_a_gateway_that_asks_to_be_left_alone_is_obeyed(clock: Clock) -> None:
    stopping = threading.Event()
    breaker = breaker_at(Engine(), [], stopping)

    breaker.note_refusal("t1", "429 too many requests", 30.0)

    assert breaker.trouble == "429 too many requests"
    assert not may_enter(breaker)
    clock.advance(29.9)
    assert not may_enter(breaker)
    clock.advance(0.2)
    assert may_enter(breaker)


@pytest.mark.parametrize(("keys", "holds_back"), [("aaa", False), ("ab", False), ("abc", True)])
def test_one_answer_that_is_refused_stops_nobody_and_one_after_the_other_does(
    clock: Clock, keys: str, holds_back: bool
) -> None:
    breaker = breaker_at(Engine(), [])

    for key in keys:
        breaker.note_refusal(key, "403 blocked", 0.0)

    assert may_enter(breaker) is not holds_back
    clock.advance(1.1)
    assert may_enter(breaker)


def test_after_refusals_one_goes_first_until_the_engine_has_had_its_say(clock: Clock) -> None:
    breaker = breaker_at(Engine(), [])
    breaker.note_refusal("t1", "503 maintenance", 5.0)
    clock.advance(6)

    breaker.enter()
    assert not may_enter(breaker)
    breaker.leave(served=True)

    assert breaker.trouble == ""
    breaker.enter()
    assert may_enter(breaker)


def may_enter(breaker: CircuitBreaker) -> bool:
    """Whether one more would be let in, who does not stay."""
    if not breaker._may_enter():
        return False
    assert breaker.enter()
    breaker.leave(served=False)
    return True
