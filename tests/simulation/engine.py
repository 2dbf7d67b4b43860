"""An engine's external tasks behind its REST API, held to the real one by tests; without network or time.

`ask` answers a request at once, as the engine's database would have it at that moment; how long a request takes,
what gets lost on its way and who waits for tasks is `network.py`'s.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol
from urllib.parse import parse_qs

from bridge.engine import Reply

EPOCH = datetime(2026, 11, 23, 20, 30, tzinfo=UTC)
LONGEST_MESSAGE = 666
TASKS = "/external-task"
ACCEPTED = Reply(204, b"")
Body = dict[str, Any]


class Refused(Exception):
    """The engine's error object."""

    def __init__(self, status: int, message: str, kind: str = "RestException", code: int | None = 0) -> None:
        self.reply = Reply(status, json.dumps({"type": kind, "message": message, "code": code}).encode())


@dataclass(slots=True, eq=False)
class Instance:
    """A process instance with tasks in parallel branches; `version` changes with each commit that moves it on."""

    id: str
    is_suspended: bool = False
    open_tasks: int = 0
    version: int = 0


@dataclass(slots=True, eq=False)
class Task:
    """An external task; times are seconds of the engine's clock, `lock_ends` 0 where nobody locked it."""

    id: str
    topic: str
    instance: Instance
    created: float
    worker: str | None = None
    lock_ends: float = 0.0
    retries: int | None = None
    error: str | None = None
    failed_at: float | None = None
    end: str = ""
    version: int = 0

    def is_locked(self, now: float) -> bool:
        return self.lock_ends > now

    def is_fetchable(self, now: float) -> bool:
        return not (self.end or self.retries == 0 or self.lock_ends > now or self.instance.is_suspended)


class Observer(Protocol):
    """Told of what happens to tasks, after it happened."""

    def locked(self, task: Task, call: str) -> None: ...
    def failed(self, task: Task, before: int | None, pause: float) -> None: ...
    def ended(self, task: Task) -> None: ...
    def unlocked(self, task: Task, *, by_operator: bool) -> None: ...


class Deaf:
    """An observer that does not care."""

    def locked(self, task: Task, call: str) -> None:
        """Nothing follows."""

    def failed(self, task: Task, before: int | None, pause: float) -> None:
        """Nothing follows."""

    def ended(self, task: Task) -> None:
        """Nothing follows."""

    def unlocked(self, task: Task, *, by_operator: bool) -> None:
        """Nothing follows."""


@dataclass(slots=True)
class Request:
    """A request under way; `seen` are the versions of what it reads when it begins.

    `word` is what it is called for: `complete`, `fetchAndLock`, `read` for one task, `query` for many.
    """

    method: str
    path: str
    body: Body
    seen: tuple[int, int] | None = None
    word: str = ""

    def __post_init__(self) -> None:
        self.word = _word_of(self.method, self.path)


