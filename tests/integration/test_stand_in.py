"""What the bench's stand-in does beyond an engine: tasks on demand, counts, many tasks in little memory."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from bench.processes import Meter
from bench.stand_in import StandIn
from bridge.contract import ExternalTask
from bridge.engine import CamundaClient, Http, Login, Verdict
from bridge.routing import Subscription
from sandbox.runs import Run

TOPICS = ["a", "b", "c", "d"]


@pytest.fixture
def stand_in() -> Iterator[StandIn]:
    with Run() as run:
        yield StandIn(run).start()


@pytest.fixture
def camunda(stand_in: StandIn) -> CamundaClient:
    return CamundaClient(Http(stand_in.url, Login(None)), "w1")


def fetch(camunda: CamundaClient, count: int = 100, *, wait_ms: int = 0) -> list[ExternalTask]:
    return camunda.fetch_and_lock(
        [Subscription(topic, 60_000) for topic in TOPICS], max_tasks=count, wait_ms=wait_ms
    )


def complete(camunda: CamundaClient, *tasks: ExternalTask) -> list[Verdict]:
    return [camunda.complete(task.id, "w1", {}).verdict for task in tasks]


def test_counts_what_became_of_a_batch(stand_in: StandIn, camunda: CamundaClient) -> None:
    begun = time.time()
    batch = stand_in.fill(8, TOPICS)
    tasks = fetch(camunda, 6)

    complete(camunda, *tasks[:4], tasks[0])

    counts = stand_in.batch(batch)
    assert (counts.created, counts.fetched, counts.completed, counts.completed_twice) == (8, 6, 4, 1)
    assert begun < counts.first_lock < counts.last_completion < time.time()
    assert stand_in.calls() == {"fetchAndLock": 1, "complete": 5}


def test_takes_the_topics_in_turn(stand_in: StandIn, camunda: CamundaClient) -> None:
    stand_in.fill(8, TOPICS)

    halves = [sorted(task.topic for task in fetch(camunda, 4)) for _ in range(2)]

    assert halves == [TOPICS, TOPICS]


def test_the_payload_has_the_size_that_was_asked_for(stand_in: StandIn, camunda: CamundaClient) -> None:
    sizes = (1024, 102_400)
    for size in sizes:
        stand_in.fill(1, TOPICS, size=size)

    tasks = fetch(camunda)

    assert sorted(len(task.variables["payload"]["value"]) for task in tasks) == [*sizes]


def test_a_batch_can_keep_few_tasks_open_at_a_time(stand_in: StandIn, camunda: CamundaClient) -> None:
    batch = stand_in.fill(5, TOPICS, at_once=2)

    found = []
    while tasks := fetch(camunda):
        found.append(len(tasks))
        complete(camunda, *tasks)

    assert found == [2, 2, 1]
    assert stand_in.batch(batch).completed == 5


def test_a_reset_forgets_all_and_ends_the_polls(stand_in: StandIn, camunda: CamundaClient) -> None:
    stand_in.fill(1, TOPICS)
    (task,) = fetch(camunda)
    with ThreadPoolExecutor(1) as pool:
        poll = pool.submit(fetch, camunda, wait_ms=20_000)
        threading.Event().wait(0.3)

        stand_in.reset()

        assert poll.result(timeout=5) == []
    assert complete(camunda, task) == [Verdict.GONE]
    assert "fetchAndLock" not in stand_in.calls()


def test_carries_a_hundred_thousand_tasks(stand_in: StandIn, camunda: CamundaClient) -> None:
    stand_in.fill(100_000, TOPICS)

    fetched = [len(fetch(camunda, 1000)) for _ in range(10)]

    assert fetched == [1000] * 10
    with Meter(stand_in.pid) as meter:
        assert meter.peak_mb < 100
