"""Headers of messages, read so that an odd value costs only itself, and written so that nothing is altered.

Each value is read within the bounds that its length gives it. `bent_pika.py` lets pika read and write so.
"""

import struct
from collections.abc import Mapping
from contextlib import suppress
from math import isfinite
from typing import Any

from pika import data
from pika.exceptions import AMQPError
from pika.spec import BasicProperties

DEEPEST = 32  # tables and arrays within one header; readers of the copies have to follow too
# The bytes of a value behind the letter of its type; those that are not named begin with their length.
SIZES = dict(zip(b"tbBUusIiLlfdDTV", (1, 1, 1, 2, 2, 2, 4, 4, 8, 8, 4, 8, 5, 8, 0), strict=True))
MEASURED = frozenset(b"SxAF")
FLOATS = {ord("f"): ">f", ord("d"): ">d"}  # pika makes whole numbers of them
ARRAY, TABLE = ord("A"), ord("F")
UNREADABLE = (ValueError, OverflowError, OSError, struct.error, AMQPError)
UNSENDABLE = (*UNREADABLE, ArithmeticError, AttributeError, RecursionError, TypeError)
# The properties that say what a message is; the others concern the way it came.
KEPT_PROPERTIES = (
    "content_type",
    "content_encoding",
    "correlation_id",
    "message_id",
    "type",
    "app_id",
    "timestamp",
)
PERSISTENT = 2

_decode_scalar = data.decode_value
_encode_value = data.encode_value
_decode_properties = BasicProperties.decode


class Unreadable(ValueError):
    """A value that cannot be read, or is not wanted: it is lost, with the header it belongs to."""


def decode_table(encoded: bytes, offset: int) -> tuple[dict[str, Any], int]:
    """Return what can be read of a table, and where the table ends; stands in for pika's own function."""
    table: dict[str, Any] = {}
    place, end = _within(encoded, offset)
    while place < end:
        try:
            begin, after = _item(encoded, place, end)
        except Unreadable:
            break  # nobody knows where the next one begins
        with suppress(*UNREADABLE):
            table[_name(encoded, place, begin)] = _value(encoded, begin, after, 0)
        place = after
    return table, end


def _within(encoded: bytes, offset: int) -> tuple[int, int]:
    """Return where something with a length before it begins and ends."""
    (length,) = struct.unpack_from(">I", encoded, offset)
    if offset + 4 + length > len(encoded):
        raise Unreadable("it is cut off")
    return offset + 4, offset + 4 + length


def _item(encoded: bytes, place: int, end: int) -> tuple[int, int]:
    """Return where the value of the item at `place` begins and ends."""
    begin = place + 1 + encoded[place]
    return begin, _end_of_value(encoded, begin, end)


def _end_of_value(encoded: bytes, begin: int, end: int) -> int:
    kind = encoded[begin] if begin < end else None
    if kind in SIZES:
        after = begin + 1 + SIZES[kind]
    elif kind in MEASURED and begin + 5 <= end:
        after = _within(encoded, begin + 1)[1]
    else:
        raise Unreadable("no type is known by that letter")
    if after > end:
        raise Unreadable("it is longer than what holds it")
    return after


def _name(encoded: bytes, place: int, begin: int) -> str:
    return encoded[place + 1 : begin].decode()


def _value(encoded: bytes, begin: int, end: int, depth: int) -> Any:
    """Return the value between two places. Raises one of UNREADABLE."""
    kind = encoded[begin]
    if kind in FLOATS:
        return _finite(struct.unpack_from(FLOATS[kind], encoded, begin + 1)[0])
    if kind in (ARRAY, TABLE):
        if depth == DEEPEST:
            raise Unreadable("it is nested too deep")
        read = _array if kind == ARRAY else _table
        return read(encoded, begin + 5, end, depth + 1)
    return _decode_scalar(encoded, begin)[0]


def _finite(number: float) -> float:
    if not isfinite(number):  # few readers expect one, and pika's do not survive it
        raise Unreadable("no finite number")
    return number


def _array(encoded: bytes, place: int, end: int, depth: int) -> list[Any]:
    values = []
    while place < end:
        after = _end_of_value(encoded, place, end)
        values.append(_value(encoded, place, after, depth))
        place = after
    return values


def _table(encoded: bytes, place: int, end: int, depth: int) -> dict[str, Any]:
    table = {}
    while place < end:
        begin, after = _item(encoded, place, end)
        name = _name(encoded, place, begin)
        if name in table:
            raise Unreadable("two values have one name")
        table[name] = _value(encoded, begin, after, depth)
        place = after
    return table


def encode_value(pieces: list[bytes], value: Any) -> int:
    """Append an encoded value and return its size, as pika's own function does; that one knows no float."""
    if isinstance(value, float):
        pieces.append(struct.pack(">cd", b"d", value))
        return 9
    return _encode_value(pieces, value)


def decode_properties(self: BasicProperties, encoded: bytes, offset: int = 0) -> BasicProperties:
    """Read a message's properties; where they are no properties, all are lost and the message is not."""
    try:
        return _decode_properties(self, encoded, offset)
    except UNREADABLE:
        BasicProperties.__init__(self)
        return self


def sendable(headers: Mapping[Any, Any], most_bytes: int) -> dict[str, Any]:
    """Return the headers that arrive exactly as they are, as far as they fit; the others are left out."""
    kept: dict[str, Any] = {}
    for name, value in headers.items():
        size = _size_if_exact(name, value)
        if size is not None and size <= most_bytes:
            kept[name] = value
            most_bytes -= size
    return kept


def copied(properties: BasicProperties) -> dict[str, Any]:
    """Return the properties of a copy of a message, headers aside; the broker keeps the copy on disk."""
    return {name: getattr(properties, name) for name in KEPT_PROPERTIES} | {"delivery_mode": PERSISTENT}


def _size_if_exact(name: Any, value: Any) -> int | None:
    """Return what a header takes; None where it cannot be encoded, or would be read as something else."""
    pieces: list[bytes] = []
    try:
        data.encode_table(pieces, {name: value})
        encoded = b"".join(pieces)
        return len(encoded) if decode_table(encoded, 0)[0] == {name: value} else None
    except UNSENDABLE:
        return None
