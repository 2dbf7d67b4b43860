"""The engine's external-task calls, one method each."""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

from camunda_client.http import Http, Reply
from camunda_client.replies import usable
from camunda_client.rows import readable
from camunda_client.verdict import Answer, Verdict, judge
from errors import TaskGone, Unavailable, Unprocessable
from messages import ExternalTask, TaskState, Variables, encode_json
from messages.fields import text

CALL_TIMEOUT_SECONDS = 30.0
# A poll whose client went away still locks tasks for nobody: leave the engine ample time to answer it.
POLL_MARGIN_SECONDS = 20.0
LONGEST_ERROR_MESSAGE = 666  # the engine cuts what is longer


class CamundaClient:
    """Calls one engine. May be shared by threads: each uses a connection of its own.

    Times go in as milliseconds, as the engine wants them. A call that gets no usable reply raises Unavailable.
    """

    def __init__(self, http: Http, worker_id: str, *, tenant_ids: Sequence[str] = ()) -> None:
        self.base_url = http.base_url
        self.worker_id = worker_id
        self._tenant_ids = tuple(tenant_ids)
        self._http = http

    def version(self) -> str:
        """Return the engine's version, such as `7.24.0`."""
        version = self._read("/version", dict).get("version")
        if not isinstance(version, str):
            raise Unavailable(f"no engine at CAMUNDA_BASE_URL {self.base_url}: it tells no version")
        return version

    def topic_names(self) -> list[str]:
        """Return the topics that have tasks to fetch, whoever they are meant for (7.13 and newer)."""
        rows = self._read("/external-task/topic-names?withUnlockedTasks=true", list)
        return readable("topic-names", _topic, rows)

    def fetch_and_lock(
        self, lock_ms_by_topic: Iterable[tuple[str, int]], *, max_tasks: int, wait_ms: int
    ) -> list[ExternalTask]:
        """Lock and return up to `max_tasks` tasks, waiting up to `wait_ms` for the first."""
        request = {
            "workerId": self.worker_id,
            "maxTasks": max_tasks,
            "usePriority": True,
            "asyncResponseTimeout": wait_ms,
        }
        topics = _encoded_topics(tuple(lock_ms_by_topic), self._tenant_ids)
        body = b'%s,"topics":%s}' % (encode_json(request)[:-1], topics)
        timeout = wait_ms / 1000 + POLL_MARGIN_SECONDS
        reply = self._http.send("POST", "/external-task/fetchAndLock", body, timeout_seconds=timeout)
        return readable("fetchAndLock", ExternalTask.from_engine, self._usable(reply, list))

    def read_task(self, task_id: str) -> TaskState:
        """Return how a task stands now, without the end of its lock where that cannot be read. Raises TaskGone."""
        reply = self._http.send("GET", f"/external-task/{task_id}", timeout_seconds=CALL_TIMEOUT_SECONDS)
        if reply.status != 200 and judge(reply.status, reply.body).verdict is Verdict.GONE:
            raise TaskGone(task_id)
        row = self._usable(reply, dict)
        for known in (row, {**row, "lockExpirationTime": None}):
            if states := readable("external-task", TaskState.from_engine, [known]):
                return states[0]
        raise Unavailable(f"no engine: what it calls task {task_id} cannot be read")

    def read_tasks(self, task_ids: Sequence[str]) -> dict[str, TaskState]:
        """Return how the tasks stand now, by id; those that are gone are left out."""
        return _states(self._query({"externalTaskIdIn": list(task_ids)}, f"?maxResults={len(task_ids)}"))

    def read_locked_tasks(self, first: int, count: int) -> dict[str, TaskState]:
        """Return a page of the tasks that this worker id holds, back-offs after a failure included."""
        query = {
            "workerId": self.worker_id,
            "locked": True,
            "withRetriesLeft": True,
            "sorting": [{"sortBy": "id", "sortOrder": "asc"}],
        }
        while rows := self._query(query, f"?firstResult={first}&maxResults={count}"):
            if states := _states(rows):
                return states
            first += count  # of this page nothing can be read; only the end has nothing in it
        return {}

    def _query(self, query: dict[str, Any], page: str) -> list[Any]:
        path = f"/external-task{page}"
        reply = self._http.send("POST", path, encode_json(query), timeout_seconds=CALL_TIMEOUT_SECONDS)
        return list(self._usable(reply, list))

    def complete(self, task_id: str, worker_id: str, variables: dict[str, Variables]) -> Answer:
        """Complete a task; `variables` maps `variables` and `localVariables` to typed envelopes."""
        return self._answer(task_id, "complete", {"workerId": worker_id, **variables})

    def failure(
        self,
        task_id: str,
        worker_id: str,
        message: str,
        details: str | None = None,
        *,
        retries: int,
        retry_timeout_ms: int,
    ) -> Answer:
        """Report a failure; at 0 retries an incident is raised. A message too long goes into the details."""
        if len(message) > LONGEST_ERROR_MESSAGE and details is None:
            details = message
        request = {
            "workerId": worker_id,
            "retries": retries,  # left out, the engine reads 0
            "retryTimeout": retry_timeout_ms,
            "errorMessage": message[:LONGEST_ERROR_MESSAGE],
            "errorDetails": details,
        }
        return self._answer(task_id, "failure", request)

    def bpmn_error(
        self, task_id: str, worker_id: str, code: str, message: str | None, variables: Variables | None
    ) -> Answer:
        """Raise a BPMN error. A code that nobody catches silently ends the path, unless the engine forbids it."""
        request = {"workerId": worker_id, "errorCode": code, "errorMessage": message, "variables": variables}
        return self._answer(task_id, "bpmnError", {k: v for k, v in request.items() if v is not None})

    def extend_lock(self, task_id: str, worker_id: str, lock_ms: int) -> Answer:
        """Let the lock end `lock_ms` from now."""
        return self._answer(task_id, "extendLock", {"workerId": worker_id, "newDuration": lock_ms})

    def lock(self, task_id: str, worker_id: str, lock_ms: int) -> Answer:
        """Lock a task that nobody holds (7.15 and newer; UNKNOWN_CALL from an older engine)."""
        return self._answer(task_id, "lock", {"workerId": worker_id, "lockDuration": lock_ms})

    def unlock(self, task_id: str) -> Answer:
        """Free a task at once. The engine asks nobody who they are: only for tasks certainly not published."""
        return self._answer(task_id, "unlock", {})

    def _answer(self, task_id: str, call: str, request: dict[str, Any]) -> Answer:
        try:
            body = encode_json(request)
        except ValueError as error:
            raise Unprocessable("invalid", f"cannot be written as JSON: {error}") from error
        path = f"/external-task/{task_id}/{call}"
        reply = self._http.send("POST", path, body, timeout_seconds=CALL_TIMEOUT_SECONDS)
        return judge(reply.status, reply.body)

    def _read(self, path: str, wanted: type) -> Any:
        reply = self._http.send("GET", path, timeout_seconds=CALL_TIMEOUT_SECONDS)
        return self._usable(reply, wanted)

    def _usable(self, reply: Reply, wanted: Any) -> Any:
        return usable(self.base_url, reply, wanted)


@lru_cache(maxsize=32)  # poll after poll asks for the same topics
def _encoded_topics(lock_ms_by_topic: tuple[tuple[str, int], ...], tenant_ids: tuple[str, ...]) -> bytes:
    """Return the topics as JSON; serialised objects stay text: only the process's own code knows their classes."""
    of_tenants = {"tenantIdIn": tenant_ids} if tenant_ids else {}
    common = {"deserializeValues": False, "includeExtensionProperties": True, **of_tenants}
    return encode_json(
        [{"topicName": topic, "lockDuration": lock_ms, **common} for topic, lock_ms in lock_ms_by_topic]
    )


def _topic(row: object) -> str:
    return text({"topic": row}, "topic")


def _states(rows: list[Any]) -> dict[str, TaskState]:
    states = readable("external-task", TaskState.from_engine, rows)
    return {state.id: state for state in states}
