"""Looks at the engine's locks twice a second: who holds what, since when, and for how long."""

import threading
import time
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Any, Self

from sandbox.engine_api import EngineApi
from sandbox.errors import SandboxError

PERIOD_SECONDS = 0.5
MOST_TASKS = 20_000
CLOCK_SLACK_SECONDS = 1.0


@dataclass(slots=True)
class Lock:
    """One lock on one attempt of a task, as seen from outside; Unix seconds by the engine's clock."""

    task_id: str
    attempt: str
    since: float
    ends: float
    seen: float

    @property
    def held_until(self) -> float:
        """When it ended at the latest: at its end, or soon after it was last seen."""
        return min(self.ends, self.seen)


class LockWatch:
    """Samples the locked tasks of a process definition; `lease_seconds` tells a fetch from an extension."""

    def __init__(self, api: EngineApi, definition_id: str, lease_seconds: float) -> None:
        self.locks: list[Lock] = []
        self.at_risk: set[str] = set()
        self.unlocked: dict[str, float] = {}  # message id -> when its lock was first seen gone before its end
        self.last_fetch = 0.0
        self._api = api
        self._query = {"processDefinitionId": definition_id, "locked": True}
        self._lease_seconds = lease_seconds
        self._newest: dict[tuple[str, str], Lock] = {}
        self._live: dict[str, Lock] = {}
        self._before = time.time()
        self._once = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lock-watch", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._thread.join()

    def look_at(self, definition_id: str) -> None:
        """Look at the tasks of another process definition from now on."""
        self._query = {**self._query, "processDefinitionId": definition_id}

    def note_risk(self) -> int:
        """Note which tasks are fetched and not extended at this moment: these may come twice."""
        now = time.time()
        rows = self.sample()
        risky = [row["id"] for row in rows if _moment(row) - now <= self._lease_seconds + 1]
        self.at_risk.update(risky)
        return len(risky)

    def sample(self) -> list[dict[str, Any]]:
        """Look once; an engine that is away holds nothing that can be seen."""
        with self._once:
            try:
                rows = self._find(self._query)
                for row in rows:
                    self._note(row, time.time())
                self._note_unlocked({row["id"] for row in rows})
            except SandboxError:
                return []
            self._before = time.time()
        return rows

    def _find(self, query: dict[str, Any]) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self._api.request(
            "POST", f"/external-task?maxResults={MOST_TASKS}", json=query
        )
        return rows

    def _note_unlocked(self, locked: set[str]) -> None:
        """Look for tasks that are free although their lock has not ended: not answered, but unlocked."""
        now = time.time()
        self._live = {key: lock for key, lock in self._live.items() if lock.ends > now}
        gone = {task: lock for task, lock in self._live.items() if task not in locked}
        if not gone:
            return
        for row in self._find({"externalTaskIdIn": list(gone), "notLocked": True}):
            lock = gone[row["id"]]
            if _attempt(row) == lock.attempt and now < lock.ends - CLOCK_SLACK_SECONDS:
                self.unlocked.setdefault(f"{lock.task_id}:{lock.attempt}", now)
        for task in gone:
            del self._live[task]

    def _run(self) -> None:
        pause = 0.0
        while not self._stopping.wait(pause):
            begun = time.monotonic()
            self.sample()
            pause = max(PERIOD_SECONDS, 2 * (time.monotonic() - begun))

    def _note(self, row: dict[str, Any], now: float) -> None:
        attempt = _attempt(row)
        ends = _moment(row)
        is_fetched = ends - now <= self._lease_seconds + 1
        if is_fetched:
            self.last_fetch = max(self.last_fetch, ends - self._lease_seconds)
        lock = self._newest.get((row["id"], attempt))
        if lock is None or lock.ends < self._before or (is_fetched and ends - self._lease_seconds >= lock.ends):
            since = max(self._before - PERIOD_SECONDS, ends - self._lease_seconds)
            lock = self._newest[row["id"], attempt] = Lock(row["id"], attempt, since, ends, now)
            self.locks.append(lock)
        lock.ends, lock.seen = ends, now
        self._live[row["id"]] = lock


def _attempt(row: dict[str, Any]) -> str:
    return "first" if row["retries"] is None else str(row["retries"])


def _moment(row: dict[str, Any]) -> float:
    return datetime.fromisoformat(row["lockExpirationTime"]).timestamp()
