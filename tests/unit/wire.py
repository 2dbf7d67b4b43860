"""AMQP as bytes: headers and frames that no client library would write."""

import struct
from typing import Any

from pika.spec import BasicProperties

BASIC, FRAME_HEADER, FRAME_END, CHANNEL = 60, 2, b"\xce", 1


def item(name: str, value: bytes) -> bytes:
    return bytes([len(name.encode())]) + name.encode() + value


def measured(content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + content


def table(*items: bytes) -> bytes:
    return measured(b"".join(items))


def array(*values: bytes) -> bytes:
    return b"A" + measured(b"".join(values))


def long_string(text: bytes) -> bytes:
    return b"S" + measured(text)


def double(number: float) -> bytes:
    return b"d" + struct.pack(">d", number)


def header_frame(headers: bytes, *, body_size: int = 0, **properties: Any) -> bytes:
    """Return the frame that carries a message's properties, with an encoded table of headers."""
    encoded = b"".join(BasicProperties(headers={"?": None}, **properties).encode())
    payload = struct.pack(">HHQ", BASIC, 0, body_size) + encoded.replace(table(item("?", b"V")), headers, 1)
    return struct.pack(">BHI", FRAME_HEADER, CHANNEL, len(payload)) + payload + FRAME_END
