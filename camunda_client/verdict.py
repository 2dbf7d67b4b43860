"""What the engine means by a status and a body: one verdict per answer, seen on engines 7.14 to 7.24."""

import json
import re
from dataclasses import dataclass
from enum import Enum
from typing import Any


class Verdict(Enum):
    """The engine's word on one call."""

    ACCEPTED = "the engine took it"
    GONE = "the task was completed or cancelled before"
    LOCKED = "another worker holds the task"
    EXPIRED = "the lock expired before it could be extended"
    SUSPENDED = "the process instance is suspended"
    REJECTED = "the answer itself is bad: it can never succeed"
    COLLISION = "two calls met in the engine: repeat at once"
    TROUBLE = "this call fails while the engine may be well"
    UNAUTHORIZED = "the engine refuses our login"
    UNKNOWN_CALL = "this engine has no such call"
    AWAY = "no engine answers"


# The same call may succeed a little later.
FOR_NOW = frozenset({Verdict.COLLISION, Verdict.TROUBLE, Verdict.AWAY, Verdict.UNAUTHORIZED})


@dataclass(frozen=True, slots=True)
class Answer:
    """A verdict with the engine's own words; `owner` is the worker that holds a LOCKED task."""

    verdict: Verdict
    detail: str = ""
    owner: str | None = None


_LOCKED_BY = re.compile(r"is locked by worker '([^']*)'")
_GONE = re.compile(r"External task with id .* does not exist")
_COLLISION_CODES = (1, 10_000)  # optimistic locking, deadlock; a tuple, for a code may be unhashable JSON
_VALUE_TOO_LONG = 10_002
_AWAY_STATUSES = {429, 502, 503, 504}


def judge(status: int, body: bytes) -> Answer:
    """Return the verdict on a call that succeeds with 204 and nothing else."""
    if status == 204:
        return Answer(Verdict.ACCEPTED)
    error = engine_error(body)
    message = str(error.get("message") or body[:200].decode("utf-8", "replace"))
    # JSON may hold half a character, which nobody can send on.
    message = message.encode("utf-8", "replace").decode()
    detail = f"{status} {message}"
    match status:
        case 400 if "type" in error:
            return _bad_request(message, detail)
        case 401:
            return Answer(Verdict.UNAUTHORIZED, detail)
        case 403 if "type" in error:
            return Answer(Verdict.TROUBLE, detail)
        case 404 if error.get("type") == "RestException" and _GONE.search(message):
            return Answer(Verdict.GONE, detail)
        case 404 if error.get("type") == "NotFoundException":
            return Answer(Verdict.UNKNOWN_CALL, detail)
        case 413:
            return Answer(Verdict.REJECTED, detail)
        case _ if status >= 500 and status not in _AWAY_STATUSES:
            return Answer(_server_error(error), detail)
    return Answer(Verdict.AWAY, detail)


def engine_error(body: bytes) -> dict[str, Any]:
    """Return the engine's own error object; empty where the body is none (a proxy's page, plain text)."""
    try:
        error = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return error if isinstance(error, dict) and {"type", "message"} <= error.keys() else {}


def _bad_request(message: str, detail: str) -> Answer:
    locked = _LOCKED_BY.search(message)
    if locked:
        return Answer(Verdict.LOCKED, detail, owner=locked[1])
    if "is suspended" in message:
        return Answer(Verdict.SUSPENDED, detail)
    if "Cannot extend a lock that expired" in message:
        return Answer(Verdict.EXPIRED, detail)
    if "No process engine available" in message:
        return Answer(Verdict.AWAY, detail)
    return Answer(Verdict.REJECTED, detail)


def _server_error(error: dict[str, Any]) -> Verdict:
    kind, code = error.get("type"), error.get("code")
    if code in _COLLISION_CODES or kind == "OptimisticLockingException":
        return Verdict.COLLISION
    if code == _VALUE_TOO_LONG or kind in ("NullValueException", "NullPointerException"):
        return Verdict.REJECTED
    if "too many requests" in str(error.get("message")):
        return Verdict.AWAY
    return Verdict.TROUBLE
