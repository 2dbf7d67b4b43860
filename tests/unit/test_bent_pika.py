"""What is bent in pika stands on code that it keeps to itself: here it is as it was when it was read.

Where one of these fails, a new pika is under us: read what changed, see whether the bend in `bent_pika.py` is
right and still needed, then enter the new version and the new digest.
"""

import hashlib
import inspect
from types import SimpleNamespace
from typing import Any

import pika
import pytest
from pika import data
from pika.adapters.base_connection import BaseConnection
from pika.adapters.blocking_connection import BlockingConnection
from pika.adapters.select_connection import SelectConnection
from pika.adapters.utils import io_services_utils
from pika.channel import ContentFrameAssembler
from pika.connection import Connection
from pika.exceptions import BodyTooLongError
from pika.frame import Body, Header
from pika.frame import Method as MethodFrame
from pika.spec import Basic, BasicProperties

from bridge.broker import headers
from bridge.broker.bent_pika import CHECKED_VERSIONS, CutBody, LineConnection, bound_bodies
from bridge.broker.frames import frames_of
from bridge.contract import Publication

TRANSPORT: Any = io_services_utils._AsyncTransportBase
BASE: Any = BaseConnection  # the stubs do not know what is private
SELECT: Any = SelectConnection
CONNECTION: Any = Connection
BLOCKING: Any = BlockingConnection
READ_CODE: dict[str, tuple[Any, str]] = {
    "how values in headers are read and written": (data, "8e81059008f55b05"),
    "how properties are read": (headers._decode_properties, "37d8cba32446445e"),
    "how a message is put together": (ContentFrameAssembler, "a62491ab3c622f5e"),
    "when a connection gets its transport": (BASE._proto_connection_made, "513e9b9b782358e5"),
    "how much a transport reads": (TRANSPORT._consume, "5d3fc19412a05efd"),
    "how bytes are handed to a transport": (BASE._adapter_emit_data, "57770a1b8a02455e"),
    "how many bytes a transport holds": (SELECT._get_write_buffer_size, "2e3297ec99e30523"),
    "how a connection is given up": (CONNECTION._terminate_stream, "9b35860018c378ca"),
    "what a blocking connection waits for": (BLOCKING._flush_output, "5fae7068efaeb287"),
}


def test_the_version_is_one_that_was_checked() -> None:
    assert pika.__version__ in CHECKED_VERSIONS


@pytest.mark.parametrize("what", READ_CODE)
def test_the_code_beneath_a_bend_is_as_it_was_read(what: str) -> None:
    code, digest = READ_CODE[what]

    assert hashlib.sha256(inspect.getsource(code).encode()).hexdigest()[:16] == digest


class Line(LineConnection):
    """A connection without a socket, which keeps what it would send."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self._body_max_length = 131_064

    def _send_now(self, data: bytes) -> bytes:
        self.sent.append(data)
        return b""


@pytest.mark.parametrize(("sizes", "writes"), [((), 0), ((10, 10), 1), ((100_000,), 1), ((100_000, 10), 2)])
def test_messages_are_written_together_and_nothing_is_written_for_nothing(
    sizes: tuple[int, ...], writes: int
) -> None:
    line = Line()
    messages = [Publication("e", "k", b"x" * size, {}, {}) for size in sizes]

    line.publish(1, messages)
    line.acknowledge(1, ())

    assert len(line.sent) == writes
    assert b"".join(line.sent) == b"".join(frames_of(message, 1, line._body_max_length) for message in messages)


def bodies_of(*fragments: list[bytes], most: int, kept: int) -> list[bytes]:
    """Return the bodies of messages whose body frames these are."""
    channel: Any = SimpleNamespace()
    bound_bodies(channel, most, kept)
    bodies = []
    for parts in fragments:
        frames = [
            MethodFrame(1, Basic.Deliver()),
            Header(1, sum(map(len, parts)), BasicProperties()),
            *(Body(1, part) for part in parts),
        ]
        bodies += [message[2] for frame in frames if (message := channel._content_assembler.process(frame))]
    return bodies


@pytest.mark.parametrize("parts", [[b"x" * 100] * 7, [b"x" * 699, b"y"], [b"", b"x" * 700], [b"x"] * 700])
def test_of_a_body_that_is_too_large_the_beginning_and_the_digest_are_kept(parts: list[bytes]) -> None:
    small, large, after = bodies_of([b"ab", b"c"], parts, [b"d" * 600], most=600, kept=64)

    assert (small, after) == (b"abc", b"d" * 600)
    assert not isinstance(small, CutBody)
    assert isinstance(large, CutBody)
    assert large == b"".join(parts)[:64]
    assert large.size == 700
    assert large.sha256 == hashlib.sha256(b"".join(parts)).hexdigest()


def test_a_body_without_a_byte_is_a_message_too() -> None:
    assert bodies_of([], most=10, kept=2) == [b""]


def test_a_body_with_more_bytes_than_announced_is_an_error() -> None:
    channel: Any = SimpleNamespace()
    bound_bodies(channel, 10, 2)
    process = channel._content_assembler.process
    process(MethodFrame(1, Basic.Deliver()))
    process(Header(1, 20, BasicProperties()))

    with pytest.raises(BodyTooLongError):
        process(Body(1, b"x" * 21))
