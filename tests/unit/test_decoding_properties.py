"""Whatever bytes a system sends: a response that the engine can be given, or Unprocessable; never anything else.

The examples are the same in every run. To look for new ones:
    EXPLORE=20000 ./run python -m pytest tests/unit/test_decoding_properties.py
"""

import json
import os
import time
from typing import Any

import pytest
from hypothesis import example, given, note, settings
from hypothesis import strategies as st

from bridge.contract import Response, ResponseType, encode_json
from bridge.errors import Unprocessable
from bridge.routing import LONGEST_LOCK_MS

MAX_BYTES = 1_048_576
EXPLORE = int(os.environ.get("EXPLORE", "0"))
EXPLORE_HINT = "to look further: EXPLORE=20000 ./run python -m pytest tests/unit/test_decoding_properties.py"

examples = settings(derandomize=not EXPLORE, max_examples=EXPLORE or 100, deadline=None, database=None)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)  # lone surrogates are no UTF-8
integers = st.integers(-(2**70), 2**70)
bare_values = st.none() | st.booleans() | integers | st.floats() | texts
json_values = st.recursive(
    bare_values,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=20,
)
envelopes = st.fixed_dictionaries({"value": json_values}, optional={"type": json_values, "valueInfo": json_values})
field_values = {
    "response_type": st.sampled_from([*ResponseType]) | json_values,
    "variables": st.dictionaries(texts, envelopes | json_values, max_size=4) | json_values,
    "local_variables": st.dictionaries(texts, envelopes | json_values, max_size=4) | json_values,
    "task_id": st.just("task-id") | json_values,
    **dict.fromkeys(
        ["worker_id", "attempt", "error_message", "error_details", "error_code", "retries", "retry_timeout",
         "lock_duration"],
        json_values,
    ),
}  # fmt: skip
almost_responses = st.fixed_dictionaries({}, optional=field_values)

good_names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=10)
good_values = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
)
good_json = st.recursive(
    good_values,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=10,
)
good_responses = st.fixed_dictionaries(
    {
        "task_id": st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True),
        "response_type": st.sampled_from([*ResponseType]),
        "error_code": texts.filter(bool),
    },
    optional={
        "worker_id": st.none() | texts,
        "attempt": st.sampled_from([None, "first", "3"]),
        "error_message": st.none() | texts,
        "error_details": st.none() | texts,
        "retries": st.none() | st.integers(0, 2**31 - 1),
        "retry_timeout": st.none() | st.integers(0, LONGEST_LOCK_MS),
        "lock_duration": st.none() | st.integers(1, LONGEST_LOCK_MS),
        "variables": st.none() | st.dictionaries(good_names, good_json, max_size=4),
        "local_variables": st.none() | st.dictionaries(good_names, good_json, max_size=4),
    },
)


def read(body: bytes, correlation_id: str | None = "task-id") -> str:
    """Do all that is done with a response before the engine is called; return how it ended."""
    try:
        response = Response.decode(body, correlation_id, MAX_BYTES)
        response.typed_variables()
    except Unprocessable as error:
        return error.reason
    return "read"


def complete(value: str) -> bytes:
    """Return a response with one variable, whose value is written as given."""
    return f'{{"task_id":"t","response_type":"complete","variables":{{"x":{value}}}}}'.encode()


@examples
@given(st.binary(max_size=200))
@example(b"\xef\xbb\xbf{}")
@example(b'{"response_type":"complete"}')
def test_no_bytes_whatever_are_more_than_unprocessable(body: bytes) -> None:
    note(EXPLORE_HINT)

    assert read(body) in ("read", "invalid")


@examples
@given(almost_responses, st.none() | texts)
def test_no_json_object_whatever_is_more_than_unprocessable(
    document: dict[str, Any], correlation_id: str | None
) -> None:
    note(EXPLORE_HINT)

    assert read(json.dumps(document).encode(), correlation_id) in ("read", "invalid")


@examples
@given(almost_responses, st.data())
def test_no_damage_to_a_message_makes_it_more_than_unprocessable(
    document: dict[str, Any], data: st.DataObject
) -> None:
    note(EXPLORE_HINT)
    body = json.dumps(document, ensure_ascii=False).encode()
    at = data.draw(st.integers(0, len(body)))
    length = data.draw(st.integers(0, 3))

    damaged = body[:at] + data.draw(st.binary(max_size=3)) + body[at + length :]

    assert read(damaged) in ("read", "invalid")


@examples
@given(good_responses)
def test_a_valid_response_survives_encoding_and_decoding(document: dict[str, Any]) -> None:
    note(EXPLORE_HINT)

    response = Response.decode(encode_json(document), None, MAX_BYTES)

    assert response.model_dump(include=set(document)) == document


