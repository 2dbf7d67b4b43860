"""The engine's external-task calls, one method each."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any
from urllib.parse import quote

from loguru import logger

from bridge.contract import ExternalTask, TaskState, Variables, encode_json, with_encoded
from bridge.contract.fields import lock_end, text
from bridge.engine.back_offs import BackOffs
from bridge.engine.dates import EngineDates
from bridge.engine.error_texts import shortened, storable
from bridge.engine.http import Http, Reply
from bridge.engine.java_objects import with_object_values
from bridge.engine.json_support import QUESTION, QUESTION_PATH, says_no_json
from bridge.engine.models import Models
from bridge.engine.replies import usable
from bridge.engine.rows import readable
from bridge.engine.topic_requests import encoded_topics, topic_request
from bridge.engine.variables import StoredVariables
from bridge.engine.verdict import FOR_NOW, MAY_RUN_SECONDS, Answer, Verdict, judge
from bridge.errors import NotGivenOut, TaskGone, Unavailable, Unprocessable
from bridge.routing import Subscription
from bridge.texts import Said

CALL_TIMEOUT_SECONDS = 30.0
# A poll whose client went away still locks tasks for nobody: leave the engine ample time to answer it.
POLL_MARGIN_SECONDS = 20.0
NO_VARIABLES: Mapping[str, Variables] = {}
NO_TASK = "universal-camunda-worker-asks"  # no id of a task
SERVER_ERROR, GATEWAY_TIMEOUT = 500, 504
UNKNOWN_OR_FORBIDDEN = (403, 404)
LAST_FAILURE = "failureLog=true&sortBy=timestamp&sortOrder=desc&maxResults=1"
# Within these calls the engine goes on with the process as far as it can, and also after we have given up.
RUNS_ON = frozenset({"complete", "bpmnError"})
COMPLETE_TIMEOUT_SECONDS = 300.0


class CamundaClient:
    """Calls one engine. May be shared by threads: each uses a connection of its own.

    Times go in as milliseconds, as the engine wants them. A call that gets no usable reply raises Unavailable.
    """

    def __init__(
        self,
        http: Http,
        worker_id: str,
        *,
        tenant_ids: Sequence[str] = (),
        complete_timeout_seconds: float = COMPLETE_TIMEOUT_SECONDS,
    ) -> None:
        self.back_offs = BackOffs()
        self.stored_variables = StoredVariables(http)
        self.worker_id = worker_id
        self._tenant_ids = tuple(tenant_ids)
        self._complete_timeout_seconds = complete_timeout_seconds
        self._http = http
        self._dates = EngineDates(http)
        self.models = Models(http)
        self._is_old = False
        self._keeps_failure_variables: bool | None = None

    def probe(self) -> None:
        """Ask for a sign of life that the engine itself must give. Raises Unavailable.

        `/version` says too little: it is answered below a named engine that does not exist.
        """
        self.topic_names()

    def give_up_after(self, seconds: float) -> None:
        """Wait for the replies of long calls no longer than that: the process stops."""
        self._http.give_up_after(seconds)

    @property
    def base_url(self) -> str:
        """The URL of the node of the engine that is called now."""
        return self._http.base_url

    @property
    def proxy(self) -> str:
        """The proxy between us and the engine; empty where there is none."""
        return self._http.proxy

    def topic_names(self) -> list[str]:
        """Return the topics that have tasks to fetch, whoever they are meant for (7.13 and newer)."""
        rows = self._read("/external-task/topic-names?withUnlockedTasks=true", list)
        return readable("topic-names", _topic, rows)

    def fetch_and_lock(
        self, subscriptions: Iterable[Subscription], *, max_tasks: int, wait_ms: int
    ) -> list[ExternalTask]:
        """Lock and return up to `max_tasks` tasks, waiting up to `wait_ms` for the first."""
        request = {
            "workerId": self.worker_id,
            "maxTasks": max_tasks,
            "usePriority": True,
            "asyncResponseTimeout": wait_ms,
        }
        topics, lock_ms = encoded_topics(tuple(subscriptions), self._tenant_ids)
        body = with_encoded(encode_json(request), "topics", topics)
        return self._fetch(body, lock_ms, timeout_seconds=wait_ms / 1000 + POLL_MARGIN_SECONDS)

    def fetch_bare(
        self,
        subscription: Subscription,
        *,
        max_tasks: int,
        has_properties: bool,
        process_definition_id: str | None = None,
    ) -> list[ExternalTask]:
        """Lock and return tasks of a topic without variables, which makes those visible that cannot be read.

        `has_properties`: with extension properties, which an engine cannot give where it cannot parse the process.
        """
        bare = {"variables": [], "includeExtensionProperties": has_properties}
        of_process = {"processDefinitionId": process_definition_id} if process_definition_id else {}
        topics = [{**topic_request(subscription, self._tenant_ids), **bare, **of_process}]
        request = {"workerId": self.worker_id, "maxTasks": max_tasks, "usePriority": True, "topics": topics}
        lock_ms = {subscription.topic: subscription.lock_ms}
        return self._fetch(encode_json(request), lock_ms, timeout_seconds=CALL_TIMEOUT_SECONDS)

    def _fetch(self, body: bytes, lock_ms: Mapping[str, int], *, timeout_seconds: float) -> list[ExternalTask]:
        """Raises NotGivenOut where the engine says that it failed, Unavailable where it says nothing."""
        reply = self._http.send("POST", "/external-task/fetchAndLock", body, timeout_seconds=timeout_seconds)
        if words := _own_failure(reply):
            raise NotGivenOut(words)
        rows = self._usable(reply, list)
        self._dates.complete(rows, lock_ms)
        tasks = readable("fetchAndLock", ExternalTask.from_engine, rows)
        for task in tasks:
            self.models.note(task)
        return with_object_values(self._http, tasks)

    def why_unreadable(self, execution_id: str) -> str:
        """Return why the engine cannot read the variables and the process of an execution; empty where it can.

        It reads both as a fetch does. Raises Unavailable.
        """
        path = f"/process-instance/{quote(execution_id, safe='')}/variables?deserializeValues=false"
        reply = self._http.send("GET", path, timeout_seconds=CALL_TIMEOUT_SECONDS)
        answer = judge(reply.status, reply.body)
        if reply.status != 200 and answer.verdict in FOR_NOW - {Verdict.TROUBLE}:
            raise Unavailable(answer.detail, wait_seconds=reply.wait_seconds)
        return _own_failure(reply)

    def was_cancelled(self, activity_instance_id: str) -> bool:
        """Whether history says that an activity was cancelled; False where it does not say. Raises Unavailable."""
        if not activity_instance_id:
            return False
        path = f"/history/activity-instance/{quote(activity_instance_id, safe='')}"
        reply = self._http.send("GET", path, timeout_seconds=CALL_TIMEOUT_SECONDS)
        if reply.status in UNKNOWN_OR_FORBIDDEN:
            logger.warning("history does not say whether {} was cancelled: {}", activity_instance_id, reply.status)
            return False
        return bool(self._usable(reply, dict).get("canceled"))

    def failed_after(self, task_id: str, moment: datetime) -> bool:
        """Whether history tells of a failure of a task after a moment at the engine; False where it does not say.

        Raises Unavailable.
        """
        path = f"/history/external-task-log?externalTaskId={task_id}&{LAST_FAILURE}"
        reply = self._http.send("GET", path, timeout_seconds=CALL_TIMEOUT_SECONDS)
        if reply.status in UNKNOWN_OR_FORBIDDEN:
            return False
        failures = readable("external-task-log", lambda row: row["timestamp"], self._usable(reply, list))
        dates = [{"lockExpirationTime": timestamp} for timestamp in failures]  # written as all of its dates
        self._dates.complete(dates)
        return any(date > moment for date in readable("external-task-log", lock_end, dates) if date)

    def read_task(self, task_id: str) -> TaskState:
        """Return how a task stands now, without the end of its lock where that cannot be read. Raises TaskGone."""
        reply = self._http.send("GET", f"/external-task/{task_id}", timeout_seconds=CALL_TIMEOUT_SECONDS)
        if reply.status != 200 and judge(reply.status, reply.body).verdict is Verdict.GONE:
            raise TaskGone(task_id)
        row = self._usable(reply, dict)
        self._dates.complete([row])
        for known in (row, {**row, "lockExpirationTime": None}):
            if states := readable("external-task", TaskState.from_engine, [known]):
                return states[0]
        raise Unavailable(Said("no engine: what it calls task {task} cannot be read", task=task_id))

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

    def read_failed_tasks(self, most: int) -> list[TaskState]:
        """Return up to `most` tasks without retries, whoever they are meant for."""
        return list(_states(self._query({"noRetriesLeft": True}, f"?maxResults={most}")).values())

    def _query(self, query: dict[str, Any], page: str) -> list[Any]:
        path = f"/external-task{page}"
        reply = self._http.send("POST", path, encode_json(query), timeout_seconds=CALL_TIMEOUT_SECONDS)
        rows = list(self._usable(reply, list))
        self._dates.complete(rows)
        return rows

    def complete(self, task_id: str, worker_id: str, variables: dict[str, Variables]) -> Answer:
        """Complete a task; `variables` maps `variables` and `localVariables` to typed envelopes."""
        return self._answer(task_id, "complete", {"workerId": worker_id, **self._spelled(variables)})

    def failure(
        self,
        task_id: str,
        worker_id: str,
        message: str,
        details: str | None = None,
        *,
        retries: int,
        retry_timeout_ms: int,
        variables: Mapping[str, Variables] = NO_VARIABLES,
    ) -> Answer:
        """Report a failure; at 0 retries an incident is raised. A message too long goes into the details.

        `variables` as for `complete`; an engine older than 7.15 drops them (see `takes_failure_variables`).
        """
        short = shortened(message)
        if details is None and short != message:
            details = message
        request = {
            "workerId": worker_id,
            "retries": retries,  # left out, the engine reads 0
            "retryTimeout": retry_timeout_ms,
            "errorMessage": short,
            "errorDetails": details if details is None else storable(details),
            **self._spelled(variables),
        }
        answer = self._answer(task_id, "failure", request)
        if retries and answer.verdict is Verdict.ACCEPTED:
            self.back_offs.note(retry_timeout_ms / 1000)
        return answer

    def bpmn_error(
        self, task_id: str, worker_id: str, code: str, message: str | None, variables: Variables | None
    ) -> Answer:
        """Raise a BPMN error. A code that nobody catches silently ends the path, unless the engine forbids it."""
        given = self._spelled({"variables": variables} if variables else {})
        request = {"workerId": worker_id, "errorCode": code, "errorMessage": message, **given}
        return self._answer(task_id, "bpmnError", {k: v for k, v in request.items() if v is not None})

    def extend_lock(self, task_id: str, worker_id: str, lock_ms: int) -> Answer:
        """Let the lock end `lock_ms` from now."""
        return self._answer(task_id, "extendLock", {"workerId": worker_id, "newDuration": lock_ms})

    def lock(self, task_id: str, worker_id: str, lock_ms: int) -> Answer:
        """Lock a task that nobody holds (7.15 and newer; UNKNOWN_CALL from an older engine)."""
        answer = self._answer(task_id, "lock", {"workerId": worker_id, "lockDuration": lock_ms})
        if answer.verdict is Verdict.UNKNOWN_CALL and not self._is_old:
            self._is_old = True
            logger.warning("the engine is older than 7.15: a task whose lock has ended cannot be locked again")
        return answer

    def prolong(self, task_id: str, worker_id: str, lock_ms: int) -> Answer:
        """Let the lock end `lock_ms` from now, also one that has ended, or that of a suspended task.

        The engine extends neither; it takes a new lock for both (7.15 and newer).
        """
        answer = self.extend_lock(task_id, worker_id, lock_ms)
        if answer.verdict in (Verdict.EXPIRED, Verdict.SUSPENDED):
            return self.lock(task_id, worker_id, lock_ms)
        return answer

    def unlock(self, task_id: str) -> Answer:
        """Free a task at once. The engine asks nobody who they are: only for tasks certainly not published."""
        return self._answer(task_id, "unlock", {})

    def takes_failure_variables(self) -> bool:
        """Whether a failure may carry variables; the engine is asked until it says so. Raises Unavailable.

        An older engine says nothing and drops them. What came with them in 7.15 is the lock of one task.
        """
        if self._keeps_failure_variables is None:
            answer = self._answer(NO_TASK, "lock", {"workerId": self.worker_id, "lockDuration": 1000})
            if answer.verdict in FOR_NOW:  # nobody can say now, such as behind a gateway that lets no lock pass
                return True
            self._keeps_failure_variables = answer.verdict is not Verdict.UNKNOWN_CALL
        return self._keeps_failure_variables

    def _spelled(self, variables: Mapping[str, Variables]) -> dict[str, Variables]:
        return {scope: self._dates.spell(values) for scope, values in variables.items()}

    def knows_json(self) -> bool:
        """Whether the engine can store variables of type Json. Raises Unavailable."""
        body = encode_json(QUESTION)
        reply = self._http.send("POST", QUESTION_PATH, body, timeout_seconds=CALL_TIMEOUT_SECONDS)
        answer = judge(reply.status, reply.body)
        if answer.verdict in (Verdict.AWAY, Verdict.UNAUTHORIZED):
            raise Unavailable(answer.detail, wait_seconds=reply.wait_seconds)
        return not says_no_json(answer.detail)

    def _answer(self, task_id: str, call: str, request: dict[str, Any]) -> Answer:
        try:
            body = encode_json(request)
        except ValueError as error:
            raise Unprocessable("invalid", f"cannot be written as JSON: {error}") from error
        path = f"/external-task/{task_id}/{call}"
        timeout = self._complete_timeout_seconds if call in RUNS_ON else CALL_TIMEOUT_SECONDS
        reply = self._http.send("POST", path, body, timeout_seconds=timeout)
        answer = judge(reply.status, reply.body)
        if answer.verdict is Verdict.ACCEPTED:
            return answer
        may_run = reply.status == GATEWAY_TIMEOUT and reply.seconds >= MAY_RUN_SECONDS
        return replace(answer, wait_seconds=reply.wait_seconds, may_run=may_run)

    def _read(self, path: str, wanted: type) -> Any:
        reply = self._http.send("GET", path, timeout_seconds=CALL_TIMEOUT_SECONDS)
        return self._usable(reply, wanted)

    def _usable(self, reply: Reply, wanted: Any) -> Any:
        return usable(self.base_url, reply, wanted)


def _topic(row: object) -> str:
    return text({"topic": row}, "topic")


def _states(rows: list[Any]) -> dict[str, TaskState]:
    states = readable("external-task", TaskState.from_engine, rows)
    return {state.id: state for state in states}


def _own_failure(reply: Reply) -> str:
    """Return the engine's words where it says that it failed in what was asked; empty in any other case."""
    if reply.status < SERVER_ERROR:
        return ""
    answer = judge(reply.status, reply.body)
    return answer.detail if answer.verdict in (Verdict.TROUBLE, Verdict.REJECTED) else ""
