"""Faults of the systems behind the queues: one that is down, one that has as many tasks as it may."""

import time
from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
from statistics import mean, median

from tests.faults.broker import note_outage_cost
from tests.faults.gateways import check_nobody_blamed
from tests.faults.queues import RESPONSE_QUEUE, TASK_EXCHANGE
from tests.faults.scene import QUEUE, SYSTEM, Scene
from tests.faults.worker import Worker

WITNESS_QUEUE = "witness"
AWAY_TASKS, AWAY_LOCKS = 200, 3
BACK_SECONDS = 30.0
USUAL_SECONDS, OTHERS_SECONDS = 1.0, 10.0
LIMIT, BACKLOG, BURST = 500, 200, 1000
LIMIT_REACHED = f"tasks for {SYSTEM} stay in the engine: CAMUNDA_MAX_IN_FLIGHT is reached"
KEPT_PACE = 0.8
SLACK_SECONDS, AGAIN_SECONDS = 1.0, 10.0


def down_for_three_locks(scene: Scene) -> None:
    """A system down for three locks, then back: no retry is lost, and other systems flow meanwhile."""
    scene.total += AWAY_TASKS
    scene.observer.leave(QUEUE)
    worker = scene.worker(CAMUNDA_LOCK_DURATION=str(scene.scale.system_lock_ms))
    witness_tasks(scene)
    with scene.load(AWAY_TASKS):
        pass
    scene.until(lambda: len(scene.observer.copies) >= AWAY_TASKS, "the tasks in the queue of the system")
    away_seconds = AWAY_LOCKS * scene.scale.system_lock_ms / 1000
    other, before = scene.add_system(), worker.usage()
    with scene.load(scene.scale.tasks, topics=[other], per_second=1.1 * scene.scale.tasks / away_seconds):
        scene.pause(away_seconds)
    note_outage_cost(scene, *worker.usage().since(before))
    check_others_flowed(scene)
    if f"nobody listens to {QUEUE}" not in worker.text():
        scene.figures.problems.append("no alarm says that nobody listens")
    scene.observer.serve(QUEUE)
    note_return(scene)
    scene.finish()
    check_nobody_blamed(scene)
    check_messages(scene)


def witness_tasks(scene: Scene) -> None:
    """Have a copy of each task of the system, as nobody may be there to see it before it expires."""
    scene.until(lambda: RESPONSE_QUEUE in scene.broker.api.queues(scene.name), "the worker's exchanges")
    with scene.connect() as connection:
        channel = connection.channel()
        channel.queue_declare(WITNESS_QUEUE, durable=True)
        channel.queue_bind(WITNESS_QUEUE, TASK_EXCHANGE, f"{SYSTEM}.#")
    scene.observer.witness(WITNESS_QUEUE)


def check_others_flowed(scene: Scene) -> None:
    """All tasks of the other system are done by now, each soon after its start."""
    query = {"processDefinitionKey": scene.key, "finished": "true", "maxResults": str(scene.total)}
    rows = scene.api.request("GET", "/history/process-instance", params=query)
    seconds = sorted(row["durationInMillis"] / 1000 for row in rows) or [0.0]
    usual, longest = seconds[int(0.95 * len(seconds))], seconds[-1]
    within = f"95 % within {usual:.1f} s, all within {longest:.1f} s"
    scene.figures.notes.append(f"meanwhile {len(rows)} tasks of another system, {within}")
    if len(rows) < scene.scale.tasks or usual > USUAL_SECONDS or longest > OTHERS_SECONDS:
        scene.figures.problems.append(f"of {scene.scale.tasks}: {scene.figures.notes[-1]}")


def note_return(scene: Scene) -> None:
    """All that waited is done soon after the system's return."""
    begun = time.monotonic()
    scene.until(lambda: scene.api.finished_count(scene.key) >= scene.total, "all tasks of the system")
    scene.figures.recovery_seconds.append(time.monotonic() - begun)
    if scene.figures.recovery_seconds[-1] > BACK_SECONDS:
        scene.figures.problems.append(f"what waited took {scene.figures.recovery_seconds[-1]:.0f} s")


