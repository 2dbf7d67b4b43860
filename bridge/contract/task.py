"""A task as the engine gives it, and the message that tells a system of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Self
from urllib.parse import quote

from bridge.contract import fields as read
from bridge.contract.variables import Variables
from bridge.contract.wire import RESPONSE_QUEUE, TASK_EXCHANGE, Publication, encode_json
from bridge.errors import Unprocessable

FIRST_ATTEMPT = "first"


@dataclass(frozen=True, slots=True)
class ExternalTask:
    """A task as `fetchAndLock` returns it; what older engines leave out is None.

    `object_values`: its lists and maps of Java as JSON, as far as the engine can give them so.
    """

    id: str
    topic: str
    worker_id: str
    retries: int | None
    lock_expires_at: datetime
    process_instance_id: str
    variables: Variables
    fields: dict[str, Any]
    object_values: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_engine(cls, fields: dict[str, Any]) -> Self:
        """Build a task from the engine's JSON object. Raises KeyError or ValueError where it is none."""
        return cls(
            id=read.task_id(fields),
            topic=read.text(fields, "topicName"),
            worker_id=read.text(fields, "workerId"),
            retries=read.retries(fields),
            lock_expires_at=read.moment(fields["lockExpirationTime"]),
            process_instance_id=read.process_instance_id(fields),
            variables=read.variables(fields),
            fields=fields,
        )

    @property
    def attempt(self) -> str:
        """The engine's `retries` as text, `first` before the first failure."""
        return attempt_of(self.retries)


@dataclass(frozen=True, slots=True)
class TaskState:
    """How a task stands at the engine when it is read; times are the engine's.

    `worker_id` stays after the lock has ended. `odd_lock_end` is the end of the lock in the engine's words, where
    they are no time that can be read.
    """

    id: str
    topic: str
    worker_id: str | None
    retries: int | None
    lock_expires_at: datetime | None
    process_instance_id: str
    suspended: bool
    error_message: str | None = None
    process_key: str = ""
    execution_id: str = ""
    odd_lock_end: str | None = None

    @classmethod
    def from_engine(cls, fields: dict[str, Any], *, needs_all: bool = True) -> Self:
        """Build the state from the engine's JSON object. Raises KeyError or ValueError where it is none.

        Where it does not need all, a task's id and topic are enough, and what else cannot be read is left out.
        """
        lock_expires_at = read.optional(read.lock_end, fields, needed=needs_all)
        has_odd_lock_end = lock_expires_at is None and fields.get("lockExpirationTime") is not None
        return cls(
            id=read.task_id(fields),
            topic=read.text(fields, "topicName"),
            worker_id=read.optional(read.worker_id, fields, needed=needs_all),
            retries=read.optional(read.retries, fields, needed=needs_all),
            lock_expires_at=lock_expires_at,
            process_instance_id=read.optional(read.process_instance_id, fields, needed=needs_all) or "",
            suspended=bool(fields.get("suspended")),
            error_message=fields.get("errorMessage"),
            process_key=fields.get("processDefinitionKey") or "",
            execution_id=fields.get("executionId") or "",
            odd_lock_end=str(fields["lockExpirationTime"])[:40] if has_odd_lock_end else None,
        )


def attempt_of(retries: int | None) -> str:
    """Return the name of the attempt that the engine's `retries` stands for."""
    return FIRST_ATTEMPT if retries is None else str(retries)


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
    }
    try:
        return encode_json(document | {"metadata": _metadata(task, base_url)})
    except ValueError as error:
        raise Unprocessable("invalid", f"the variables cannot be written as JSON: {error}") from error


def _metadata(task: ExternalTask, base_url: str) -> dict[str, Any]:
    extensions = {"extension_properties": task.fields.get("extensionProperties") or {}}
    files = _file_urls(task, base_url)
    optional = {"file_urls": files, "object_values": task.object_values}
    return extensions | {name: value for name, value in optional.items() if value}


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


def _iso_or_none(text: object) -> str | None:
    """Return a moment that is good to know; an older engine tells none, and none is worth a task."""
    try:
        return _iso(read.moment(text))
    except ValueError:
        return None
