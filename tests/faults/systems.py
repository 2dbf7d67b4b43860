"""Faults of the systems behind the queues."""

import time
from collections import defaultdict
from itertools import pairwise

from tests.faults.broker import note_outage_cost
from tests.faults.gateways import check_nobody_blamed
from tests.faults.queues import RESPONSE_QUEUE, TASK_EXCHANGE
from tests.faults.scene import QUEUE, SYSTEM, Scene

WITNESS_QUEUE = "witness"
AWAY_TASKS, AWAY_LOCKS = 200, 3
BACK_SECONDS = 30.0
USUAL_SECONDS, OTHERS_SECONDS = 1.0, 10.0
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
