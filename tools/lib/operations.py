"""What an operator asks of the engine and does at it: tasks, processes, incidents, starts, retries."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from bridge.contract import TaskState, Variables
from bridge.engine.rest import Rest, Row
from bridge.engine.rows import readable
from bridge.errors import Unavailable
from bridge.texts import gettext, pgettext

RETRIES_AT_ONCE = 100


def is_locked(task: TaskState, now: datetime) -> bool:
    """Whether somebody holds a task; after a `failure` the lock is the pause before the next attempt."""
    return task.odd_lock_end is not None or (task.lock_expires_at is not None and task.lock_expires_at > now)


def lock_end_of(task: TaskState) -> str | None:
    """Return when the lock of a task ends, for people."""
    return task.lock_expires_at.isoformat(" ", "seconds") if task.lock_expires_at else task.odd_lock_end


def situation_of(task: TaskState, now: datetime) -> str:
    """Say in a few words how a task stands."""
    if task.retries == 0:
        return gettext("failed, no retries left")
    if task.suspended:
        return pgettext("task", "suspended")
    if not task.worker_id:
        return pgettext("task", "waiting")
    if is_locked(task, now) and task.error_message:
        text = gettext("held by {worker} after a failure")
    elif is_locked(task, now):
        text = gettext("locked by {worker}")
    else:
        text = gettext("lock of {worker} expired")
    return text.format(worker=task.worker_id)


def _tasks_of(rows: Iterable[Row]) -> list[TaskState]:
    """Read tasks as far as they can be read: the id and the topic of one are enough to put it right."""
    return readable("external-task", lambda row: TaskState.from_engine(row, needs_all=False), rows)


class Operations:
    """The calls; see Rest for what they raise. A query is the engine's own, such as `{"locked": True}`."""

    def __init__(self, rest: Rest) -> None:
        self._rest = rest

    def tasks(self, query: Row, *, limit: int) -> list[TaskState]:
        """Return up to `limit` open external tasks, sorted by topic."""
        order = [{"sortBy": "id", "sortOrder": "asc"}]  # pages need an order
        rows = self._rest.pages("/external-task", {**query, "sorting": order}, limit=limit)
        return sorted(_tasks_of(rows), key=lambda task: (task.topic, task.id))

    def task(self, task_id: str) -> TaskState:
        """Return one task. Raises Unprocessable where there is none of this id."""
        row = self._rest.read(f"/external-task/{quote(task_id, safe='')}")
        for task in _tasks_of([row]):
            return task
        text = gettext("what the engine calls task {task} has no id or no topic")
        raise Unavailable(text.format(task=task_id))

    def count_tasks(self, query: Row) -> int:
        """Return how many open external tasks a query has."""
        return self._rest.count("/external-task/count", query)

    def definitions(self) -> list[Row]:
        """Return each version of each process that is deployed, with its instances, failed jobs and incidents."""
        return self._rest.rows("/process-definition/statistics", failedJobs="true", incidents="true")

    def instances(self, key: str | None, *, limit: int) -> list[Row]:
        """Return up to `limit` running instances, each with `startTime` where the history knows it."""
        query = {"processDefinitionKey": key, "sortBy": "instanceId", "sortOrder": "asc"}
        rows = self._rest.pages("/process-instance", None, limit=limit, **query)
        known = [row for row in rows if isinstance(row, dict) and isinstance(row.get("id"), str)]
        started = self._start_times([row["id"] for row in known])
        return [{**row, "startTime": started.get(row["id"])} for row in known]

    def _start_times(self, ids: Sequence[str]) -> dict[str, Any]:
        if not ids:
            return {}
        query = {"processInstanceIds": list(ids)}
        rows = self._rest.pages("/history/process-instance", query, limit=len(ids))
        return dict(readable("history/process-instance", lambda row: (row["id"], row["startTime"]), rows))

    def incidents(self, key: str | None, *, limit: int) -> list[Row]:
        """Return up to `limit` open incidents, of one process or of all, newest first."""
        query = {"processDefinitionKeyIn": key, "sortBy": "incidentTimestamp", "sortOrder": "desc"}
        return self._rest.pages("/incident", None, limit=limit, **query)

    def start(self, key: str, variables: Variables, business_key: str | None) -> str:
        """Start an instance of the latest version of a process and return its id."""
        body = {"variables": variables, "businessKey": business_key}
        row = self._rest.act("POST", f"/process-definition/key/{quote(key, safe='')}/start", body)
        if "id" not in row:
            text = gettext("what answers the start of {key} tells no id, and is no engine")
            raise Unavailable(text.format(key=key))
        return str(row["id"])

    def unlock(self, task_id: str) -> None:
        """Free a task, whoever holds it."""
        self._rest.act("POST", f"/external-task/{quote(task_id, safe='')}/unlock", {})

    def set_retries(self, task_ids: Sequence[str], retries: int) -> None:
        """Set the retries of tasks; from 0 to more their incidents are resolved."""
        for start in range(0, len(task_ids), RETRIES_AT_ONCE):
            some = list(task_ids[start : start + RETRIES_AT_ONCE])
            self._rest.act("PUT", "/external-task/retries", {"externalTaskIds": some, "retries": retries})

    def now(self) -> datetime:
        """Return the engine's time to the second; ours where it does not tell."""
        return self._rest.http.server_time() or datetime.now(UTC)
