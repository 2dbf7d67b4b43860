"""The contract in code: the task message as it is sent, the response as it is read."""

import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bridge.contract import (
    ExternalTask,
    NamedTask,
    Publication,
    Response,
    ResponseType,
    encode_json,
    named_task,
    task_message,
)
from bridge.errors import Unprocessable

BASE_URL = "http://localhost:8080/engine-rest"
MAX_BYTES = 1_048_576

# As an engine 7.24 answers it, in a zone of its own.
FROM_ENGINE: dict[str, Any] = {
    "id": "aa2e6e24-9d7a-11f0-8000-000000000001",
    "topicName": "bitrix_create_task",
    "workerId": "universal-worker",
    "retries": None,
    "lockExpirationTime": "2026-11-23T23:42:01.419+0300",
    "createTime": "2026-11-23T23:32:01.419+0300",
    "processInstanceId": "process-instance",
    "processDefinitionId": "order:1:definition",
    "processDefinitionKey": "order",
    "processDefinitionVersionTag": None,
    "activityId": "create_task",
    "activityInstanceId": "create_task:instance",
    "executionId": "execution",
    "businessKey": "order-42",
    "tenantId": "north",
    "priority": 7,
    "suspended": False,
    "errorMessage": None,
    "errorDetails": None,
    "extensionProperties": {"department": "sales"},
    "variables": {"title": {"value": "Перезвонить", "type": "String", "valueInfo": {}}},
}
TASK_ID = FROM_ENGINE["id"]


def message(expires_in_ms: int = 594_000, **changed: Any) -> Publication:
    return message_of(ExternalTask.from_engine(FROM_ENGINE | changed), expires_in_ms)


def message_of(task: ExternalTask, expires_in_ms: int = 594_000) -> Publication:
    return task_message(task, "bitrix24", BASE_URL, lock_grows_by_ms=0, expires_in_ms=expires_in_ms)


def body_of(publication: Publication) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(publication.body.decode("utf-8"))
    return document


def test_a_task_goes_to_the_task_exchange_with_system_and_topic_as_key() -> None:
    publication = message()

    assert publication.exchange == "camunda.external.tasks"
    assert publication.routing_key == "bitrix24.bitrix_create_task"


def test_the_properties_are_those_of_the_contract() -> None:
    sent_at = datetime.now(UTC).timestamp()

    properties = message().properties

    assert abs(properties.pop("timestamp") - sent_at) < 60
    assert properties == {
        "content_type": "application/json",
        "content_encoding": "utf-8",
        "delivery_mode": 2,
        "correlation_id": TASK_ID,
        "message_id": f"{TASK_ID}:first",
        "reply_to": "camunda.responses.queue",
        "type": "camunda.external-task",
        "app_id": "universal-worker",
        "expiration": "594000",
    }


def test_the_headers_are_those_of_the_contract() -> None:
    assert message().headers == {
        "camunda_topic": "bitrix_create_task",
        "target_system": "bitrix24",
        "task_id": TASK_ID,
        "process_instance_id": "process-instance",
        "worker_id": "universal-worker",
        "lock_expires_at": "2026-11-23T20:42:01.419+00:00",
        "attempt": "first",
    }


def test_the_body_is_that_of_the_contract() -> None:
    body = body_of(message())

    del body["timestamp"]
    assert body == {
        "task_id": TASK_ID,
        "topic": "bitrix_create_task",
        "system": "bitrix24",
        "variables": {"title": {"value": "Перезвонить", "type": "String", "valueInfo": {}}},
        "process_instance_id": "process-instance",
        "process_definition_id": "order:1:definition",
        "process_definition_key": "order",
        "activity_id": "create_task",
        "activity_instance_id": "create_task:instance",
        "execution_id": "execution",
        "business_key": "order-42",
        "tenant_id": "north",
        "worker_id": "universal-worker",
        "retries": None,
        "attempt": "first",
        "priority": 7,
        "created_time": "2026-11-23T20:32:01.419+00:00",
        "lock_expires_at": "2026-11-23T20:42:01.419+00:00",
        "error_message": None,
        "metadata": {"extension_properties": {"department": "sales"}},
    }


