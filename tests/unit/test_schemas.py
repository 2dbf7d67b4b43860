"""The published schemas and the code say the same."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from bridge.contract import Response
from tests.unit.test_contract import body_of, message
from tests.unit.test_decoding_properties import (
    MAX_BYTES,
    envelopes,
    examples,
    field_values,
    good_json,
    good_responses,
    texts,
)

SCHEMAS = Path(__file__).resolve().parents[2] / "docs" / "schemas"


REFERENCE = {"by_reference": True}


def validator(name: str) -> Draft202012Validator:
    schema = json.loads((SCHEMAS / name).read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)


TASK, RESPONSE = validator("task-message.schema.json"), validator("response.schema.json")


def fields_of(schema: Draft202012Validator) -> set[str]:
    assert isinstance(schema.schema, Mapping)
    return set(schema.schema["properties"])


def problems(schema: Draft202012Validator, document: object) -> list[str]:
    return [error.message for error in schema.iter_errors(document)]


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({}, id="usual"),
        pytest.param({"retries": 2, "errorMessage": "no connection"}, id="after a failure"),
        pytest.param({"createTime": None, "tenantId": None, "businessKey": None}, id="older engine"),
        pytest.param({"variables": {"scan": {"type": "File", "valueInfo": {"filename": "a.pdf"}}}}, id="file"),
        pytest.param(
            {"variables": {"a": {"type": "Json", "value": None, "valueInfo": REFERENCE}}}, id="reference"
        ),
    ],
)
def test_a_task_message_fits_its_schema(changed: dict[str, Any]) -> None:
    assert problems(TASK, body_of(message(**changed))) == []


def test_the_schema_knows_every_field_of_a_task_message_and_no_more() -> None:
    assert fields_of(TASK) == body_of(message()).keys()


def test_the_schema_knows_every_field_of_a_response_and_no_more() -> None:
    assert fields_of(RESPONSE) == Response.model_fields.keys()


@pytest.mark.parametrize(
    "response",
    [
        {"response_type": "complete", "variables": {"result": {"value": "success", "type": "String"}, "count": 3}},
        {"response_type": "complete", "task_id": "t-1", "variables": {"order": {"lines": []}}, "from": "partner"},
        {
            "response_type": "failure",
            "error_message": "busy",
            "retries": 2,
            "retry_timeout": 5000,
            "attempt": "first",
        },
        {"response_type": "bpmn_error", "error_code": "REFUSED"},
        {"response_type": "extend_lock", "lock_duration": 60_000},
    ],
)
def test_what_the_documentation_shows_fits_the_schema(response: dict[str, Any]) -> None:
    assert problems(RESPONSE, response) == []


@pytest.mark.parametrize(
    "response",
    [
        {},
        {"response_type": "done"},
        {"response_type": "bpmn_error"},
        {"response_type": "bpmn_error", "error_code": None},
        {"response_type": "failure", "retries": -1},
        {"response_type": "extend_lock", "lock_duration": 0},
        {"response_type": "complete", "task_id": "with space"},
        {"response_type": "complete", "variables": []},
        {"response_type": "complete", "variables": {"x": {"value": 1, "type": 5}}},
        {"response_type": "complete", "variables": {"x": 2**63}},
        {"response_type": "complete", "variables": {"x": {"value": 2**63}}},
        {"response_type": "complete", "variables": {"x": {"value": None, "type": "Json", "valueInfo": REFERENCE}}},
        {"response_type": "complete", "local_variables": {"x": {"value": None, "valueInfo": REFERENCE}}},
    ],
)
def test_what_the_worker_sets_aside_does_not_fit_the_schema(response: dict[str, Any]) -> None:
    assert problems(RESPONSE, response) != []


variables = st.dictionaries(texts, envelopes | good_json, max_size=3)
one_field = st.one_of(*(st.fixed_dictionaries({name: values}) for name, values in field_values.items()))
mostly_right = st.builds(
    lambda right, changed: json.dumps(right | changed),
    good_responses,
    st.fixed_dictionaries({"variables": variables}) | one_field,
)


@examples
@given(mostly_right)
def test_whatever_fits_the_schema_is_understood(body: str) -> None:
    assume("NaN" not in body and "Infinity" not in body)  # Python writes them, JSON has none
    assume(not problems(RESPONSE, json.loads(body)))

    Response.decode(body.encode(), "task-id", MAX_BYTES).typed_variables()
