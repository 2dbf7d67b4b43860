"""A publication's frames are byte for byte those of pika's own encoder."""

import struct
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pika.connection import Connection
from pika.exceptions import ShortStringTooLong
from pika.frame import Method
from pika.spec import Basic, BasicProperties

from bridge.broker.frames import ack_of, frames_of
from bridge.contract import Publication

LONGEST_BODY = 16
short_texts = st.text(max_size=60)
octets = st.integers(0, 255)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "content_type": short_texts,
    "content_encoding": short_texts,
    "delivery_mode": octets,
    "priority": octets,
    "correlation_id": short_texts,
    "reply_to": short_texts,
    "expiration": short_texts,
    "message_id": short_texts,
    "timestamp": st.integers(0, 2**64 - 1),
    "type": short_texts,
    "user_id": short_texts,
    "app_id": short_texts,
    "cluster_id": short_texts,
}
scalars = st.text() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats() | st.binary() | st.none()
header_values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(short_texts, inner, max_size=3),
    max_leaves=6,
)
publications = st.builds(
    Publication,
    exchange=short_texts,
    routing_key=short_texts,
    body=st.binary(max_size=3 * LONGEST_BODY + 1),
    headers=st.dictionaries(short_texts, header_values, max_size=6),
    properties=st.fixed_dictionaries({}, optional=VALUES),
)


def frames_by_pika(publication: Publication, channel: int) -> bytes:
    sent: list[bytes] = []
    connection: Any = SimpleNamespace(_body_max_length=LONGEST_BODY, _output_marshaled_frames=sent.extend)
    method = Basic.Publish(exchange=publication.exchange, routing_key=publication.routing_key, mandatory=True)
    properties = BasicProperties(headers=publication.headers, **publication.properties)
    Connection._send_message(connection, channel, method, (properties, publication.body))  # type: ignore[attr-defined]
    return b"".join(sent)


@given(publications, st.integers(1, 65_535))
def test_frames_are_those_of_pika(publication: Publication, channel: int) -> None:
    assert frames_of(publication, channel, LONGEST_BODY) == frames_by_pika(publication, channel)


@given(st.integers(1, 2**64 - 1), st.integers(1, 65_535))
def test_an_acknowledgement_is_that_of_pika(tag: int, channel: int) -> None:
    assert ack_of(tag, channel) == Method(channel, Basic.Ack(tag)).marshal()


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"routing_key": "x" * 256}, ShortStringTooLong),
        ({"properties": {"message_id": "я" * 128}}, ShortStringTooLong),
        ({"properties": {"priority": 256}}, struct.error),
        ({"headers": {"x" * 256: 1}}, ShortStringTooLong),
        ({"headers": {"x": 2**64}}, struct.error),
    ],
)
def test_what_amqp_cannot_carry_is_refused(wrong: dict[str, Any], error: type[Exception]) -> None:
    good = {"exchange": "e", "routing_key": "k", "body": b"", "headers": {}, "properties": {}}

    with pytest.raises(error):
        frames_of(Publication(**{**good, **wrong}), 1, LONGEST_BODY)
