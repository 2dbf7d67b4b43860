"""Headers whose values pika cannot decode become None, so that one odd message does not end each new connection.

A timestamp in milliseconds lies beyond the year 9999, and a double may be no number: pika raises ValueError or
OverflowError in the middle of a frame, gives the connection up, and the broker delivers the message again.
"""

from typing import Any

from pika import data

SIZES = {b"T": 8, b"d": 8, b"f": 4}  # by the letter of the type, which is a byte of its own

_decode_value = data.decode_value


def decode_value(encoded: bytes, offset: int) -> tuple[Any, int]:
    """Return a value and where the next one begins, as pika's own function does."""
    try:
        value, after = _decode_value(encoded, offset)
    except (ValueError, OverflowError, OSError):
        kind = encoded[offset : offset + 1]
        if kind not in SIZES:
            raise
        return None, offset + 1 + SIZES[kind]
    return value, after


def install() -> None:
    """Let pika decode so in this process."""
    data.decode_value = decode_value
