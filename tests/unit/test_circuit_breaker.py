"""The circuit breaker that holds answers back while the engine is unavailable."""

import threading

import pytest

from bridge.answers.circuit_breaker import EngineGate
from bridge.errors import Unavailable
from tests.unit.conftest import Clock


class Engine:
    """An engine whose signs of life are scripted; True when the script is over."""

    def __init__(self, *signs: bool) -> None:
        self._signs = list(signs)

    def probe(self) -> None:
        if self._signs and not self._signs.pop(0):
            raise Unavailable("connection refused")


def gate_at(engine: Engine, events: list[str], stopping: threading.Event | None = None) -> EngineGate:
    return EngineGate(
        engine.probe,
        stopping or threading.Event(),
        width=4,
        on_close=lambda: events.append("close"),
        on_open=lambda: events.append("open"),
    )


def test_an_engine_that_answers_leaves_the_gate_open() -> None:
    events: list[str] = []
    gate = gate_at(Engine(True), events)

    assert gate.engine_is_there("timeout")
    assert gate.is_open
    assert events == []


def test_an_outage_closes_the_gate_until_the_engine_is_back() -> None:
    events: list[str] = []
    gate = gate_at(Engine(False, False, True), events)

    assert not gate.engine_is_there("refused")
    assert gate.is_open
    assert events == ["close", "open"]


def test_after_an_outage_one_goes_first_and_each_success_lets_one_more_in() -> None:
    gate = gate_at(Engine(False), [])
    gate.engine_is_there("refused")
    entered = []

    gate.enter()
    second = threading.Thread(target=lambda: entered.append(gate.enter()))
    second.start()
    second.join(0.2)
    assert entered == []
    gate.leave(served=True)
    second.join(5)

    assert entered == [True]
    assert gate.enter()  # a second place beside the one that is taken


def test_nobody_enters_while_stopping() -> None:
    stopping = threading.Event()
    stopping.set()

    assert not gate_at(Engine(), [], stopping).enter()


def test_a_gateway_that_asks_to_be_left_alone_is_obeyed(clock: Clock) -> None:
    stopping = threading.Event()
    gate = gate_at(Engine(), [], stopping)

    gate.note_refusal("t1", "429 too many requests", 30.0)

    assert gate.trouble == "429 too many requests"
    assert not may_enter(gate)
    clock.advance(29.9)
    assert not may_enter(gate)
    clock.advance(0.2)
    assert may_enter(gate)


@pytest.mark.parametrize(("keys", "holds_back"), [("aaa", False), ("ab", False), ("abc", True)])
def test_one_answer_that_is_refused_stops_nobody_and_one_after_the_other_does(
    clock: Clock, keys: str, holds_back: bool
) -> None:
    gate = gate_at(Engine(), [])

    for key in keys:
        gate.note_refusal(key, "403 blocked", 0.0)

    assert may_enter(gate) is not holds_back
    clock.advance(1.1)
    assert may_enter(gate)


def test_after_refusals_one_goes_first_until_the_engine_has_had_its_say(clock: Clock) -> None:
    gate = gate_at(Engine(), [])
    gate.note_refusal("t1", "503 maintenance", 5.0)
    clock.advance(6)

    gate.enter()
    assert not may_enter(gate)
    gate.leave(served=True)

    assert gate.trouble == ""
    gate.enter()
    assert may_enter(gate)


def may_enter(gate: EngineGate) -> bool:
    """Whether one more would be let in, who does not stay."""
    if not gate._may_enter():
        return False
    assert gate.enter()
    gate.leave(served=False)
    return True
