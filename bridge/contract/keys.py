"""The keys of an answer: which of them nobody knows, which known one was meant, and whose task it is about."""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from bridge.contract.bodies import PLAIN, BodyForm
from bridge.contract.fields import ATTEMPT, TASK_ID
from bridge.contract.task import attempt_of

READ_BYTES = 65_536
SIMILAR = 0.7
LAST_WORDS = ("complete", "bpmn_error")
# Where a body is no JSON, its first fields may still be legible: up to the first object or list within, behind
# what came before it, such as a second mark, a comment or `json=`; in the quotes of another language, or in two.
FIRST_FIELDS = re.compile(rb"[^{]{0,80}\{[^{\[]*")
QUOTE = rb"""\\{0,3}["']"""
FIELD = QUOTE + rb"%s" + QUOTE + rb"\s*:\s*" + QUOTE + rb"([A-Za-z0-9_-]{1,64})" + QUOTE


@dataclass(frozen=True, slots=True)
class NamedTask:
    """The task that an answer is about, and what else can be read of it; `attempt` None: it does not say."""

    task_id: str
    attempt: str | None = None
    response_type: str | None = None

    @property
    def is_answer(self) -> bool:
        """Whether it says what became of the task; a sign of life does not, nor what cannot be read."""
        return self.response_type in (*LAST_WORDS, "failure")

    def is_of_attempt(self, retries: int | None) -> bool:
        """Whether it answers a task that has so many retries left.

        A failure that does not say of which attempt it is may have had its effect, and be why the task is offered.
        """
        if self.attempt is None:
            return self.response_type in LAST_WORDS
        return self.attempt == attempt_of(retries) and self.is_answer


def nearest(key: str, known: Iterable[str]) -> str | None:
    """Return the known key that was meant by another one, such as `task_id` by `taskId`."""
    names = {_plain(name): name for name in known}
    found = get_close_matches(_plain(key[:80]), names, n=1, cutoff=SIMILAR)
    return names[found[0]] if found else None


def meant_by(wanted: str, keys: Iterable[str], known: Iterable[str]) -> str | None:
    """Return the one of some unknown keys by which a missing one was meant."""
    return next((key for key in keys if nearest(key, known) == wanted), None)


def _plain(key: str) -> str:
    return re.sub(r"[^0-9a-z]", "", key.casefold())


def named_task(body: bytes, correlation_id: str | None, form: BodyForm = PLAIN) -> NamedTask | None:
    """Return which task an answer is about that cannot be used; None where it does not say."""
    begin = form.beginning(body, READ_BYTES + 1)
    fields = {_plain(str(key)): value for key, value in first_fields(begin).items()}
    task_id = _legible(fields.get("taskid"), TASK_ID) or _legible(correlation_id, TASK_ID)
    if task_id is None:
        return None
    response_type = fields.get("responsetype")
    attempt = _legible(fields.get("attempt"), ATTEMPT)
    return NamedTask(task_id, attempt, response_type if isinstance(response_type, str) else None)


def _legible(value: object, form: re.Pattern[str]) -> str | None:
    text = str(value) if isinstance(value, str | int) else ""
    return text if form.fullmatch(text) else None


def first_fields(body: bytes) -> dict[str, Any]:
    """Return the fields of a JSON object, or those at its beginning that can be read where it is broken."""
    try:
        document = json.loads(body) if len(body) <= READ_BYTES else None
    except (ValueError, RecursionError):
        document = None
    if isinstance(document, dict):
        return document
    begin = FIRST_FIELDS.match(body[:READ_BYTES])
    found = {name: re.search(FIELD % name.encode(), begin[0]) for name in _LEGIBLE} if begin else {}
    return {name: match[1].decode() for name, match in found.items() if match}


_LEGIBLE = ("task_id", "taskId", "attempt", "response_type")
