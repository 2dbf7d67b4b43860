"""What an operator asks of the engine and does at it: tasks, processes, incidents, starts, retries."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self
from urllib.parse import quote

from bridge.contract import Variables
from bridge.contract.fields import moment, text
from bridge.engine.rest import Rest, Row
from bridge.engine.rows import readable
from bridge.errors import Unavailable

RETRIES_AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class OpenTask:
    """An external task as it stands; `worker_id` stays after its lock has ended. Times are the engine's."""

    id: str
    topic: str
    worker_id: str | None
    lock_expires_at: datetime | None
    retries: int | None
    error_message: str | None
    suspended: bool
    process_key: str
    process_instance_id: str
    odd_lock_end: str | None = None  # in the engine's words, where they are no time that can be read
    execution_id: str = ""

    @classmethod
    def from_engine(cls, row: Row) -> Self:
        """Build a task from the engine's JSON object; its id and topic are enough to put it right."""
        lock_end = _moment_or_none(row.get("lockExpirationTime"))
        return cls(
            id=text(row, "id"),
            topic=text(row, "topicName"),
            worker_id=row.get("workerId"),
            lock_expires_at=lock_end,
            retries=row.get("retries"),
            error_message=row.get("errorMessage"),
            suspended=bool(row.get("suspended")),
            process_key=row.get("processDefinitionKey") or "",
            process_instance_id=row.get("processInstanceId") or "",
            odd_lock_end=None if lock_end or row.get("lockExpirationTime") is None else _odd(row),
            execution_id=row.get("executionId") or "",
        )

    @property
    def lock_ends(self) -> str | None:
        """When the lock ends, for people."""
        return self.lock_expires_at.isoformat(" ", "seconds") if self.lock_expires_at else self.odd_lock_end

    def is_locked(self, now: datetime) -> bool:
        """Whether somebody holds the task; after a `failure` the lock is the pause before the next attempt."""
        return self.odd_lock_end is not None or (self.lock_expires_at is not None and self.lock_expires_at > now)

    def state(self, now: datetime) -> str:
        """Say in a few words how the task stands."""
        if self.retries == 0:
            return "failed, no retries left"
        if self.suspended:
            return "suspended"
        if self.is_locked(now) and self.error_message:
            return f"held by {self.worker_id} after a failure"
        if self.is_locked(now):
            return f"locked by {self.worker_id}"
        return f"lock of {self.worker_id} expired" if self.worker_id else "waiting"


def _moment_or_none(value: object) -> datetime | None:
    try:
        return moment(value)
    except ValueError:
        return None


def _odd(row: Row) -> str:
    return str(row["lockExpirationTime"])[:40]


class Operations:
    """The calls; see Rest for what they raise. A query is the engine's own, such as `{"locked": True}`."""

    def __init__(self, rest: Rest) -> None:
        self._rest = rest

    def tasks(self, query: Row, *, limit: int) -> list[OpenTask]:
        """Return up to `limit` open external tasks, sorted by topic."""
        order = [{"sortBy": "id", "sortOrder": "asc"}]  # pages need an order
        rows = self._rest.pages("/external-task", {**query, "sorting": order}, limit=limit)
        tasks = readable("external-task", OpenTask.from_engine, rows)
        return sorted(tasks, key=lambda task: (task.topic, task.id))

    def task(self, task_id: str) -> OpenTask:
        """Return one task. Raises Unprocessable where there is none of this id."""
        row = self._rest.read(f"/external-task/{quote(task_id, safe='')}")
        for task in readable("external-task", OpenTask.from_engine, [row]):
            return task
        raise Unavailable(f"what the engine calls task {task_id} has no id or no topic")

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
        return str(self._rest.act("POST", f"/process-definition/key/{quote(key, safe='')}/start", body)["id"])

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
