"""A fault of the error queue: it takes nothing any more."""

import time
from datetime import datetime

from tests.faults import dead_letters
from tests.faults.broker import note_outage_cost
from tests.faults.checks import ERROR_QUEUE
from tests.faults.engine import note_catching_up
from tests.faults.observer import COMPLETE, Answer, Message
from tests.faults.scene import Scene

COPIES = 100
UNUSABLE = Answer({"response_type": "finish"})
TIERS_MS = "500,1000,4000"  # a copy tries the error queue again each time that the last one is over
NO_PAUSE = {"CAMUNDA_RETRY_TIMEOUT": "1000"}
TAKES_NOTHING = {"max-length": 0, "overflow": "reject-publish"}
TAKES_ALL = {"max-length": 1_000_000, "overflow": "reject-publish"}
USUAL_SECONDS, LONGEST_SECONDS = 2.0, 10.0


def full(scene: Scene) -> None:
    """Error queue full: 100 copies without a place, while the good answers keep their pace."""
    each = scene.total // COPIES
    scene.observer.behave = lambda message: unusable_at_first(message, each)
    scene.broker.api.set_policy(scene.name, "full", f"^{ERROR_QUEUE}$", TAKES_NOTHING)
    worker = scene.worker(FAULT_TIERS_MS=TIERS_MS, **NO_PAUSE)
    with scene.load(per_second=scene.total / scene.scale.alarm_seconds):
        pass
    scene.until(lambda: scene.api.finished_count(scene.key) >= scene.total, "all good answers applied")
    check_pace(scene)
    before = worker.usage()
    scene.pause(scene.scale.idle_seconds)
    note_outage_cost(scene, *worker.usage().since(before))
    check_without_place(scene)
    scene.broker.api.set_policy(scene.name, "full", f"^{ERROR_QUEUE}$", TAKES_ALL)
    room_at = time.monotonic()
    dead_letters.expect(scene, {"invalid": COPIES})
    note_catching_up(scene, time.monotonic() - room_at)
    check_told_once(scene)
    scene.finish()


def unusable_at_first(message: Message, each: int) -> Answer:
    """Answer what nobody can use at the first attempt of some tasks, and complete all others."""
    return UNUSABLE if message.attempt == "first" and message.number % each == 0 else COMPLETE


def check_without_place(scene: Scene) -> None:
    """Every copy waits in a queue of the worker's own, and none is in the error queue."""
    queues = scene.broker.api.queues(scene.name)
    full = queues.pop(ERROR_QUEUE).ready
    copies = sum(queue.ready + queue.unacked for queue in queues.values())
    scene.figures.notes.append(f"{copies} copies without a place")
    if full or copies < COPIES:
        scene.figures.problems.append(f"of {COPIES}: {scene.figures.notes[-1]}, {full} in the full error queue")


def check_pace(scene: Scene) -> None:
    """Each good answer is applied soon after it was given, although others have no place."""
    rows = scene.api.task_log(processDefinitionKey=scene.key, successLog="true")
    done_at = {row["externalTaskId"]: datetime.fromisoformat(row["timestamp"]).timestamp() for row in rows}
    good = [m for m in scene.observer.messages[:] if scene.observer.behave(m) is COMPLETE]
    seconds = sorted(done_at[m.task_id] - scene.observer.said_at[m.message_id] for m in good)
    usual, longest = seconds[int(0.95 * len(seconds))], seconds[-1]
    scene.figures.notes.append(
        f"{len(seconds)} good answers: 95 % within {usual:.2f} s, all within {longest:.1f} s"
    )
    if usual > USUAL_SECONDS or longest > LONGEST_SECONDS:
        scene.figures.problems.append(f"slow: {scene.figures.notes[-1]}")


def check_told_once(scene: Scene) -> None:
    """A copy that comes round again charges its task nothing more."""
    failures = scene.api.task_log_count(processDefinitionKey=scene.key, failureLog="true")
    scene.figures.notes.append(f"{failures} tasks were told of an answer that cannot be used")
    if failures != COPIES:
        scene.figures.problems.append(f"{COPIES} answers cannot be used: {scene.figures.notes[-1]}")
