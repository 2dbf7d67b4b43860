"""A task as the engine gives it, and the message that tells a system of it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from bridge.contract import fields as read
from bridge.contract.references import large, references, variable_url, with_references
from bridge.contract.traces import TraceContext
from bridge.contract.variables import Variables
from bridge.contract.wire import RESPONSE_QUEUE, TASK_EXCHANGE, Publication, encode_json
from bridge.errors import Unprocessable

FIRST_ATTEMPT = "first"
HIGHEST_PRIORITY = 255  # of a message; a task may have any 64-bit number
BINARY_TYPES = ("File", "Bytes")  # an engine may tell no value of them together with their type


@dataclass(frozen=True, slots=True)
class ExternalTask:
    """A task as `fetchAndLock` returns it; what older engines leave out is None.

    `trace`: the trace that its variables `traceparent` and `tracestate` name. `variable_ids`: the ids of variables
    by name, as far as they are needed (`references.py`) and known. `object_values`: its lists and maps of Java as
    JSON, as far as the engine can give them so.
    """

    id: str
    topic: str
    worker_id: str
    retries: int | None
    lock_expires_at: datetime
    process_instance_id: str
    variables: Variables
    fields: dict[str, Any]
    trace: TraceContext | None = None
    variable_ids: Mapping[str, str] = field(default_factory=dict)
    object_values: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_engine(cls, fields: dict[str, Any]) -> Self:
        """Build a task from the engine's JSON object. Raises KeyError or ValueError where it is none."""
        variables = read.variables(fields)
        return cls(
            id=read.task_id(fields),
            topic=read.text(fields, "topicName"),
            worker_id=read.text(fields, "workerId"),
            retries=read.retries(fields),
            lock_expires_at=read.moment(fields["lockExpirationTime"]),
            process_instance_id=read.process_instance_id(fields),
            variables=variables,
            fields=fields,
            trace=read.trace(variables),
        )

    @property
    def attempt(self) -> str:
        """The engine's `retries` as text, `first` before the first failure."""
        return attempt_of(self.retries)

    @property
    def process_key(self) -> str:
        """The key of its process definition."""
        return str(self.fields.get("processDefinitionKey") or "")

    @property
    def activity_instance_id(self) -> str:
        """What history knows its activity by."""
        return str(self.fields.get("activityInstanceId") or "")

    @property
    def tenant_id(self) -> str | None:
        """The tenant of its process, None where it has none."""
        tenant = self.fields.get("tenantId")
        return None if tenant is None else str(tenant)

    @property
    def files(self) -> list[str]:
        """The names of its variables of type File, whose content no fetch brings."""
        return [name for name, variable in self.variables.items() if variable.get("type") == "File"]

    @property
    def large_variables(self) -> list[str]:
        """The names of its variables that may be sent by reference."""
        return large(self.variables)

    def urls_of(self, names: Iterable[str], base_url: str) -> dict[str, str]:
        """Return where the engine serves these variables as the task sees them, as far as that is known."""
        execution_id = self.fields.get("executionId") or self.process_instance_id
        urls = ((name, variable_url(name, base_url, execution_id, self.variable_ids)) for name in names)
        return {name: url for name, url in urls if url}

    def with_references(self, base_url: str, excess_bytes: int) -> Self:
        """Return the task with references in place of its largest variables, to save so many bytes."""
        urls = self.urls_of(self.large_variables, base_url)
        return replace(self, variables=with_references(self.variables, urls, excess_bytes))


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
    tenant_id: str | None = None
    process_definition_id: str = ""
    activity_id: str = ""
    activity_instance_id: str = ""
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
            tenant_id=fields.get("tenantId"),
            process_definition_id=fields.get("processDefinitionId") or "",
            activity_id=fields.get("activityId") or "",
            activity_instance_id=fields.get("activityInstanceId") or "",
            execution_id=fields.get("executionId") or "",
            odd_lock_end=str(fields["lockExpirationTime"])[:40] if has_odd_lock_end else None,
        )


def attempt_of(retries: int | None) -> str:
    """Return the name of the attempt that the engine's `retries` stands for."""
    return FIRST_ATTEMPT if retries is None else str(retries)


def task_message(
    task: ExternalTask,
    system: str,
    base_url: str,
    *,
    lock_grows_by_ms: int,
    expires_in_ms: int,
    sends_priority: bool = False,
) -> Publication:
    """Return the message that tells `system` of a task.

    `lock_grows_by_ms`: how much longer the full lock will be than the lease the task was fetched with.
    `expires_in_ms`: how long the message is of use, counted from now. `sends_priority`: the message has the task's
    priority, cut to what a message can have.
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
    if task.trace:
        headers |= task.trace.headers
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
            **_properties(task, now),
            "expiration": str(expires_in_ms),
            **({"priority": _message_priority(task)} if sends_priority else {}),
        },
    )


def _properties(task: ExternalTask, now: datetime) -> dict[str, Any]:
    return {
        "content_type": "application/json",
        "content_encoding": "utf-8",
        "delivery_mode": 2,
        "correlation_id": task.id,
        "message_id": f"{task.id}:{task.attempt}",
        "reply_to": RESPONSE_QUEUE,
        "type": "camunda.external-task",
        "timestamp": int(now.timestamp()),
        "app_id": task.worker_id,
    }


def _message_priority(task: ExternalTask) -> int:
    priority = task.fields.get("priority")
    return max(0, min(priority, HIGHEST_PRIORITY)) if isinstance(priority, int) else 0


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
    """Return what is known beside the variables, and where the values are that the message does not carry."""
    metadata = {"extension_properties": task.fields.get("extensionProperties") or {}}
    for kind, names in (("file_urls", task.files), ("variable_urls", references(task.variables))):
        if names and (urls := _value_urls(task, names, base_url)):
            metadata[kind] = urls
    return metadata | ({"object_values": task.object_values} if task.object_values else {})


def _value_urls(task: ExternalTask, names: Iterable[str], base_url: str) -> dict[str, str]:
    """Return where the values of variables are: of binary ones the bytes, of others the envelope as JSON."""
    urls = task.urls_of(names, base_url)
    binary = {name for name in urls if task.variables[name].get("type") in BINARY_TYPES}
    return {
        name: f"{url}/data" if name in binary else f"{url}?deserializeValue=false" for name, url in urls.items()
    }


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds")


def _iso_or_none(text: object) -> str | None:
    """Return a moment that is good to know; an older engine tells none, and none is worth a task."""
    try:
        return _iso(read.moment(text))
    except ValueError:
        return None