def check_messages(scene: Scene) -> None:
    """Each lock of the system's tasks has one message: made soon after the end of the last lock, and no sooner."""
    lock_seconds = scene.scale.system_lock_ms / 1000
    made: dict[str, list[float]] = defaultdict(list)
    for copy in scene.observer.copies:
        made[copy.task_id].append(copy.created_at)
    gaps = [later - earlier for moments in made.values() for earlier, later in pairwise(sorted(moments))]
    wrong = [gap for gap in gaps if not -SLACK_SECONDS < gap - lock_seconds < AGAIN_SECONDS]
    fewest = min(map(len, made.values()))
    apart = f"{min(gaps):.1f} to {max(gaps):.1f} s apart, the lock is {lock_seconds:.0f} s"
    scene.figures.notes.append(f"{len(made)} tasks of the system, at least {fewest} messages each, {apart}")
    if wrong or len(made) != AWAY_TASKS or fewest < AWAY_LOCKS:
        scene.figures.problems.append(f"{len(wrong)} messages too early or late: {scene.figures.notes[-1]}")


def at_its_limit(scene: Scene) -> None:
    """One system at its in-flight limit, its queue unanswered: the others keep their pace."""
    scene.total = 0
    other = scene.add_system()
    worker = scene.worker(CAMUNDA_MAX_IN_FLIGHT=str(LIMIT))
    pace(scene, worker, other)  # the engine is slow at first
    alone, beside = [pace(scene, worker, other)], []
    for _ in range(scene.scale.rounds):
        fill_up(scene, worker)
        beside.append(pace(scene, worker, other))
        check_full(scene)
        scene.observer.serve(QUEUE)
        scene.until(lambda: scene.api.finished_count(scene.key) >= scene.total, "all tasks of the full system")
        alone.append(pace(scene, worker, other))
    check_pace(scene, alone, beside)
    scene.finish()


def pace(scene: Scene, worker: Worker, topic: str) -> float:
    """Return how many tasks of a backlog are done per second; the worker stands still until it is there."""
    wanted = scene.api.finished_count(scene.key) + BURST
    worker.freeze()
    start(scene, BURST, topic)
    worker.thaw()
    seconds = scene.until(lambda: scene.api.finished_count(scene.key) >= wanted, "the other system's tasks")
    return BURST / seconds


def start(scene: Scene, tasks: int, topic: str) -> None:
    """Start some more instances."""
    scene.total += tasks
    with scene.load(tasks, topics=[topic]):
        pass


def fill_up(scene: Scene, worker: Worker) -> None:
    """Give the system as many tasks as it may have and more, and let nobody answer."""
    said = worker.text().count(LIMIT_REACHED)
    scene.observer.leave(QUEUE)
    start(scene, LIMIT + BACKLOG, scene.topics[0])
    scene.until(lambda: worker.text().count(LIMIT_REACHED) > said, "a system at its limit")


def check_full(scene: Scene) -> None:
    """The system has as many tasks as it may have, and the rest is in the engine."""
    query = {"topicName": scene.topics[0], "locked": "true"}
    locked = scene.api.request("GET", "/external-task/count", params=query)["count"]
    if locked != LIMIT:
        scene.figures.problems.append(f"{locked} tasks of the full system are locked, {LIMIT} may be")


def check_pace(scene: Scene, alone: Sequence[float], beside: Sequence[float]) -> None:
    """B1: the other system's tasks flow beside a full one nearly as fast as just before and just after it."""
    shares = [pace / mean(around) for pace, around in zip(beside, pairwise(alone), strict=True)]
    without = "/".join(f"{one:.0f}" for one in alone)
    paces = f"{'/'.join(f'{one:.0f}' for one in beside)} tasks/s beside a full system, {without} without"
    scene.figures.notes.append(f"{paces}: {median(shares):.2f} of it")
    if median(shares) < KEPT_PACE:
        scene.figures.problems.append(f"B1: {scene.figures.notes[-1]}")
