"""Fields of the engine's JSON objects, checked: what is not as the engine writes it raises ValueError."""

import re
from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar

from bridge.contract.traces import TraceContext
from bridge.contract.variables import Variables

TASK_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
ATTEMPT = re.compile(r"first|[0-9]{1,10}")  # see `attempt_of`
# A lock of 2^53 ms ends in the year 287453; and a little before the year 9999 nothing can be added any more.
YEARS = range(1970, 9000)

Value = TypeVar("Value")


def optional(read: Callable[[dict[str, Any]], Value], fields: dict[str, Any], *, needed: bool) -> Value | None:
    """Return what `read` returns, None where it raises and the field is not needed."""
    try:
        return read(fields)
    except (KeyError, ValueError):
        if needed:
            raise
        return None


def text(fields: dict[str, Any], name: str) -> str:
    """Return a text that is not empty and can be sent on. Raises KeyError, ValueError."""
    value = fields[name]
    if not isinstance(value, str) or not value:
        raise ValueError(f"{name} is {value!r:.80}")
    value.encode()  # JSON may hold half a character, which raises a ValueError here
    return value


def task_id(fields: dict[str, Any]) -> str:
    """Return the id of a task, which an answer can name and a URL hold."""
    value = text(fields, "id")
    if not TASK_ID.fullmatch(value):
        raise ValueError(f"{value!r:.80} is no task id")
    return value


def process_instance_id(fields: dict[str, Any]) -> str:
    """Return the id of a task's process instance."""
    return text(fields, "processInstanceId")


def worker_id(fields: dict[str, Any]) -> str | None:
    """Return who locked a task last, None where nobody did."""
    return None if fields.get("workerId") is None else text(fields, "workerId")


def lock_end(fields: dict[str, Any]) -> datetime | None:
    """Return when the lock of a task ends or has ended, None where nobody locked it."""
    value = fields.get("lockExpirationTime")
    return None if value is None else moment(value)


def retries(fields: dict[str, Any]) -> int | None:
    """Return how many attempts are left, None before the first failure."""
    value = fields.get("retries")
    if value is not None and (type(value) is not int or value < 0):
        raise ValueError(f"retries is {value!r:.80}")
    return value


def moment(value: object) -> datetime:
    """Return a moment with its zone; one without is taken for local time."""
    if not isinstance(value, str):
        raise ValueError(f"{value!r:.80} is no time")
    found = datetime.fromisoformat(value)
    if found.year not in YEARS:
        raise ValueError(f"{value!r:.80} is no time that anybody means")
    return found if found.tzinfo else found.astimezone()


def variables(fields: dict[str, Any]) -> Variables:
    """Return the variables in their envelopes."""
    value = fields.get("variables") or {}
    if not isinstance(value, dict) or not all(isinstance(envelope, dict) for envelope in value.values()):
        raise ValueError("its variables are no typed envelopes")
    return value


def trace(variables: Variables) -> TraceContext | None:
    """Return the trace that the variables name, None where they name none or no valid one."""
    if "traceparent" not in variables:
        return None
    parent, state = (variables.get(name, {}).get("value") for name in ("traceparent", "tracestate"))
    return TraceContext.read(parent, state)
