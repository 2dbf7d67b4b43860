"""Headers that pika cannot decode: they cost their value, not the connection."""

import struct

import pytest
from pika import data
from pika.exceptions import InvalidFieldTypeException

import rabbitmq_client  # noqa: F401  # makes pika tolerant
from rabbitmq_client import tolerant


def table(kind: bytes, value: bytes) -> bytes:
    """Return an encoded table with the odd header and one after it."""
    items = b"\x03odd" + kind + value + b"\x04next" + b"I" + struct.pack(">i", 7)
    return struct.pack(">I", len(items)) + items


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        pytest.param(b"T", struct.pack(">Q", 1_795_000_000_000), id="a timestamp in milliseconds"),
        pytest.param(b"d", struct.pack(">d", float("nan")), id="no number"),
        pytest.param(b"f", struct.pack(">f", float("inf")), id="infinite"),
    ],
)
def test_a_value_that_cannot_be_decoded_is_none_and_the_next_is_read(kind: bytes, value: bytes) -> None:
    encoded = table(kind, value)

    decoded, after = data.decode_table(encoded, 0)

    assert decoded == {"odd": None, "next": 7}
    assert after == len(encoded)


def test_an_unknown_type_stays_an_error() -> None:
    with pytest.raises(InvalidFieldTypeException):
        tolerant.decode_value(b"Z\x00", 0)
