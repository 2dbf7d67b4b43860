"""What the engine means by a status and a body: one verdict per answer, seen on engines 7.14 to 7.24."""

import json
import re
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, Self

from bridge.errors import Unanswered, Unavailable


class Verdict(Enum):
    """The engine's word on one call."""

    ACCEPTED = "the engine took it"
    GONE = "the task was completed or cancelled before"
    STALE = "it is about an attempt before the present one"
    LOCKED = "another worker holds the task"
    EXPIRED = "the lock expired before it could be extended"
    SUSPENDED = "the process instance is suspended"
    REJECTED = "the answer itself is bad: it can never succeed"
    COLLISION = "two calls met in the engine: repeat at once"
    TROUBLE = "this call fails while the engine may be well"
    UNAUTHORIZED = "the engine refuses our login"
    UNKNOWN_CALL = "this engine has no such call"
    UNCLEAR = "an error that says nothing of the answer: only the task tells"
    AWAY = "no engine answers"


# The same call may succeed a little later.
FOR_NOW = frozenset({Verdict.COLLISION, Verdict.TROUBLE, Verdict.UNCLEAR, Verdict.AWAY, Verdict.UNAUTHORIZED})
MAY_RUN_SECONDS = 1.0  # a call without a reply that was out for longer may be at work in the engine


@dataclass(frozen=True, slots=True)
class Answer:
    """A verdict with the engine's own words; `owner` is the worker that holds a LOCKED task.

    `wait_seconds`: for so long the server asked to be left alone. `may_run`: the engine has not replied, and may
    still be at work on the call; `timed_out`: it has not replied within the longest time that we wait.
    """

    verdict: Verdict
    detail: str = ""
    owner: str | None = None
    status: int = field(default=0, compare=False)
    wait_seconds: float = field(default=0.0, compare=False)
    may_run: bool = field(default=False, compare=False)
    timed_out: bool = field(default=False, compare=False)

    @classmethod
    def missing(cls, error: Unavailable) -> Self:
        """Return what it means that no usable reply came."""
        if isinstance(error, Unanswered):
            may_run = error.seconds >= MAY_RUN_SECONDS
            return cls(Verdict.AWAY, str(error), may_run=may_run, timed_out=error.timed_out)
        return cls(Verdict.AWAY, str(error), wait_seconds=error.wait_seconds)


_LOCKED_BY = re.compile(r"is locked by worker '([^']*)'")
_GONE = re.compile(r"External task with id .* does not exist")
_COLLISION_CODES = (1, 10_000)  # optimistic locking, deadlock; a tuple, for a code may be unhashable JSON
_VALUE_TOO_LONG = 10_002
_NO_ENGINE = "No process engine available"  # a wrong engine name, or an engine that is not registered yet
_PROXY_STATUSES = {429, 502, 503, 504}  # no engine sends them


def judge(status: int, body: bytes) -> Answer:
    """Return the verdict on a call that succeeds with 204 and nothing else.

    What is not the engine's own error object is not the engine's word, whatever its status.
    """
    if status == 204:
        return Answer(Verdict.ACCEPTED)
    error = engine_error(body)
    message = str(error.get("message") or body[:200].decode("utf-8", "replace"))
    # JSON may hold half a character, which nobody can send on.
    message = message.encode("utf-8", "replace").decode()
    return replace(_judged(status, error, message), detail=f"{status} {message}", status=status)


def _judged(status: int, error: dict[str, Any], message: str) -> Answer:
    if status == 401:
        return Answer(Verdict.UNAUTHORIZED)
    if not error or status in _PROXY_STATUSES:
        return Answer(Verdict.AWAY)
    match status:
        case 400:
            return _bad_request(message)
        case 403:
            return Answer(Verdict.TROUBLE)
        case 404 if error["type"] == "RestException" and _GONE.search(message):
            return Answer(Verdict.GONE)
        case 404 if error["type"] == "NotFoundException":
            return Answer(Verdict.UNKNOWN_CALL)
        case 413:
            return Answer(Verdict.REJECTED)
        case _ if status >= 500:
            return Answer(_server_error(error, message))
    return Answer(Verdict.AWAY)


def engine_error(body: bytes) -> dict[str, Any]:
    """Return the engine's own error object; empty where the body is none (a proxy's page, plain text)."""
    try:
        error = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return error if isinstance(error, dict) and {"type", "message"} <= error.keys() else {}


def _bad_request(message: str) -> Answer:
    locked = _LOCKED_BY.search(message)
    if locked:
        return Answer(Verdict.LOCKED, owner=locked[1])
    if "is suspended" in message:
        return Answer(Verdict.SUSPENDED)
    if "Cannot extend a lock that expired" in message:
        return Answer(Verdict.EXPIRED)
    if _NO_ENGINE in message:
        return Answer(Verdict.AWAY)
    return Answer(Verdict.REJECTED)


def _server_error(error: dict[str, Any], message: str) -> Verdict:
    kind, code = error.get("type"), error.get("code")
    if code in _COLLISION_CODES or kind == "OptimisticLockingException":
        return Verdict.COLLISION
    if kind == "NullPointerException":
        return Verdict.UNCLEAR  # a race in the engine, or an engine that is just being deployed
    if code == _VALUE_TOO_LONG or kind == "NullValueException":
        return Verdict.REJECTED
    if _NO_ENGINE in message or "too many requests" in message:
        return Verdict.AWAY
    return Verdict.TROUBLE
