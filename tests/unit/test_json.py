"""JSON is read and written by pydantic, and means what it means to the standard library."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bridge.contract import decode_json, encode_json

examples = settings(derandomize=True, max_examples=300, deadline=None, database=None)
texts = st.text(st.characters(), max_size=20)  # with lone surrogates
values = st.none() | st.booleans() | st.integers(-(2**90), 2**90) | st.floats() | texts
documents = st.recursive(
    values, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4), max_leaves=20
)


def nested(depth: int) -> Any:
    document: Any = "deep"
    for _ in range(depth):
        document = [document]
    return document


def outcome(function: Callable[[Any], Any], given_to_it: object) -> str:
    """Return what comes of it; NaN is not equal to itself, but is written the same."""
    try:
        return repr(function(given_to_it))
    except ValueError:
        return "ValueError"


def through_standard_library(document: object) -> object:
    return json.loads(json.dumps(document, ensure_ascii=False, allow_nan=False).encode())


@examples
@given(documents)
@example(nested(300))
@example({"text": "NaN and Infinity"})
@example([float("nan")])
@example({"\ud800": 1})
def test_what_is_written_is_what_the_standard_library_writes(document: object) -> None:
    written = outcome(lambda it: json.loads(encode_json(it)), document)

    assert written == outcome(through_standard_library, document)


@examples
@given(documents.map(json.dumps).map(str.encode) | st.binary(max_size=30))
@example(json.dumps(nested(300)).encode())
@example(b'{"a":1,"a":2}')
@example(b"\xef\xbb\xbf[]")
@example("[]".encode("utf-16"))
@example(b'["\xff"]')
@example(b"[1e400, -0, 1E5, 12345678901234567890123]")
def test_what_is_read_is_what_the_standard_library_reads(body: bytes) -> None:
    assert outcome(decode_json, body) == outcome(json.loads, body)


@pytest.mark.parametrize("document", [{"text": "a" * 10, "n": [1, 2.5]}, {"ключ": "é\u2028\x7f/"}])
def test_it_is_compact_and_escapes_no_more_than_it_must(document: object) -> None:
    assert encode_json(document).decode() == json.dumps(document, ensure_ascii=False, separators=(",", ":"))
