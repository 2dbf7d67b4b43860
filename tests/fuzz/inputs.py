"""Answers as bytes on the wire: what a partner may write into properties, headers and body, and worse."""

import json
import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from tests.unit.wire import FRAME_END, array, header_frame, item, measured, table

BODY_FRAME, METHOD_FRAME = 3, 1
DEEP = 339  # nested so deep, headers took pika's own decoder past Python's limit

texts = st.text(max_size=8)
names = texts.map(str.encode) | st.binary(max_size=8)
odd_doubles = st.sampled_from([0.75, 1e19, 1e308, float("nan"), float("inf"), -0.0])
numbers = st.one_of(
    st.binary(min_size=1, max_size=1).map(lambda raw: b"t" + raw),
    st.binary(min_size=1, max_size=1).map(lambda raw: b"b" + raw),
    st.binary(min_size=2, max_size=2).map(lambda raw: b"s" + raw),
    st.binary(min_size=4, max_size=4).map(lambda raw: b"I" + raw),
    st.binary(min_size=4, max_size=4).map(lambda raw: b"f" + raw),
    st.binary(min_size=8, max_size=8).map(lambda raw: b"l" + raw),
    st.binary(min_size=8, max_size=8).map(lambda raw: b"T" + raw),
    st.binary(min_size=5, max_size=5).map(lambda raw: b"D" + raw),
    st.binary(min_size=8, max_size=8).map(lambda raw: b"d" + raw),
    odd_doubles.map(lambda number: b"d" + struct.pack(">d", number)),
)
blobs = st.tuples(st.sampled_from([b"S", b"x"]), st.binary(max_size=12)).map(lambda two: two[0] + measured(two[1]))
scalars = st.just(b"V") | numbers | blobs


def _item(name: bytes, value: bytes) -> bytes:
    return bytes([len(name)]) + name + value


def _tables(values: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    items = st.lists(st.builds(_item, names, values), max_size=4)
    return items.map(lambda encoded: table(*encoded))


def _nested(inner: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    arrays = st.lists(inner, max_size=4).map(lambda values: array(*values))
    return arrays | _tables(inner).map(lambda encoded: b"F" + encoded)


@st.composite
def deep(draw: st.DrawFn) -> bytes:
    """Nest a value far deeper than anybody reads, in tables or arrays or both."""
    value = draw(scalars)
    in_table = draw(st.lists(st.booleans(), min_size=1, max_size=3))
    for level in range(draw(st.integers(1, 2 * DEEP))):
        value = b"F" + table(item("a", value)) if in_table[level % len(in_table)] else array(value)
    return value


our_names = st.sampled_from(["x-attempts", "x-sender-user-id", "x-sender-expiration", "x-error-reason", "x-death"])
values = st.recursive(scalars, _nested, max_leaves=8) | deep()
headers = st.lists(st.builds(_item, names | our_names.map(str.encode), values), max_size=5).map(
    lambda encoded: table(*encoded)
)


@st.composite
def damaged(draw: st.DrawFn, whole: st.SearchStrategy[bytes]) -> bytes:
    """Change, cut out or put in a few bytes somewhere."""
    encoded = draw(whole)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(encoded)))
        after = place + draw(st.integers(0, 3))
        encoded = encoded[:place] + draw(st.binary(max_size=3)) + encoded[after:]
    return encoded


odd_tables = headers | damaged(headers) | st.binary(max_size=40)
short = st.none() | texts | st.binary(max_size=8)
given_properties = st.fixed_dictionaries(
    {},
    optional={
        "content_type": short,
        "content_encoding": short,
        "correlation_id": short | st.just("t1"),
        "reply_to": short,
        "expiration": short,
        "message_id": short,
        "type": short,
        "user_id": st.sampled_from(["bridge", "bitrix24", None]) | st.binary(max_size=8),
        "app_id": short,
        "cluster_id": short,
        "timestamp": st.none() | st.integers(0, 2**64 - 1),
        "delivery_mode": st.none() | st.integers(0, 255),
        "priority": st.none() | st.integers(0, 255),
    },
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
documents = st.fixed_dictionaries(
    {},
    optional={
        "task_id": st.just("t1") | json_values,
        "response_type": st.sampled_from(["complete", "failure", "bpmn_error", "extend_lock"]) | json_values,
        "variables": st.dictionaries(texts, json_values, max_size=3) | json_values,
        "error_code": texts | json_values,
        "retries": st.integers() | json_values,
        "retry_timeout": st.integers() | json_values,
        "lock_duration": st.integers() | json_values,
        "attempt": st.just("first") | json_values,
    },
)
unknown_keys = st.dictionaries(texts, json_values, max_size=2)
answers = st.builds(lambda known, unknown: json.dumps(unknown | known).encode(), documents, unknown_keys)
bodies = answers | damaged(answers) | st.binary(max_size=60)


@dataclass(frozen=True, slots=True)
class WireAnswer:
    """An answer as the broker sends it: the frame of its properties, and its body."""

    frame: bytes
    body: bytes


def _wire_answer(headers: bytes, properties: dict[str, Any], body: bytes) -> WireAnswer:
    given = {name: value for name, value in properties.items() if value is not None}
    return WireAnswer(header_frame(headers, body_size=len(body), **given), body)


@st.composite
def _damaged_properties(draw: st.DrawFn) -> WireAnswer:
    """Damage the properties and leave the frame around them whole, as the broker would send it."""
    whole = draw(st.builds(_wire_answer, headers, given_properties, bodies))
    payload = draw(damaged(st.just(whole.frame[19:-1])))  # behind the head of the frame, the class and the size
    return WireAnswer(_frame(2, whole.frame[7:19] + payload), whole.body)


def mutants(answer: WireAnswer, chance: random.Random, count: int) -> Iterator[WireAnswer]:
    """Yield an answer as it might be after some accidents: quicker than to draw each anew."""
    head, payload = answer.frame[7:19], answer.frame[19:-1]
    for _ in range(count):
        yield WireAnswer(_frame(2, head + mutated(payload, chance)), mutated(answer.body, chance))


def mutated(encoded: bytes, chance: random.Random) -> bytes:
    """Return the bytes with a few of them changed, cut out, put in or repeated."""
    changed = bytearray(encoded)
    for _ in range(chance.randrange(4)):
        place = chance.randrange(len(changed) + 1)
        after = place + chance.randrange(4)
        piece = chance.choice(
            (chance.randbytes(chance.randrange(4)), bytes(changed[place:after]) * 2, b"\xff\xff")
        )
        changed[place:after] = piece
    return bytes(changed)


def _frame(kind: int, payload: bytes) -> bytes:
    return struct.pack(">BHI", kind, 1, len(payload)) + payload + FRAME_END


wire_answers = st.builds(_wire_answer, odd_tables, given_properties, bodies) | _damaged_properties()
deliver = _frame(METHOD_FRAME, struct.pack(">HH", 60, 60) + b"\x01c" + bytes(8) + b"\x00\x01e\x01k")
streams = damaged(
    st.lists(
        wire_answers.map(lambda one: deliver + one.frame + _frame(BODY_FRAME, one.body)), min_size=1, max_size=3
    ).map(b"".join)
)