def test_the_body_tells_when_it_was_written_in_utc() -> None:
    timestamp = body_of(message())["timestamp"]

    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", timestamp)
    assert abs(datetime.fromisoformat(timestamp) - datetime.now(UTC)) < timedelta(minutes=1)


def test_text_is_readable_utf_8_without_escapes() -> None:
    assert "Перезвонить".encode() in message().body


@pytest.mark.parametrize(("retries", "attempt"), [(None, "first"), (3, "3"), (0, "0")])
def test_the_attempt_is_what_the_engine_says_of_the_retries(retries: int | None, attempt: str) -> None:
    publication = message(retries=retries)

    assert publication.properties["message_id"] == f"{TASK_ID}:{attempt}"
    assert publication.headers["attempt"] == attempt
    assert (body_of(publication)["retries"], body_of(publication)["attempt"]) == (retries, attempt)


def test_the_error_of_the_last_attempt_is_passed_on() -> None:
    body = body_of(message(retries=2, errorMessage="no such client"))

    assert body["error_message"] == "no such client"


def test_a_task_of_an_older_engine_lacks_only_what_that_engine_does_not_say() -> None:
    since_7_20 = {"createTime", "extensionProperties", "businessKey", "priority", "variables"}
    fields = {name: value for name, value in FROM_ENGINE.items() if name not in since_7_20}

    body = body_of(
        task_message(
            ExternalTask.from_engine(fields), "bitrix24", BASE_URL, lock_grows_by_ms=0, expires_in_ms=1000
        )
    )

    assert (body["created_time"], body["business_key"], body["priority"]) == (None, None, 0)
    assert (body["variables"], body["metadata"]) == ({}, {"extension_properties": {}})


FILE = {"value": None, "type": "File", "valueInfo": {"filename": "счёт.pdf", "mimeType": "application/pdf"}}


def test_a_file_variable_is_told_by_its_url_and_not_by_its_content() -> None:
    body = body_of(message(variables={"счёт 1": FILE, "n": {"value": 1, "type": "Integer", "valueInfo": {}}}))

    assert body["variables"]["счёт 1"] == FILE
    assert body["metadata"]["file_urls"] == {
        "счёт 1": f"{BASE_URL}/process-instance/execution/variables/%D1%81%D1%87%D1%91%D1%82%201/data"
    }


@pytest.mark.parametrize("name", ["in/out", "a\\b", "..", "."])
def test_a_file_whose_name_no_path_can_hold_is_told_by_its_id(name: str) -> None:
    task = ExternalTask.from_engine(FROM_ENGINE | {"variables": {name: FILE}})

    known = replace(task, variable_ids={name: "v1"})

    urls = [body_of(message_of(one))["metadata"].get("file_urls") for one in (known, task)]
    assert urls == [{name: f"{BASE_URL}/variable-instance/v1/data"}, None]


def test_a_topic_fills_a_routing_key_up_to_255_bytes() -> None:
    topic = "t" * (255 - len("bitrix24."))

    assert len(message(topicName=topic).routing_key) == 255


@pytest.mark.parametrize("topic", ["t" * 247, "ж" * 124])
def test_a_longer_topic_is_unprocessable(topic: str) -> None:
    with pytest.raises(Unprocessable, match="too long for a routing key") as caught:
        message(topicName=topic)

    assert caught.value.reason == "invalid"


@pytest.mark.parametrize("value", ["\ud800", float("nan"), float("inf")])
def test_a_variable_that_json_cannot_hold_is_unprocessable(value: object) -> None:
    with pytest.raises(Unprocessable, match="the variables cannot be written as JSON") as caught:
        message(variables={"x": {"value": value, "type": "String"}})

    assert caught.value.reason == "invalid"


@pytest.mark.parametrize("name", ["id", "topicName", "workerId", "lockExpirationTime", "processInstanceId"])
def test_what_lacks_a_name_of_the_engine_is_no_task(name: str) -> None:
    fields = {key: value for key, value in FROM_ENGINE.items() if key != name}

    with pytest.raises(KeyError):
        ExternalTask.from_engine(fields)


def decode(correlation_id: str | None = None, **fields: Any) -> Response:
    return Response.decode(json.dumps(fields).encode(), correlation_id, MAX_BYTES)


