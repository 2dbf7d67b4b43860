"""The trace context of W3C: what is valid goes on, anything else does not."""

from typing import Any

import pytest

from bridge.contract import ExternalTask, TraceContext
from tests.unit import fakes
from tests.unit.test_contract import FROM_ENGINE, message_of

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
VALID = f"00-{TRACE}-{SPAN}-01"


@pytest.mark.parametrize(
    "traceparent", [VALID, f"00-{TRACE}-{SPAN}-00", f"01-{TRACE}-{SPAN}-ff", f"cc-{TRACE}-{SPAN}-01-what-follows"]
)
def test_a_valid_traceparent_is_kept_as_it_is(traceparent: str) -> None:
    assert TraceContext.read(traceparent) == TraceContext(traceparent)


@pytest.mark.parametrize(
    "traceparent",
    [
        None,
        5,
        b"00",
        "",
        "yes",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[1:]}-{SPAN}-01",
        f" {VALID}",
        f"{VALID}\n",
        f"{VALID}\r\nX-Header: 1",
        f"cc-{TRACE}-{SPAN}-01-{'x' * 5000}",
    ],
)
def test_an_invalid_traceparent_is_none(traceparent: object) -> None:
    assert TraceContext.read(traceparent, "a=1") is None


@pytest.mark.parametrize(
    "state", ["a=1", "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE", "fw529a3039@dt=x y", "a=1, b=2", "a=1,"]
)
def test_a_valid_tracestate_goes_with_it(state: str) -> None:
    context = TraceContext.read(VALID, state)

    assert context is not None
    assert context.headers == {"traceparent": VALID, "tracestate": state}


@pytest.mark.parametrize(
    "state", [None, 5, "", "no member", "A=1", "a=ü", "a=1\n", "a==1", "a=" + "x" * 600, ",".join(["a=1"] * 33)]
)
def test_an_invalid_tracestate_is_dropped_alone(state: object) -> None:
    context = TraceContext.read(VALID, state)

    assert context is not None
    assert context.headers == {"traceparent": VALID}


@pytest.mark.parametrize(
    ("variables", "headers"),
    [
        ({"traceparent": VALID}, {"traceparent": VALID}),
        ({"traceparent": VALID, "tracestate": "a=1"}, {"traceparent": VALID, "tracestate": "a=1"}),
        ({"traceparent": "yes", "tracestate": "a=1"}, {}),
        ({"traceparent": 5}, {}),
        ({"tracestate": "a=1"}, {}),
    ],
)
def test_the_message_has_the_trace_of_the_variables_as_headers(
    variables: dict[str, Any], headers: dict[str, str]
) -> None:
    envelopes = {name: {"type": "String", "value": value} for name, value in variables.items()}

    sent = message_of(ExternalTask.from_engine(FROM_ENGINE | {"variables": envelopes})).headers

    assert {name: sent[name] for name in ("traceparent", "tracestate") if name in sent} == headers


def test_an_answer_says_its_trace_in_its_headers() -> None:
    headers = {"traceparent": VALID, "tracestate": b"\xff"}

    assert fakes.delivery(b"{}", headers=headers).trace == TraceContext(VALID)
    assert fakes.delivery(b"{}", headers={"traceparent": 5}).trace is None
    assert fakes.delivery(b"{}").trace is None
