"""Headers that pika cannot read or write: each costs itself alone, and what a copy carries is never altered."""

import struct
from decimal import Decimal
from typing import Any

import pytest
from pika import data
from pika.frame import decode_frame
from pika.spec import BasicProperties

from bridge.broker import sendable
from tests.unit.wire import array, double, header_frame, item, long_string, table

MOST = 65_536


def read(*items: bytes) -> Any:
    """Return the headers of a message as they are read from its frame."""
    frame = header_frame(table(*items), correlation_id="t1")
    size, decoded = decode_frame(frame)
    assert size == len(frame)
    properties = decoded.properties  # type: ignore[union-attr]
    assert properties.correlation_id == "t1"
    return properties.headers


def nested(depth: int, wrap: Any) -> bytes:
    value = b"V"
    for _ in range(depth):
        value = wrap(value)
    return value


def in_table(value: bytes) -> bytes:
    return b"F" + table(item("a", value))


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(b"T" + struct.pack(">Q", 1_795_000_000_000), id="a timestamp in milliseconds"),
        pytest.param(b"T" + b"\xff" * 8, id="the last timestamp"),
        pytest.param(double(float("nan")), id="no number"),
        pytest.param(b"f" + struct.pack(">f", float("inf")), id="infinite"),
        pytest.param(array(double(float("nan"))), id="no number in an array"),
        pytest.param(nested(339, in_table), id="339 nested tables"),
        pytest.param(nested(339, array), id="339 nested arrays"),
        pytest.param(nested(5000, array), id="5000 nested arrays"),
        pytest.param(in_table(b"Z"), id="an unknown type in a table"),
        pytest.param(b"F" + struct.pack(">I", 3) + b"\x09aV", id="a name that is longer than its table"),
        pytest.param(b"A" + struct.pack(">I", 1) + b"I", id="a number that is longer than its array"),
        pytest.param(b"F" + table(b"\x01\xcfV"), id="a name in no UTF-8"),
        pytest.param(b"F" + table(item("a", b"V"), item("a", b"t\x01")), id="two values with one name"),
    ],
)
def test_a_value_that_cannot_be_read_is_lost_and_the_next_is_read(value: bytes) -> None:
    assert read(item("odd", value), item("next", b"I" + struct.pack(">i", 7))) == {"next": 7}


@pytest.mark.parametrize("value", [b"Z\x00", b"S" + b"\xff" * 4, b"", b"I\x00"])
def test_behind_a_value_without_an_end_the_headers_are_lost_and_nothing_else(value: bytes) -> None:
    assert read(item("first", b"t\x01"), item("odd", value)) == {"first": True}


def test_a_name_that_is_no_text_costs_its_header() -> None:
    assert read(b"\x01\xcf" + b"t\x01", item("next", b"t\x01")) == {"next": True}


def test_nesting_that_people_use_is_read() -> None:
    assert read(item("deep", nested(30, array)))["deep"] != []


def test_properties_that_are_cut_off_are_lost_and_the_message_is_not() -> None:
    assert BasicProperties().decode(b"\xff\xfc\x05").headers is None


@pytest.mark.parametrize(
    ("value", "read_as"),
    [
        (double(0.75), 0.75),
        (double(1e19), 1e19),
        (double(1e308), 1e308),
        (double(-0.5), -0.5),
        (b"f" + struct.pack(">f", 0.75), 0.75),
        (b"l" + struct.pack(">q", -(2**63)), -(2**63)),
        (b"i" + struct.pack(">I", 2**32 - 1), 2**32 - 1),
        (b"b\xff", -1),
        (b"D\x02" + struct.pack(">i", 1234), Decimal("12.34")),
        (b"D\xff" + struct.pack(">i", -(2**31)), Decimal(-(2**31)).scaleb(-255)),
        (long_string(b"\xcf\xf0"), b"\xcf\xf0"),
        (b"x" + struct.pack(">I", 2) + b"ab", b"ab"),
        (array(double(0.75), b"t\x01"), [0.75, True]),
    ],
    ids=str,
)
def test_a_value_that_is_read_is_sent_on_as_it_is(value: bytes, read_as: object) -> None:
    headers = read(item("odd", value))

    assert headers == {"odd": read_as}
    assert again(sendable(headers, MOST)) == headers


def again(headers: dict[str, Any]) -> Any:
    """Return the headers as the next reader has them."""
    return BasicProperties().decode(b"".join(BasicProperties(headers=headers).encode())).headers


@pytest.mark.parametrize(
    "value",
    [10**19, 10**400, -(2**63) - 1, object(), "\ud800", Decimal("NaN"), Decimal("1e40"), float("inf"), {1: 2},
     (1, 2), [object()], {"a": {"b": 2**64}}],
    ids=lambda value: repr(value)[:20],
)  # fmt: skip
def test_what_cannot_be_sent_on_is_left_out_alone(value: object) -> None:
    assert sendable({"odd": value, "next": 7}, MOST) == {"next": 7}


def test_a_value_nested_for_ever_is_left_out() -> None:
    value: list[Any] = []
    value.append(value)

    assert sendable({"odd": value}, MOST) == {}


def test_a_name_that_is_too_long_is_left_out() -> None:
    assert sendable({"x" * 256: 1, "y": 2}, MOST) == {"y": 2}


def test_headers_beyond_what_fits_are_left_out() -> None:
    assert sendable({"a": "x" * 50, "b": "x" * 100, "c": "x" * 20}, 120) == {"a": "x" * 50, "c": "x" * 20}


def test_a_table_that_is_cut_off_is_no_table() -> None:
    with pytest.raises(ValueError, match="cut off"):
        data.decode_table(struct.pack(">I", 9) + b"\x01a", 0)
