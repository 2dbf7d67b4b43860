"""The gate that holds answers back while the engine is away."""

import threading

from engine_gate import EngineGate
from errors import Unavailable


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
