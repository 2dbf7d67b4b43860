"""The bench's stand-in answers our client as the real engine does: each test runs against both."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest
import requests

from bench.echo import number_of
from bench.stand_in import StandIn
from bridge.contract import ExternalTask
from bridge.engine import CamundaClient, Http, Login, Rest, Verdict
from bridge.errors import TaskGone
from bridge.routing import Subscription
from sandbox.engine_api import EngineApi
from sandbox.runs import Run
from sandbox.sandbox import Sandbox
from tests.sandbox.processes import eventually
from tests.system.conftest import Deploy
from tests.system.engine import process_file
from tools.lib.operations import Operations

TOPIC, OTHER = "send_email", "op_close_work_package"
LOCK_MS = 60_000
VARIABLES = {"payload": {"value": "BK0123abcd-0000000|", "type": "String"}, "doc": {"value": "{}", "type": "Json"}}


class Place(Protocol):
    """Where tasks come from."""

    @property
    def url(self) -> str: ...

    def make(self, topic: str, count: int = 1) -> None: ...


@dataclass(frozen=True)
class RealEngine:
    url: str
    api: EngineApi
    deploy: Deploy
    folder: Path

    def make(self, topic: str, count: int = 1) -> None:
        self.deploy(process_file(self.folder, topic, topic))
        for _ in range(count):
            body = {"businessKey": "order 1", "variables": VARIABLES}
            self.api.request("POST", f"/process-definition/key/{topic}/start", json=body)


@dataclass(frozen=True)
class StandInEngine:
    stand_in: StandIn

    @property
    def url(self) -> str:
        return self.stand_in.url

    def make(self, topic: str, count: int = 1) -> None:
        self.stand_in.fill(count, [topic])


@pytest.fixture(scope="module")
def process() -> Iterator[StandIn]:
    with Run() as run:
        yield StandIn(run).start()


@pytest.fixture
def stand_in(process: StandIn) -> StandIn:
    """The stand-in without a task."""
    process.reset()
    return process


@pytest.fixture
def real(sandbox: Sandbox, engine_api: EngineApi, deploy: Deploy, tmp_path: Path) -> RealEngine:
    return RealEngine(sandbox.engine.url, engine_api, deploy, tmp_path)


@pytest.fixture(params=["real", "stand-in"])
def place(request: pytest.FixtureRequest, real: RealEngine, stand_in: StandIn) -> Place:
    return real if request.param == "real" else StandInEngine(stand_in)


def client(place: Place, worker_id: str = "w1") -> CamundaClient:
    return CamundaClient(Http(place.url, Login(None)), worker_id)


@pytest.fixture
def ours(place: Place) -> CamundaClient:
    return client(place)


@pytest.fixture
def theirs(place: Place) -> CamundaClient:
    return client(place, "w2")


def fetch(
    camunda: CamundaClient, *, count: int = 100, wait_ms: int = 0, lock_ms: int = LOCK_MS
) -> list[ExternalTask]:
    return camunda.fetch_and_lock([Subscription(TOPIC, lock_ms)], max_tasks=count, wait_ms=wait_ms)


def fetch_one(camunda: CamundaClient, *, lock_ms: int = LOCK_MS) -> ExternalTask:
    (task,) = fetch(camunda, lock_ms=lock_ms)
    return task


def fetchable(camunda: CamundaClient, *, seconds: float = 5.0) -> bool:
    """Waits until a task can be fetched, and fetches it."""
    return eventually(lambda: bool(fetch(camunda)), seconds=seconds)


def test_says_that_it_is_an_engine(place: Place, ours: CamundaClient) -> None:
    rest = Rest(Http(place.url, Login(None)))

    assert rest.rows("/engine") == [{"name": "default"}]
    assert rest.read("/version") == {"version": "7.24.0"}
    ours.probe()


def test_tells_the_topics_that_have_tasks_to_fetch(place: Place, ours: CamundaClient) -> None:
    place.make(TOPIC)
    place.make(OTHER)

    assert sorted(ours.topic_names()) == sorted([TOPIC, OTHER])
    fetch_one(ours)
    assert ours.topic_names() == [OTHER]


def test_locks_each_task_once_and_not_more_than_wanted(place: Place, ours: CamundaClient) -> None:
    place.make(TOPIC, 5)

    first, second, third = (fetch(ours, count=3) for _ in range(3))

    assert [len(first), len(second), len(third)] == [3, 2, 0]
    assert len({task.id for task in (*first, *second)}) == 5


def test_each_topic_has_its_own_lock_duration(place: Place, ours: CamundaClient) -> None:
    place.make(TOPIC)
    place.make(OTHER)

    fetched_at = time.time()
    tasks = ours.fetch_and_lock(
        [Subscription(TOPIC, 20_000), Subscription(OTHER, 50_000)], max_tasks=10, wait_ms=0
    )

    locked_for = {task.topic: task.lock_expires_at.timestamp() - fetched_at for task in tasks}
    assert locked_for == {TOPIC: pytest.approx(20, abs=2), OTHER: pytest.approx(50, abs=2)}


def test_a_fetched_task_brings_its_variables(place: Place, ours: CamundaClient) -> None:
    place.make(TOPIC)

    task = fetch_one(ours)

    assert {name: variable["type"] for name, variable in task.variables.items()} == {
        "payload": "String",
        "doc": "Json",
    }
    assert number_of(task.variables["payload"]["value"].encode(), b"") == 0
    assert task.attempt == "first"


def test_a_task_is_completed_once(place: Place, ours: CamundaClient) -> None:
    place.make(TOPIC)
    task = fetch_one(ours)
    result = {"variables": {"result": {"value": "ok", "type": "String"}}}

    verdicts = [ours.complete(task.id, "w1", result).verdict for _ in range(2)]

    assert verdicts == [Verdict.ACCEPTED, Verdict.GONE]
    assert ours.read_tasks([task.id]) == {}
    with pytest.raises(TaskGone):
        ours.read_task(task.id)


def test_a_stranger_cannot_answer(place: Place, ours: CamundaClient, theirs: CamundaClient) -> None:
    place.make(TOPIC)
    task = fetch_one(ours)

    answers = [
        theirs.complete(task.id, "w2", {}),
        theirs.failure(task.id, "w2", "no", retries=1, retry_timeout_ms=0),
        theirs.bpmn_error(task.id, "w2", "code", None, None),
        theirs.extend_lock(task.id, "w2", LOCK_MS),
        theirs.lock(task.id, "w2", LOCK_MS),
    ]

    assert {(answer.verdict, answer.owner) for answer in answers} == {(Verdict.LOCKED, "w1")}


def test_nobody_can_answer_for_a_task_that_nobody_holds(place: Place, ours: CamundaClient) -> None:
    place.make(TOPIC)
    task = fetch_one(ours)
    ours.unlock(task.id)

    answer = ours.complete(task.id, "w1", {})

    assert (answer.verdict, answer.owner) == (Verdict.LOCKED, "null")


def test_a_lock_is_extended(place: Place, ours: CamundaClient) -> None:
    place.make(TOPIC)
    task = fetch_one(ours, lock_ms=20_000)

    answer = ours.extend_lock(task.id, "w1", LOCK_MS)

    assert answer.verdict is Verdict.ACCEPTED
    end = ours.read_task(task.id).lock_expires_at
    assert end is not None
    assert (end - task.lock_expires_at).total_seconds() == pytest.approx(40, abs=2)


def test_a_lock_that_has_ended_is_not_extended_but_can_be_taken_again(place: Place, ours: CamundaClient) -> None:
    place.make(TOPIC)
    task = fetch_one(ours, lock_ms=50)
    threading.Event().wait(0.1)

    assert ours.extend_lock(task.id, "w1", LOCK_MS).verdict is Verdict.EXPIRED
    assert ours.lock(task.id, "w1", LOCK_MS).verdict is Verdict.ACCEPTED
    assert fetch(ours) == []


def test_a_task_is_offered_again_when_its_lock_ends(
    place: Place, ours: CamundaClient, theirs: CamundaClient
) -> None:
    place.make(TOPIC)
    task = fetch_one(ours, lock_ms=200)

    assert fetchable(theirs)
    assert ours.complete(task.id, "w1", {}).owner == "w2"


def test_an_answer_after_the_end_of_the_lock_is_taken(place: Place, ours: CamundaClient) -> None:
    place.make(TOPIC)
    task = fetch_one(ours, lock_ms=50)
    threading.Event().wait(0.1)

    assert ours.complete(task.id, "w1", {}).verdict is Verdict.ACCEPTED
    assert fetch(ours) == []


def test_an_unlocked_task_is_offered_at_once(place: Place, ours: CamundaClient, theirs: CamundaClient) -> None:
    place.make(TOPIC)
    task = fetch_one(ours)

    assert ours.unlock(task.id).verdict is Verdict.ACCEPTED
    assert fetch_one(theirs).id == task.id


def test_a_failed_task_pauses_and_comes_again(place: Place, ours: CamundaClient) -> None:
    place.make(TOPIC)
    task = fetch_one(ours)

    ours.failure(task.id, "w1", "too busy", "details", retries=2, retry_timeout_ms=500)

    state = ours.read_task(task.id)
    assert (state.retries, state.worker_id) == (2, "w1")
    assert fetch(ours) == []
    assert fetchable(ours)
    assert ours.read_task(task.id).retries == 2


def test_a_task_without_retries_is_not_offered(place: Place, ours: CamundaClient) -> None:
    place.make(TOPIC)
    task = fetch_one(ours)

    ours.failure(task.id, "w1", "broken", retries=0, retry_timeout_ms=0)

    threading.Event().wait(0.05)
    assert fetch(ours) == []
    assert ours.complete(task.id, "w1", {}).verdict is Verdict.ACCEPTED


def test_a_bpmn_error_ends_the_task(place: Place, ours: CamundaClient) -> None:
    place.make(TOPIC)
    task = fetch_one(ours)

    assert ours.bpmn_error(task.id, "w1", "code", "message", None).verdict is Verdict.ACCEPTED
    assert ours.complete(task.id, "w1", {}).verdict is Verdict.GONE


def test_a_poll_wakes_up_when_a_task_appears(place: Place, ours: CamundaClient) -> None:
    with ThreadPoolExecutor(1) as pool:
        poll = pool.submit(fetch, ours, wait_ms=20_000)
        threading.Event().wait(0.3)
        place.make(TOPIC)

        tasks = poll.result(timeout=5)

    assert len(tasks) == 1


def test_a_poll_wakes_up_when_a_task_is_unlocked(place: Place, ours: CamundaClient, theirs: CamundaClient) -> None:
    place.make(TOPIC)
    task = fetch_one(ours)
    with ThreadPoolExecutor(1) as pool:
        poll = pool.submit(fetch, theirs, wait_ms=20_000)
        threading.Event().wait(0.3)
        ours.unlock(task.id)

        tasks = poll.result(timeout=5)

    assert [one.id for one in tasks] == [task.id]


def test_a_poll_without_tasks_waits_its_time(place: Place, ours: CamundaClient) -> None:
    asked = time.monotonic()

    assert fetch(ours, wait_ms=500) == []
    assert 0.4 < time.monotonic() - asked < 3


def test_tasks_are_listed_by_id_by_lock_and_by_topic(place: Place, ours: CamundaClient) -> None:
    place.make(TOPIC, 3)
    place.make(OTHER)
    held = {task.id for task in fetch(ours, count=2)}
    gone = fetch_one(ours)
    ours.complete(gone.id, "w1", {})
    operations = Operations(Rest(Http(place.url, Login(None))))

    assert ours.read_tasks([*held, gone.id]).keys() == held
    pages = [ours.read_locked_tasks(first, 1).keys() for first in range(3)]
    assert [len(page) for page in pages] == [1, 1, 0]
    assert set().union(*pages) == held
    assert [task.topic for task in operations.tasks({"topicName": OTHER}, limit=10)] == [OTHER]
    counts = [operations.count_tasks({name: True}) for name in ("locked", "notLocked", "noRetriesLeft")]
    assert counts == [2, 1, 0]


def ask(place: Place, method: str, path: str, body: object = None) -> tuple[int, Any]:
    with requests.Session() as session:
        session.trust_env = False
        reply = session.request(method, place.url + path, json=body, headers={"Accept": "*/*"}, timeout=30)
    return reply.status_code, reply.json() if reply.content else None


def refusals(place: Place) -> list[tuple[int, Any]]:
    """Asks for what is refused, and returns the status and the body of each answer, without the task's id."""
    place.make(TOPIC)
    task = fetch_one(client(place)).id
    bodies: dict[str, dict[str, object]] = {
        "complete": {},
        "failure": {"retries": 1, "retryTimeout": 0},
        "bpmnError": {"errorCode": "code"},
        "extendLock": {"newDuration": 1000},
        "lock": {"lockDuration": 1000},
    }
    asked = [
        ask(place, "POST", f"/external-task/{id_}/{call}", {**body, **worker})
        for call, body in bodies.items()
        for id_, worker in ((task, {"workerId": "w2"}), (task, {}), ("nope", {"workerId": "w2"}))
    ]
    asked += [
        ask(place, "POST", f"/external-task/{task}/extendLock", {"workerId": "w1"}),
        ask(place, "POST", f"/external-task/{task}/lock", {"workerId": "w1"}),
        ask(place, "POST", f"/external-task/{task}/bpmnError", {"workerId": "w1"}),
        ask(place, "POST", "/external-task/nope/unlock", {}),
        ask(place, "GET", "/external-task/nope"),
        ask(place, "GET", "/external-task?maxResults=x"),
        ask(place, "POST", "/external-task/fetchAndLock", {"maxTasks": 1, "topics": []}),
        ask(place, "POST", "/external-task/fetchAndLock", {"workerId": "w1", "topics": [{"topicName": TOPIC}]}),
        ask(place, "GET", "/nothing"),
    ]
    return [(status, {**body, "message": body["message"].replace(task, "ID")}) for status, body in asked]


def test_both_refuse_in_the_same_words(real: RealEngine, stand_in: StandIn) -> None:
    assert refusals(StandInEngine(stand_in)) == refusals(real)


def shapes(place: Place) -> list[list[tuple[str, str]]]:
    """Returns the names and types in a task that was fetched, and in one that is listed."""
    place.make(TOPIC)
    topics = [{"topicName": TOPIC, "lockDuration": LOCK_MS, "includeExtensionProperties": True}]
    request = {"workerId": "w1", "maxTasks": 1, "topics": topics}
    _, fetched = ask(place, "POST", "/external-task/fetchAndLock", request)
    _, listed = ask(place, "GET", "/external-task")
    rows = (fetched[0], fetched[0]["variables"]["payload"], listed[0])
    return [[(name, type(value).__name__) for name, value in row.items()] for row in rows]


def test_both_write_a_task_alike(real: RealEngine, stand_in: StandIn) -> None:
    assert shapes(StandInEngine(stand_in)) == shapes(real)