def problem(correlation_id: str | None = None, **fields: Any) -> str:
    """Return the detail of the refusal, which must be `invalid`."""
    with pytest.raises(Unprocessable) as caught:
        decode(correlation_id, **fields).typed_variables()
    assert caught.value.reason == "invalid"
    return caught.value.detail


def test_the_response_of_the_requirements_is_understood() -> None:
    body = b"""{
      "task_id": "task-uuid",
      "response_type": "complete",
      "worker_id": "universal-worker",
      "variables": {
        "result": {"value": "success", "type": "String"},
        "data": {"value": "{\\"key\\": \\"value\\"}", "type": "String"}
      }
    }"""

    response = Response.decode(body, None, MAX_BYTES)

    assert (response.task_id, response.worker_id) == ("task-uuid", "universal-worker")
    assert response.response_type is ResponseType.COMPLETE
    assert response.typed_variables() == {
        "variables": {
            "result": {"value": "success", "type": "String"},
            "data": {"value": '{"key": "value"}', "type": "String"},
        }
    }


def test_a_complete_may_carry_local_variables() -> None:
    response = decode(task_id="t", response_type="complete", variables={"a": 1}, local_variables={"b": True})

    assert response.typed_variables() == {
        "variables": {"a": {"value": 1, "type": "Integer"}},
        "localVariables": {"b": {"value": True, "type": "Boolean"}},
    }


@pytest.mark.parametrize("none_given", [{}, {"variables": None}, {"variables": {}, "local_variables": {}}])
def test_variables_that_are_not_given_are_left_out(none_given: dict[str, Any]) -> None:
    assert decode(task_id="t", response_type="complete", **none_given).typed_variables() == {}


def test_a_failure_is_read_with_all_its_fields() -> None:
    response = decode(
        task_id="t",
        response_type="failure",
        attempt="first",
        error_message="no such client",
        error_details="a long story",
        retries=2,
        retry_timeout=60_000,
    )

    assert response.response_type is ResponseType.FAILURE
    assert (response.error_message, response.error_details) == ("no such client", "a long story")
    assert (response.attempt, response.retries, response.retry_timeout) == ("first", 2, 60_000)


def test_a_failure_needs_nothing_but_its_type() -> None:
    response = decode(task_id="t", response_type="failure")

    assert (response.retries, response.retry_timeout, response.error_message) == (None, None, None)


def test_a_bpmn_error_is_read_with_code_and_message() -> None:
    response = decode(task_id="t", response_type="bpmn_error", error_code="NO_STOCK", error_message="sold out")

    assert response.response_type is ResponseType.BPMN_ERROR
    assert (response.error_code, response.error_message) == ("NO_STOCK", "sold out")


@pytest.mark.parametrize("code", [{}, {"error_code": None}, {"error_code": ""}])
def test_a_bpmn_error_without_its_code_is_invalid(code: dict[str, Any]) -> None:
    assert (
        problem(task_id="t", response_type="bpmn_error", **code) == "error_code is missing; a bpmn_error needs one"
    )


def test_an_extend_lock_is_read_with_its_duration() -> None:
    response = decode(task_id="t", response_type="extend_lock", lock_duration=60_000)

    assert response.response_type is ResponseType.EXTEND_LOCK
    assert response.lock_duration == 60_000


def test_numbers_are_taken_where_texts_are_meant() -> None:
    response = decode(task_id=42, response_type="bpmn_error", error_code=404, attempt=3)

    assert (response.task_id, response.error_code, response.attempt) == ("42", "404", "3")


@pytest.mark.parametrize("attempt", ["First", "1st", " 3", "3.0", "-1", "None", "${attempt}", True, 1e400])
def test_an_attempt_of_no_task_message_is_invalid_and_its_task_can_be_told(attempt: object) -> None:
    said: dict[str, Any] = {"task_id": "t", "response_type": "complete", "attempt": attempt}

    assert problem(**said).startswith("attempt: ")
    assert named_task(json.dumps(said).encode(), None) == NamedTask("t", None, "complete")


def test_an_empty_attempt_is_none() -> None:
    assert decode(task_id="t", response_type="complete", attempt="").attempt is None


def test_unknown_fields_are_ignored() -> None:
    assert decode(task_id="t", response_type="complete", comment={"deep": [1]}).task_id == "t"