@examples
@given(st.dictionaries(good_names, good_json, max_size=4))
def test_the_typed_variables_of_a_valid_response_can_be_sent_to_the_engine(variables: dict[str, Any]) -> None:
    note(EXPLORE_HINT)
    body = encode_json({"task_id": "t", "response_type": "complete", "variables": variables})

    typed = Response.decode(body, None, MAX_BYTES).typed_variables().get("variables", {})

    assert typed.keys() == variables.keys()
    assert json.loads(encode_json(typed)) == typed
    assert all(isinstance(envelope["type"], str) for envelope in typed.values())


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
        b'{"a":' * 100_000,
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        b'{"response_type":"complete","ignored":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        complete("[" * 100_000 + "]" * 100_000),
        complete('{"a":' * 100_000 + "1" + "}" * 100_000),
        complete('{"value":' * 100_000 + "1" + "}" * 100_000),
    ],
    ids=lambda body: f"{body[:60].decode()}...",
)
def test_deep_nesting_is_invalid(body: bytes) -> None:
    assert Response.decode(b'{"response_type":"complete"}', "t", 2 * len(body)).task_id == "t"
    with pytest.raises(Unprocessable, match="recursion limit") as caught:
        Response.decode(body, "t", 2 * len(body))

    assert caught.value.reason == "invalid"


def test_nesting_that_people_use_is_read() -> None:
    nested = "[" * 100 + "]" * 100

    response = Response.decode(complete(nested), None, MAX_BYTES)

    assert response.typed_variables() == {"variables": {"x": {"value": nested, "type": "Json"}}}


@pytest.mark.parametrize(
    "value",
    ["9" * 4300, "-" + "9" * 4300, "9" * 4301, "9" * 1_000_000, "1e400", "-1e400", "NaN", "Infinity", "-Infinity",
     "[1e400]", "1." + "0" * 5000 + "e999", "{" + '"value":' + "9" * 5000 + ',"type":"Long"}', "1e999999999999"],
    ids=lambda value: value[:20],
)  # fmt: skip
def test_numbers_beyond_every_type_are_invalid(value: str) -> None:
    assert read(complete(value)) == "invalid"


@pytest.mark.parametrize("digits", [4300, 5000, 1_000_000])
@pytest.mark.parametrize("field", ["retries", "retry_timeout", "lock_duration", "task_id"])
def test_huge_numbers_are_invalid_in_every_field(field: str, digits: int) -> None:
    body = b'{"response_type":"failure","%s":%s}' % (field.encode(), b"9" * digits)

    assert read(body) == "invalid"


@pytest.mark.parametrize(
    "body",
    [complete(r'"\ud800"'), complete(r'"\udfff\ud800"'), complete(r'{"\ud800":1}'),
     rb'{"task_id":"\ud800","response_type":"complete"}',
     b'{"response_type":"complete","worker_id":"\xed\xa0\x80"}'],
)  # fmt: skip
def test_a_lone_surrogate_is_invalid(body: bytes) -> None:
    assert read(body) == "invalid"


def test_a_pair_of_surrogates_is_one_character() -> None:
    response = Response.decode(complete(r'"\ud83d\ude00"'), None, MAX_BYTES)

    assert response.typed_variables() == {"variables": {"x": {"value": "😀", "type": "String"}}}


def test_the_last_of_two_equal_keys_holds() -> None:
    body = b'{"task_id":"a","response_type":"failure","task_id":"b","response_type":"complete"}'

    response = Response.decode(body, None, MAX_BYTES)

    assert (response.task_id, response.response_type) == ("b", ResponseType.COMPLETE)


def test_a_byte_order_mark_is_skipped() -> None:
    assert read(b"\xef\xbb\xbf" + b'{"task_id":"t","response_type":"complete"}') == "read"


@pytest.mark.parametrize(
    "body",
    [
        complete("[" + "1," * 500_000 + "1]"),
        complete("{" + ",".join(f'"{n}":{n}' for n in range(70_000)) + "}"),
        complete('"' + "\\u0041" * 170_000 + '"'),
        complete("[" + '{"a":[' * 90 + "1" + "]}" * 90 + ',"' + "x" * 1_000_000 + '"]'),
        b'{"task_id":"t","response_type":"complete",' + b'"a":1,' * 170_000 + b'"b":1}',
        b"[" * 1_048_576,
        b" " * 1_048_576,
        b'"' + b"\\" * 1_048_575,
        b"9" * 1_048_576,
        b"0." + b"9" * 1_048_574,
    ],
    ids=lambda body: f"{body[-30:].decode()}",
)
def test_a_message_of_the_largest_size_costs_less_than_two_seconds(body: bytes) -> None:
    started = time.process_time()

    read(body)

    assert len(body) > 500_000
    assert time.process_time() - started < 2.0
