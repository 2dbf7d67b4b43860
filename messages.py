"""The contract in code: the task message, the response, typed variables. Pure: nothing here does I/O."""

import json
import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, Self
from urllib.parse import quote

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from errors import Unprocessable

TASK_EXCHANGE = "camunda.external.tasks"
RESPONSE_QUEUE = "camunda.responses.queue"
ERROR_EXCHANGE = "camunda.errors"
ERROR_KEY = "errors.camunda_tasks"
FIRST_ATTEMPT = "first"

Variables = dict[str, dict[str, Any]]

_TASK_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_ENVELOPE_KEYS = frozenset({"value", "type", "valueInfo"})
_INTEGER_RANGE = range(-(2**31), 2**31)
_LONG_RANGE = range(-(2**63), 2**63)

_dump = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def encode_json(document: object) -> bytes:
    """Return compact UTF-8 JSON. Raises ValueError for NaN, infinity and lone surrogates."""
    return _dump(document).encode()


@dataclass(frozen=True, slots=True)
class ExternalTask:
    """A task as `fetchAndLock` returns it; what older engines leave out is None."""

    id: str
    topic: str
    worker_id: str
    retries: int | None
    lock_expires_at: datetime
    process_instance_id: str
    variables: Variables
    fields: dict[str, Any]

    @classmethod
    def from_engine(cls, fields: dict[str, Any]) -> Self:
        """Build a task from the engine's JSON object. Raises KeyError or ValueError where it is none."""
        return cls(
            id=fields["id"],
            topic=fields["topicName"],
            worker_id=fields["workerId"],
            retries=fields.get("retries"),
            lock_expires_at=datetime.fromisoformat(fields["lockExpirationTime"]),
            process_instance_id=fields["processInstanceId"],
            variables=fields.get("variables") or {},
            fields=fields,
        )

    @property
    def attempt(self) -> str:
        """The engine's `retries` as text, `first` before the first failure."""
        return attempt_of(self.retries)


@dataclass(frozen=True, slots=True)
class TaskState:
    """How a task stands at the engine when it is read; times are the engine's."""

    id: str
    topic: str
    worker_id: str | None
    retries: int | None
    lock_expires_at: datetime | None
    process_instance_id: str
    suspended: bool

    @classmethod
    def from_engine(cls, fields: dict[str, Any]) -> Self:
        """Build the state from the engine's JSON object."""
        lock_end = fields.get("lockExpirationTime")
        return cls(
            id=fields["id"],
            topic=fields["topicName"],
            worker_id=fields.get("workerId"),
            retries=fields.get("retries"),
            lock_expires_at=datetime.fromisoformat(lock_end) if lock_end else None,
            process_instance_id=fields["processInstanceId"],
            suspended=bool(fields.get("suspended")),
        )


def attempt_of(retries: int | None) -> str:
    """Return the name of the attempt that the engine's `retries` stands for."""
    return FIRST_ATTEMPT if retries is None else str(retries)


@dataclass(frozen=True, slots=True)
class Publication:
    """A message on its way to the broker; `headers` and `properties` as AMQP knows them."""

    exchange: str
    routing_key: str
    body: bytes
    headers: dict[str, Any]
    properties: dict[str, Any]


def task_message(
    task: ExternalTask, system: str, base_url: str, *, lock_grows_by_ms: int, expires_in_ms: int
) -> Publication:
    """Return the message that tells `system` of a task.

    `lock_grows_by_ms`: how much longer the full lock will be than the lease the task was fetched with.
    `expires_in_ms`: how long the message is of use, counted from now.
    Raises Unprocessable for a task that no message can carry.
    """
    lock_expires_at = _iso(task.lock_expires_at + timedelta(milliseconds=lock_grows_by_ms))
    headers = {
        "camunda_topic": task.topic,
        "target_system": system,
        "task_id": task.id,
        "process_instance_id": task.process_instance_id,
        "worker_id": task.worker_id,
        "lock_expires_at": lock_expires_at,
        "attempt": task.attempt,
    }
    traceparent = task.variables.get("traceparent", {}).get("value")
    if isinstance(traceparent, str):
        headers["traceparent"] = traceparent
    now = datetime.now(UTC)
    routing_key = f"{system}.{task.topic}"
    if len(routing_key.encode()) > 255:
        raise Unprocessable("invalid", f"topic {task.topic!r} is too long for a routing key of 255 bytes")
    return Publication(
        exchange=TASK_EXCHANGE,
        routing_key=routing_key,
        body=_task_body(task, system, base_url, lock_expires_at, now),
        headers=headers,
        properties={
            "content_type": "application/json",
            "content_encoding": "utf-8",
            "delivery_mode": 2,
            "correlation_id": task.id,
            "message_id": f"{task.id}:{task.attempt}",
            "reply_to": RESPONSE_QUEUE,
            "type": "camunda.external-task",
            "timestamp": int(now.timestamp()),
            "app_id": task.worker_id,
            "expiration": str(expires_in_ms),
        },
    )


