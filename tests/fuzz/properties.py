"""What must hold for whatever bytes come: one answer is touched, nothing else, and no copy is altered."""

import struct
from decimal import Decimal
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import Mock

from pika.channel import Channel
from pika.connection import ConnectionParameters
from pika.exceptions import AMQPError
from pika.frame import Header, decode_frame
from pika.spec import BasicProperties

from bridge.broker import Delivery
from bridge.broker.bent_pika import LineConnection, bend
from bridge.contract import Publication
from tests.fuzz.inputs import WireAnswer
from tests.unit import fakes
from tests.unit.test_answer_policy import Desk

FRAME_MAX = 131_072
ENGINES_WORDS = (fakes.ACCEPTED, fakes.GONE, fakes.TROUBLE, fakes.BAD_TYPE, fakes.LOCKED_BY_OTHER, fakes.SUSPENDED)
# What pika answers to a stream that is broken: the connection is made again, which a partner cannot bring about.
BROKEN_STREAM = (AMQPError, AssertionError, AttributeError, KeyError, TypeError, ValueError, struct.error)

bend()  # as for every connection of ours


def only_that_answer_is_touched(answer: WireAnswer, word: int) -> None:
    """Read an answer off the wire, apply it at an engine that says this or that, and look at the copies."""
    size, frame = decode_frame(answer.frame)
    assert size == len(answer.frame), "the frames behind it are read from a wrong place"
    assert isinstance(frame, Header)
    desk = Desk()
    for call in ("complete", "failure", "bpmnError", "extendLock"):
        desk.engine.replies[call] = [ENGINES_WORDS[word % len(ENGINES_WORDS)]]
    channel = cast(Channel, SimpleNamespace(is_open=True))
    delivery = Delivery(channel, 1, answer.body, frame.properties)
    desk.take(delivery)
    for copy in desk.publisher.published:
        _check_copy(copy, frame.properties)


def _check_copy(copy: Publication, original: BasicProperties) -> None:
    encoded = b"".join(BasicProperties(headers=copy.headers, **copy.properties).encode())
    assert len(encoded) < FRAME_MAX
    sent = BasicProperties().decode(encoded).headers or {}
    for name, value in (original.headers or {}).items():
        assert name not in sent or name.startswith("x-") or _same(sent[name], value), f"{name!r} was altered"


def _same(one: Any, other: Any) -> bool:
    """Whether two values are equal and of one kind: True is no 1, and 0.75 no 0."""
    kinds = (bool, int, float, str, bytes, Decimal, list, dict)
    return one == other and [isinstance(one, k) for k in kinds] == [isinstance(other, k) for k in kinds]


def a_broken_stream_ends_one_connection(stream: bytes) -> None:
    """Feed a connection with frames that are damaged anywhere; it may end in one of the foreseen ways."""
    try:
        _connection()._on_data_available(stream)  # not in the stubs
    except RecursionError as error:
        raise AssertionError("the stream took the decoder past Python's limit") from error
    except BROKEN_STREAM:
        pass


def _connection() -> Any:
    """Return an open connection without a socket, with a channel that consumes."""
    loop = Mock(READ=1, WRITE=4, ERROR=8)
    connection: Any = LineConnection(
        ConnectionParameters(), custom_ioloop=loop, internal_connection_workflow=False
    )
    connection._set_connection_state(connection.CONNECTION_OPEN)
    channel: Any = Channel(connection, 1, lambda _: None)
    channel._set_state(channel.OPEN)
    channel._consumers["c"] = lambda *_: None
    connection._channels[1] = channel
    connection._transport = Mock()
    return connection