def test_a_missing_task_id_is_the_correlation_id() -> None:
    assert decode("from-properties", response_type="complete").task_id == "from-properties"


def test_the_task_id_of_the_body_wins_over_the_correlation_id() -> None:
    assert decode("from-properties", task_id="from-body", response_type="complete").task_id == "from-body"


@pytest.mark.parametrize("correlation_id", [None, ""])
def test_a_response_without_any_task_id_is_invalid(correlation_id: str | None) -> None:
    assert problem(correlation_id, response_type="complete") == "task_id '' is missing or no task id"


BAD_IDS = ["a/b", "a b", "../x", "a\n", "é", "a" * 65, "%2e", "a?b=c"]


@pytest.mark.parametrize("task_id", BAD_IDS)
def test_a_task_id_that_is_none_is_invalid(task_id: str) -> None:
    assert "is missing or no task id" in problem(task_id=task_id, response_type="complete")


@pytest.mark.parametrize("correlation_id", BAD_IDS)
def test_a_correlation_id_that_is_no_task_id_is_invalid(correlation_id: str) -> None:
    assert "is missing or no task id" in problem(correlation_id, response_type="complete")


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({}, "response_type: "),
        ({"response_type": None}, "response_type: "),
        ({"response_type": "Complete"}, "response_type: "),
        ({"response_type": "done"}, "response_type: "),
        ({"response_type": "complete", "task_id": ["t"]}, "task_id: "),
        ({"response_type": "complete", "variables": ["a"]}, "variables: "),
        ({"response_type": "complete", "variables": "a"}, "variables: "),
        ({"response_type": "complete", "local_variables": 5}, "local_variables: "),
        ({"response_type": "failure", "retries": -1}, "retries: "),
        ({"response_type": "failure", "retries": 2**31}, "retries: "),
        ({"response_type": "failure", "retries": 1.5}, "retries: "),
        ({"response_type": "failure", "retries": "many"}, "retries: "),
        ({"response_type": "failure", "retry_timeout": -1}, "retry_timeout: "),
        ({"response_type": "failure", "retry_timeout": 2**53}, "retry_timeout: "),
        ({"response_type": "failure", "error_message": {"text": "x"}}, "error_message: "),
        ({"response_type": "extend_lock", "lock_duration": 0}, "lock_duration: "),
        ({"response_type": "extend_lock", "lock_duration": 2**53}, "lock_duration: "),
    ],
)
def test_a_wrong_field_is_named(fields: dict[str, Any], place: str) -> None:
    assert problem("t", **fields).startswith(place)


@pytest.mark.parametrize(
    "body",
    [b"", b"   ", b"null", b"[]", b'"complete"', b"5", b"complete", b"{", b'{"response_type": "complete"',
     b"<html>", b"{'response_type': 'complete'}", b'{"response_type":"complete"} {}', b"\xff\xfe{\x00}\x00",
     b'{"response_type":"complete","error_message":"\xff"}'],
)  # fmt: skip
def test_what_is_no_json_object_is_invalid(body: bytes) -> None:
    with pytest.raises(Unprocessable) as caught:
        Response.decode(body, "t", MAX_BYTES)

    assert caught.value.reason == "invalid"


def test_the_reason_of_a_refusal_does_not_quote_what_the_message_says() -> None:
    detail = problem(task_id="t", response_type="failure", retries="secret text")

    assert "secret text" not in detail


def test_a_response_may_have_exactly_the_allowed_size() -> None:
    body = b'{"task_id":"t","response_type":"complete"}'

    assert Response.decode(body, None, len(body)).task_id == "t"


def test_a_larger_response_is_too_large() -> None:
    body = b'{"task_id":"t","response_type":"complete"}'

    with pytest.raises(Unprocessable) as caught:
        Response.decode(body, None, len(body) - 1)

    assert (caught.value.reason, caught.value.detail) == ("too_large", "42 bytes, at most 41 are taken")