def _task_body(task: ExternalTask, system: str, base_url: str, lock_expires_at: str, now: datetime) -> bytes:
    fields = task.fields
    metadata: dict[str, Any] = {"extension_properties": fields.get("extensionProperties") or {}}
    files = _file_urls(task, base_url)
    if files:
        metadata["file_urls"] = files
    document = {
        "task_id": task.id,
        "topic": task.topic,
        "system": system,
        "variables": task.variables,
        "process_instance_id": task.process_instance_id,
        "process_definition_id": fields.get("processDefinitionId"),
        "process_definition_key": fields.get("processDefinitionKey"),
        "activity_id": fields.get("activityId"),
        "activity_instance_id": fields.get("activityInstanceId"),
        "execution_id": fields.get("executionId"),
        "business_key": fields.get("businessKey"),
        "tenant_id": fields.get("tenantId"),
        "worker_id": task.worker_id,
        "retries": task.retries,
        "attempt": task.attempt,
        "priority": fields.get("priority", 0),
        "created_time": _iso_or_none(fields.get("createTime")),
        "lock_expires_at": lock_expires_at,
        "timestamp": _iso(now),
        "error_message": fields.get("errorMessage"),
        "metadata": metadata,
    }
    try:
        return encode_json(document)
    except ValueError as error:
        raise Unprocessable("invalid", f"the variables cannot be written as JSON: {error}") from error


def _file_urls(task: ExternalTask, base_url: str) -> dict[str, str]:
    """Return where the content of each File variable is, since the message carries none."""
    prefix = f"{base_url}/process-instance/{task.process_instance_id}/variables"
    return {
        name: f"{prefix}/{quote(name, safe='')}/data"
        for name, v in task.variables.items()
        if v.get("type") == "File"
    }


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds")


def _iso_or_none(text: str | None) -> str | None:
    return _iso(datetime.fromisoformat(text)) if text else None


class ResponseType(StrEnum):
    """What a system says of its task."""

    COMPLETE = "complete"
    FAILURE = "failure"
    BPMN_ERROR = "bpmn_error"
    EXTEND_LOCK = "extend_lock"


class Response(BaseModel):
    """A system's answer. Unknown fields are ignored; times are in milliseconds."""

    model_config = ConfigDict(frozen=True, extra="ignore", coerce_numbers_to_str=True)

    task_id: Annotated[str, BeforeValidator(lambda value: value or "")] = ""
    response_type: ResponseType
    worker_id: str | None = None
    attempt: str | None = None
    variables: dict[str, Any] | None = None
    local_variables: dict[str, Any] | None = None
    error_message: str | None = None
    error_details: str | None = None
    error_code: str | None = None
    retries: Annotated[int, Field(ge=0, lt=2**31)] | None = None
    retry_timeout: Annotated[int, Field(ge=0, lt=2**53)] | None = None
    lock_duration: Annotated[int, Field(gt=0, lt=2**53)] | None = None

    @classmethod
    def decode(cls, body: bytes, correlation_id: str | None, max_bytes: int) -> Self:
        """Return the response that a message holds; a missing `task_id` is the message's correlation id.

        Raises Unprocessable (`too_large`, `invalid`) for whatever the contract does not allow.
        """
        if len(body) > max_bytes:
            raise Unprocessable("too_large", f"{len(body)} bytes, at most {max_bytes} are taken")
        try:
            response = cls.model_validate_json(body)
        except ValidationError as error:
            raise Unprocessable("invalid", _first_problem(error)) from error
        if not response.task_id:
            response = response.model_copy(update={"task_id": correlation_id or ""})
        response._check()
        return response

    def _check(self) -> None:
        if not _TASK_ID.fullmatch(self.task_id):
            raise Unprocessable("invalid", f"task_id {self.task_id[:80]!r} is missing or no task id")
        if self.response_type is ResponseType.BPMN_ERROR and not self.error_code:
            raise Unprocessable("invalid", "error_code is missing; a bpmn_error needs one")

    def typed_variables(self) -> dict[str, Variables]:
        """Return `variables` and `localVariables` as the engine wants them, leaving out what is not given.

        Raises Unprocessable for a value that has no type at the engine.
        """
        given = {"variables": self.variables, "localVariables": self.local_variables}
        return {key: _typed(values) for key, values in given.items() if values}


def _first_problem(error: ValidationError) -> str:
    problem = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(part) for part in problem["loc"])
    return f"{place}: {problem['msg']}" if place else problem["msg"]


def _typed(values: dict[str, Any]) -> Variables:
    return {name: _envelope(name, value) for name, value in values.items()}


def _envelope(name: str, value: Any) -> dict[str, Any]:
    """Return a typed envelope; an untyped object would be stored by the engine as serialised Java."""
    if not (isinstance(value, dict) and "value" in value and value.keys() <= _ENVELOPE_KEYS):
        return _inferred(name, value)
    inner = value["value"]
    # An engine may refuse other JSON here without its error object, which looks as if no engine were there.
    if not isinstance(value.get("type"), str | None) or not isinstance(value.get("valueInfo"), dict | None):
        raise Unprocessable("invalid", f"variable {name!r}: type must be a text and valueInfo an object")
    if value.get("type") is None:
        return _inferred(name, inner)
    if isinstance(inner, dict | list):
        return {**value, "value": _json_text(name, inner)}
    return value


def _inferred(name: str, value: Any) -> dict[str, Any]:
    match value:
        case None:
            return {"value": None, "type": "Null"}
        case bool():
            return {"value": value, "type": "Boolean"}
        case str():
            return {"value": value, "type": "String"}
        case int() if value in _INTEGER_RANGE:
            return {"value": value, "type": "Integer"}
        case int() if value in _LONG_RANGE:
            return {"value": value, "type": "Long"}
        case float() if math.isfinite(value):
            return {"value": value, "type": "Double"}
        case dict() | list():
            return {"value": _json_text(name, value), "type": "Json"}
    raise Unprocessable("invalid", f"variable {name!r}: {value!r:.80} fits no type of the engine")


def _json_text(name: str, value: Any) -> str:
    try:
        return _dump(value)
    except ValueError as error:
        raise Unprocessable("invalid", f"variable {name!r}: {error}") from error
