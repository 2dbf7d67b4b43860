"""Faults of the figures: tasks that leave without the process that counts them."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.faults.metrics_page import MetricsPage
from tests.faults.scene import OTHER_QUEUE, QUEUE, Scene
from tests.faults.worker import Worker

TRUE_SECONDS = 65.0
PATIENCE_SECONDS = 120.0
CANCELLED, COMPLETED, ANSWERED = 0.2, 0.2, 0.3  # of the tasks; the others are still in flight

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Setup:
    """Some processes; for each worker id the pages of those that fetch by it."""

    workers: Sequence[Worker]
    pages: Mapping[str, Sequence[MetricsPage]]

    def figures(self, system: str) -> dict[str, float]:
        """Return for each worker id how many tasks of a system are in flight, as the processes say."""
        name = "tasks_in_flight"
        return {
            worker_id: sum(page.value(name, system=system) for page in pages)
            for worker_id, pages in self.pages.items()
        }


def gone_elsewhere(scene: Scene) -> None:
    """Tasks cancelled, and answered elsewhere: the figures of tasks in flight are true within a minute."""
    scene.add_system()
    share = math.ceil(scene.total / len(SETUPS) / (1 - CANCELLED))
    scene.total = share * len(SETUPS)
    for make in SETUPS:
        setup = make(scene)
        lose_track(scene, make.__name__.replace("_", " "), setup, share)
        for worker in setup.workers:
            worker.stop()
    scene.finish()


def one_process(scene: Scene) -> Setup:
    """Start the worker as one process."""
    page = MetricsPage.free()
    return Setup([scene.worker("one", **page.setting)], {scene.worker_id: [page]})


def split_components(scene: Scene) -> Setup:
    """Start its two components apart."""
    page = MetricsPage.free()
    fetcher = scene.worker("fetcher", part="camunda_worker", **page.setting)
    return Setup([fetcher, scene.worker("handler", part="response_handler")], {scene.worker_id: [page]})


def two_replicas(scene: Scene) -> Setup:
    """Start it twice, each with a worker id of its own; either applies the other's answers."""
    accepted = {"CAMUNDA_ACCEPT_WORKER_IDS": f"{scene.worker_id}-*"}
    pages = {f"{scene.worker_id}-{letter}": MetricsPage.free() for letter in "ab"}
    workers = [
        scene.worker(f"own-{worker_id[-1]}", CAMUNDA_WORKER_ID=worker_id, **page.setting, **accepted)
        for worker_id, page in pages.items()
    ]
    return Setup(workers, {worker_id: [page] for worker_id, page in pages.items()})


def two_replicas_as_one(scene: Scene) -> Setup:
    """Start it twice with one worker id; the figures add up."""
    pages = [MetricsPage.free() for _ in range(2)]
    workers = [scene.worker(f"same-{number}", **page.setting) for number, page in enumerate(pages)]
    return Setup(workers, {scene.worker_id: pages})


SETUPS: tuple[Callable[[Scene], Setup], ...] = (
    one_process,
    split_components,
    two_replicas,
    two_replicas_as_one,
)


def lose_track(scene: Scene, name: str, setup: Setup, tasks: int) -> None:
    """Let some tasks leave in every way, then the rest; see each time how soon the figures are true."""
    scene.observer.hold()
    with scene.load(tasks):
        pass
    scene.until(lambda: sum(in_engine(scene, setup).values()) == tasks, "all tasks locked")
    note_true(scene, setup, f"{name}, all in flight")
    rows = scene.api.request("GET", "/external-task", params={"processDefinitionId": scene.definition_id})
    scene.random.shuffle(rows)
    left = leave(scene, rows)
    scene.until(lambda: sum(in_engine(scene, setup).values()) == left, "the answers applied")
    note_true(scene, setup, f"{name}, some gone")
    scene.observer.release()
    scene.until(lambda: not scene.api.running_count(scene.key), "all answers applied")
    note_true(scene, setup, f"{name}, all gone")


def leave(scene: Scene, rows: Sequence[Row]) -> int:
    """Cancel some tasks, complete some at the engine, answer some in the usual way; return how many are left."""
    cancelled, completed, answered = (int(share * len(rows)) for share in (CANCELLED, COMPLETED, ANSWERED))
    for row in rows[:cancelled]:
        scene.api.request("DELETE", f"/process-instance/{row['processInstanceId']}")
    scene.may_be_cancelled += cancelled
    for row in rows[cancelled : cancelled + completed]:
        by = {"workerId": row["workerId"]}
        scene.api.request("POST", f"/external-task/{row['id']}/complete", json=by)
    usual = {row["id"] for row in rows[cancelled + completed :][:answered]}
    scene.observer.release(usual.__contains__)
    return len(rows) - cancelled - completed - answered


def in_engine(scene: Scene, setup: Setup, topics: Sequence[str] = ()) -> dict[str, float]:
    """Return for each worker id how many tasks it has locked at the engine."""
    return {
        worker_id: sum(
            scene.api.request(
                "GET",
                "/external-task/count",
                params={"workerId": worker_id, "topicName": topic, "locked": "true"},
            )["count"]
            for topic in topics or scene.topics
        )
        for worker_id in setup.pages
    }


def note_true(scene: Scene, setup: Setup, when: str) -> None:
    """Note how long it takes until the figure of each process and system is what the engine says."""
    systems = [queue.removesuffix(".queue") for queue in (QUEUE, OTHER_QUEUE)]

    def wrong() -> dict[str, object]:
        pairs = {
            system: (setup.figures(system), in_engine(scene, setup, [topic]))
            for system, topic in zip(systems, scene.topics, strict=True)
        }
        return {system: (said, true) for system, (said, true) in pairs.items() if said != true}

    seconds = scene.until(lambda: not wrong(), f"{when}: true figures", PATIENCE_SECONDS)
    scene.figures.notes.append(f"{when}: true after {seconds:.0f} s")
    if seconds > TRUE_SECONDS:
        scene.figures.problems.append(scene.figures.notes[-1])
