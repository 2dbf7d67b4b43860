"""The frames of what is sent most, messages and acknowledgements, each encoded in one go.

pika's own encoder makes hundreds of calls for each message, which cost the publisher more than anything else. A
test compares the two byte by byte.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache
from struct import Struct
from typing import Any

from pika import data
from pika.exceptions import ShortStringTooLong
from pika.spec import BasicProperties

from bridge.contract import Publication

METHOD, HEADER, BODY = 1, 2, 3  # kinds of frames
PUBLISH, ACK = (60, 40), (60, 80)  # class and method
FRAME_END = b"\xce"
SHORT_STRING_BYTES = 255
IS_MANDATORY = b"\x01"
ACK_BYTES = 13  # of its payload

_frame = Struct(">BHI").pack  # kind, channel, size
_method = Struct(">HHxx").pack  # class, method; nobody uses the two bytes behind them any more
_content = Struct(">HxxQH").pack  # class, two such bytes, size of the body, flags of the properties
_long_string = Struct(">cI").pack
_ack = Struct(">BHIHHQBB").pack
_octet = Struct("B").pack
_moment = Struct(">Q").pack
_size = Struct(">I").pack


def _short(text: str) -> bytes:
    """Return a short string. Raises ShortStringTooLong."""
    encoded = text.encode()
    if len(encoded) > SHORT_STRING_BYTES:
        raise ShortStringTooLong(encoded)
    return b"%c%b" % (len(encoded), encoded)


_known = lru_cache(maxsize=1024)(_short)  # names and values that come again with each message


def _table(table: Mapping[str, Any]) -> bytes:
    pieces: list[bytes] = []
    for name, value in table.items():
        pieces.append(_known(name))
        if type(value) is str:
            encoded = value.encode()
            pieces += (_long_string(b"S", len(encoded)), encoded)
        else:
            data.encode_value(pieces, value)
    encoded = b"".join(pieces)
    return _size(len(encoded)) + encoded


# In their order on the wire.
PROPERTIES: tuple[tuple[str, int, Callable[[Any], bytes]], ...] = (
    ("content_type", BasicProperties.FLAG_CONTENT_TYPE, _known),
    ("content_encoding", BasicProperties.FLAG_CONTENT_ENCODING, _known),
    ("headers", BasicProperties.FLAG_HEADERS, _table),
    ("delivery_mode", BasicProperties.FLAG_DELIVERY_MODE, _octet),
    ("priority", BasicProperties.FLAG_PRIORITY, _octet),
    ("correlation_id", BasicProperties.FLAG_CORRELATION_ID, _short),
    ("reply_to", BasicProperties.FLAG_REPLY_TO, _known),
    ("expiration", BasicProperties.FLAG_EXPIRATION, _short),
    ("message_id", BasicProperties.FLAG_MESSAGE_ID, _short),
    ("timestamp", BasicProperties.FLAG_TIMESTAMP, _moment),
    ("type", BasicProperties.FLAG_TYPE, _known),
    ("user_id", BasicProperties.FLAG_USER_ID, _known),
    ("app_id", BasicProperties.FLAG_APP_ID, _known),
    ("cluster_id", BasicProperties.FLAG_CLUSTER_ID, _known),
)


def frames_of(publication: Publication, channel: int, longest_body: int) -> bytes:
    """Return the frames of a mandatory message on that channel, none with more than `longest_body` of its body.

    Raises ShortStringTooLong, struct.error or TypeError for what AMQP cannot carry.
    """
    body = publication.body
    pieces = [_publish(publication.exchange, publication.routing_key, channel)]
    pieces.append(_framed(HEADER, channel, _content_header(publication)))
    pieces += [
        _framed(BODY, channel, body[place : place + longest_body]) for place in range(0, len(body), longest_body)
    ]
    return b"".join(pieces)


@lru_cache(maxsize=1024)
def _publish(exchange: str, routing_key: str, channel: int) -> bytes:
    method = _method(*PUBLISH) + _short(exchange) + _short(routing_key) + IS_MANDATORY
    return _framed(METHOD, channel, method)


def _content_header(publication: Publication) -> bytes:
    values = {**publication.properties, "headers": publication.headers}
    flags, pieces = 0, []
    for name, flag, encode in PROPERTIES:
        value = values.get(name)
        if value is not None:
            flags |= flag
            pieces.append(encode(value))
    return _content(PUBLISH[0], len(publication.body), flags) + b"".join(pieces)


def _framed(kind: int, channel: int, payload: bytes) -> bytes:
    return _frame(kind, channel, len(payload)) + payload + FRAME_END


def ack_of(tag: int, channel: int) -> bytes:
    """Return the frame that acknowledges one delivery."""
    return _ack(METHOD, channel, ACK_BYTES, *ACK, tag, 0, FRAME_END[0])