def typed(value: Any) -> Any:
    """Return what the engine is given for one variable."""
    response = decode(task_id="t", response_type="complete", variables={"x": value})
    return response.typed_variables()["variables"]["x"]


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("text", "String"),
        ("", "String"),
        ("5", "String"),
        (True, "Boolean"),
        (False, "Boolean"),
        (0, "Integer"),
        (2**31 - 1, "Integer"),
        (-(2**31), "Integer"),
        (2**31, "Long"),
        (-(2**31) - 1, "Long"),
        (2**53 + 1, "Long"),
        (2**63 - 1, "Long"),
        (-(2**63), "Long"),
        (1.5, "Double"),
        (1.0, "Double"),
        (-0.0, "Double"),
        (1e308, "Double"),
        (None, "Null"),
    ],
)
def test_the_type_of_a_bare_value_is_inferred(value: object, kind: str) -> None:
    envelope = typed(value)

    assert envelope == {"value": value, "type": kind}
    assert type(envelope["value"]) is type(value)


@pytest.mark.parametrize(
    "value",
    [[], {}, [1, "два", None], {"a": {"b": [True, 2**53 + 1]}}, {"value": 1, "comment": "x"}, {"type": "String"},
     [{"value": 1, "type": "Integer"}]],
)  # fmt: skip
def test_a_bare_list_or_object_is_json_as_text(value: object) -> None:
    envelope = typed(value)

    assert envelope["type"] == "Json"
    assert json.loads(envelope["value"]) == value


@pytest.mark.parametrize(
    "envelope",
    [
        {"value": "5", "type": "String"},
        {"value": 5, "type": "Long", "valueInfo": {}},
        {"value": None, "type": "String", "valueInfo": None},
        {"value": "2026-11-23T20:32:01.419+0000", "type": "Date"},
        {"value": "AAEC", "type": "File", "valueInfo": {"filename": "a.bin"}},
        {"value": "rO0AB", "type": "Object", "valueInfo": {"objectTypeName": "java.util.ArrayList"}},
        {"value": 2**53 + 1, "type": "Long"},
    ],
)
def test_a_typed_envelope_is_passed_on_as_it_came(envelope: dict[str, Any]) -> None:
    assert typed(envelope) == envelope


@pytest.mark.parametrize("envelope", [{"value": 5}, {"value": 5, "type": None}, {"value": 5, "valueInfo": {}}])
def test_an_envelope_without_a_type_has_it_inferred(envelope: dict[str, Any]) -> None:
    assert typed(envelope) == {"value": 5, "type": "Integer"}


def test_a_json_envelope_may_hold_its_value_unquoted() -> None:
    envelope = typed({"value": {"ключ": [1]}, "type": "Json", "valueInfo": {}})

    assert envelope == {"value": '{"ключ":[1]}', "type": "Json", "valueInfo": {}}


@pytest.mark.parametrize(
    "envelope",
    [{"value": 1, "type": 5}, {"value": 1, "type": ["String"]}, {"value": [1], "type": {}},
     {"value": 1, "type": "Integer", "valueInfo": "x"}, {"value": 1, "valueInfo": []}],
)  # fmt: skip
def test_an_envelope_that_the_engine_cannot_read_is_invalid(envelope: dict[str, Any]) -> None:
    detail = problem(task_id="t", response_type="complete", variables={"x": envelope})

    assert detail == "variable 'x': type must be a text and valueInfo an object"


@pytest.mark.parametrize(
    "value",
    [2**63, -(2**63) - 1, int("9" * 4000), float("nan"), float("inf"), float("-inf"),
     {"value": float("nan")}, [float("inf")], {"value": [float("nan")], "type": "Json"},
     {"value": float("inf"), "type": "Double"},
     {"value": "{}", "type": "Object", "valueInfo": {"x": float("nan")}}],
)  # fmt: skip
def test_a_number_that_no_type_holds_is_invalid_and_its_variable_named(value: object) -> None:
    detail = problem(task_id="t", response_type="complete", variables={"x": value})

    assert detail.startswith("variable 'x': ")
    assert len(detail) < 200


def test_json_is_compact_and_readable() -> None:
    assert encode_json({"ключ": [1, None, "é"]}) == '{"ключ":[1,null,"é"]}'.encode()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "\udfff"])
def test_what_json_cannot_hold_is_a_value_error(value: object) -> None:
    with pytest.raises(ValueError, match=r"Out of range|surrogates"):
        encode_json([value])