@dataclass(eq=False)
class Engine:
    """The tasks of one engine."""

    clock: Callable[[], float]
    observer: Observer = field(default_factory=Deaf)
    tasks: dict[str, Task] = field(default_factory=dict)
    on_offer: Callable[[], None] = lambda: None

    def start(self, topics: list[str]) -> Instance:
        """Start an instance with a task of each topic, side by side."""
        instance = Instance(f"p{len(self.tasks) + 1}")
        for topic in topics:
            task = Task(f"t{len(self.tasks) + 1}", topic, instance, self.clock())
            self.tasks[task.id] = task
            instance.open_tasks += 1
        self.on_offer()
        return instance

    def open_tasks(self) -> Iterator[Task]:
        return (task for task in self.tasks.values() if not task.end)

    # --- what an operator does --------------------------------------------------------------------------------

    def cancel(self, task: Task) -> None:
        """Delete the task's whole instance."""
        for other in self.tasks.values():
            if other.instance is task.instance and not other.end:
                self._end(other, "cancelled")

    def suspend(self, task: Task, *, is_suspended: bool) -> None:
        task.instance.is_suspended = is_suspended

    def set_retries(self, task: Task, retries: int) -> None:
        task.retries = retries
        task.version += 1

    # --- REST -------------------------------------------------------------------------------------------------

    def ask(self, method: str, path: str, body: Body | None = None) -> Reply:
        """Answer a request that nothing else meets."""
        request = Request(method, path, body or {})
        self.begin(request)
        return self.finish(request)

    def begin(self, request: Request) -> None:
        """Let a request read what it works on."""
        task = (
            self.tasks.get(request.path.split("/")[2].partition("?")[0]) if request.path.count("/") > 1 else None
        )
        if task is not None:
            request.seen = task.version, task.instance.version

    def finish(self, request: Request) -> Reply:
        """Answer it, unless something that it read was changed since it began."""
        try:
            return self._answer(request)
        except Refused as refused:
            return refused.reply

    def _answer(self, request: Request) -> Reply:
        path, _, search = request.path.partition("?")
        parts, query = path.split("/"), parse_qs(search) if search else {}
        match request.method, parts[1:]:
            case "GET", ["version"]:
                return _json({"version": "7.24.0"})
            case "GET", ["external-task", "topic-names"]:
                return _json(self._topic_names())
            case _, ["external-task", "count"]:
                return _json({"count": len(list(self._matches(request.body, query)))})
            case "POST", ["external-task", "fetchAndLock"]:
                return self._rows(self.fetch(request.body), is_fetched=True)
            case "POST", ["external-task"]:
                first = int(query.get("firstResult", ["0"])[0])
                most = int(query.get("maxResults", [str(len(self.tasks))])[0])
                return self._rows(list(self._matches(request.body, query))[first : first + most])
            case "GET", ["external-task", task_id]:
                return _json(self.row(self._task(task_id)))
            case "GET", ["history", "external-task-log"]:
                return _json(self._last_failure(query["externalTaskId"][0]))
            case "POST", ["external-task", task_id, call] if call in CALLS:
                CALLS[call](self, request, task_id)
                return ACCEPTED
            case "PUT", ["external-task", task_id, "retries"]:
                self.set_retries(self._task(task_id), request.body["retries"])
                return ACCEPTED
        raise Refused(404, "HTTP 404 Not Found", "NotFoundException", None)

    def _topic_names(self) -> list[str]:
        """Return the topics of tasks that nobody holds, be they suspended or without retries."""
        now = self.clock()
        return sorted({task.topic for task in self.open_tasks() if not task.is_locked(now)})

    def _last_failure(self, task_id: str) -> list[Body]:
        failed_at = self.tasks[task_id].failed_at
        return [] if failed_at is None else [{"id": f"f-{task_id}", "timestamp": moment(failed_at)}]

    def _matches(self, wanted: Body, query: dict[str, list[str]]) -> Iterator[Task]:
        now, ids = self.clock(), wanted.get("externalTaskIdIn")
        worker, locked = wanted.get("workerId"), wanted.get("locked")
        for task in self.open_tasks():
            if ids is not None and task.id not in ids:
                continue
            if worker is not None and task.worker != worker:
                continue
            if locked and not task.is_locked(now):
                continue
            if wanted.get("noRetriesLeft") and task.retries != 0:
                continue
            if wanted.get("withRetriesLeft") and task.retries == 0:
                continue
            yield task

    def fetch(self, wanted: Body) -> list[Task]:
        """Lock the tasks that can be fetched now."""
        if not isinstance(wanted.get("workerId"), str):
            raise Refused(500, "workerId is null", "NullValueException")
        locks = {topic["topicName"]: topic["lockDuration"] / 1000 for topic in wanted["topics"]}
        if any(seconds <= 0 for seconds in locks.values()):
            raise Refused(500, "lockTime is not greater than 0", "ProcessEngineException")
        now = self.clock()
        fetched: list[Task] = []
        for task in self.open_tasks():
            if len(fetched) == wanted["maxTasks"]:
                break
            if task.topic in locks and task.is_fetchable(now):
                self._lock(task, wanted["workerId"], locks[task.topic], "fetchAndLock")
                fetched.append(task)
        return fetched

    def _rows(self, tasks: list[Task], *, is_fetched: bool = False) -> Reply:
        return _json([self.row(task) | ({"variables": {}} if is_fetched else {}) for task in tasks])

    def row(self, task: Task) -> Body:
        return {
            "id": task.id,
            "topicName": task.topic,
            "workerId": task.worker,
            "retries": task.retries,
            "lockExpirationTime": moment(task.lock_ends) if task.lock_ends else None,
            "createTime": moment(task.created),
            "processInstanceId": task.instance.id,
            "suspended": task.instance.is_suspended,
            "errorMessage": task.error,
            "priority": 0,
        }

    # --- calls on one task ------------------------------------------------------------------------------------

    def _task(self, task_id: str) -> Task:
        task = self.tasks.get(task_id)
        if task is None or task.end:
            raise Refused(404, f"External task with id {task_id} does not exist", code=None)
        return task

    def _mine(self, request: Request, task_id: str, says: str) -> Task:
        """Return the task if the caller is the last that locked it, whether or not that lock has ended."""
        worker = request.body.get("workerId")
        if worker is None:
            raise Refused(500, "workerId is null", "NullValueException")
        task = self._task(task_id)
        if task.worker != worker:
            owner = "null" if task.worker is None else task.worker
            raise Refused(400, f"{says.format(task_id, worker)}. It is locked by worker '{owner}'.")
        return task

    def _active(self, request: Request, task_id: str, says: str) -> Task:
        task = self._mine(request, task_id, says)
        _check_active(task)
        return task

    def _commit(self, request: Request, task: Task, *, moves_on: bool = False) -> None:
        """Fail like the engine where another call changed the task, or moved its instance on, meanwhile."""
        seen_task, seen_instance = request.seen or (task.version, task.instance.version)
        if task.version != seen_task or (moves_on and task.instance.version != seen_instance):
            raise Refused(
                500,
                "ENGINE-03005 Entity was updated by another transaction concurrently",
                "OptimisticLockingException",
                1,
            )
        task.version += 1
        if moves_on:
            task.instance.version += 1

    def _complete(self, request: Request, task_id: str) -> None:
        task = self._active(request, task_id, "External Task {} cannot be completed by worker '{}'")
        self._commit(request, task, moves_on=True)
        self._end(task, "completed")

    def _bpmn_error(self, request: Request, task_id: str) -> None:
        if request.body.get("errorCode") is None:
            raise Refused(500, "errorCode is null", "NullValueException")
        task = self._active(request, task_id, "Bpmn error of External Task {} cannot be reported by worker '{}'")
        self._commit(request, task, moves_on=True)
        self._end(task, "bpmn_error")

    def _end(self, task: Task, end: str) -> None:
        task.end = end
        task.instance.open_tasks -= 1
        self.observer.ended(task)

    def _failure(self, request: Request, task_id: str) -> None:
        task = self._active(request, task_id, "Failure of External Task {} cannot be reported by worker '{}'")
        self._commit(request, task)
        before, pause = task.retries, request.body.get("retryTimeout", 0) / 1000
        task.retries = request.body.get("retries") or 0
        task.error = (request.body.get("errorMessage") or "")[:LONGEST_MESSAGE] or None
        task.failed_at = self.clock()
        task.lock_ends = task.failed_at + pause
        self.observer.failed(task, before, pause)

    def _extend(self, request: Request, task_id: str) -> None:
        duration = request.body.get("newDuration") or 0
        if request.body.get("workerId") is not None and duration <= 0:
            raise Refused(400, "lockTime is not greater than 0")
        # The engine's own text has two quotes there.
        task = self._mine(request, task_id, "The lock of the External Task {} cannot be extended by worker '{}''")
        if not task.is_locked(self.clock()):
            raise Refused(400, "Cannot extend a lock that expired: lockExpirationTime is not greater than now")
        _check_active(task)
        self._commit(request, task)
        self._lock(task, request.body["workerId"], duration / 1000, "extendLock")

    def _lock_one(self, request: Request, task_id: str) -> None:
        duration = request.body.get("lockDuration") or 0
        if request.body.get("workerId") is None:
            raise Refused(500, "workerId is null", "NullValueException")
        if duration <= 0:
            raise Refused(400, "lockDuration is not greater than 0")
        task = self._task(task_id)
        if task.is_locked(self.clock()):
            self._mine(request, task_id, "External Task {} cannot be locked by worker '{}'")
        self._commit(request, task)
        self._lock(task, request.body["workerId"], duration / 1000, "lock")

    def _lock(self, task: Task, worker: str, seconds: float, call: str) -> None:
        task.worker, task.lock_ends = worker, self.clock() + seconds
        task.version += call == "fetchAndLock"
        self.observer.locked(task, call)

    def _unlock(self, request: Request, task_id: str) -> None:
        self.unlock(self._task(task_id), by_operator=False)

    def unlock(self, task: Task, *, by_operator: bool = True) -> None:
        """Free a task, whoever holds it."""
        task.worker, task.lock_ends = None, 0.0
        task.version += 1
        self.observer.unlocked(task, by_operator=by_operator)
        self.on_offer()


CALLS: dict[str, Callable[[Engine, Request, str], None]] = {
    "complete": Engine._complete,
    "failure": Engine._failure,
    "bpmnError": Engine._bpmn_error,
    "extendLock": Engine._extend,
    "lock": Engine._lock_one,
    "unlock": Engine._unlock,
}


def _check_active(task: Task) -> None:
    if task.instance.is_suspended:
        raise Refused(400, f"ENGINE-03043 ExternalTask with id '{task.id}' is suspended.")


def _word_of(method: str, path: str) -> str:
    last = path.partition("?")[0].rpartition("/")[2]
    if last == "external-task":
        return "query"
    return "read" if method == "GET" and last not in ("version", "topic-names", "count") else last


def _json(document: object) -> Reply:
    return Reply(200, json.dumps(document).encode())


def moment(seconds: float) -> str:
    """Return a moment as the engine writes it."""
    at = EPOCH + timedelta(milliseconds=round(seconds * 1000))
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03d}+0000"
