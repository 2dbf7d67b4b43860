"""Faults of the bridge itself."""

import time

from tests.faults.gateways import check_nobody_blamed
from tests.faults.observer import complete_slowly, complete_some_slowly
from tests.faults.scene import Scene

NEW_TASKS = 50
STARTED_SECONDS = 30.0


def killed_before_publish(scene: Scene) -> None:
    """Bridge killed (-9) between fetch and publish."""
    kill_bridge_at(scene, "publish")


def killed_before_extension(scene: Scene) -> None:
    """Bridge killed (-9) between confirm and extension."""
    kill_bridge_at(scene, "extension")


def kill_bridge_at(scene: Scene, point: str) -> None:
    """Kill the bridge some times at one point of its way, start it again each time."""
    scene.observer.behave = complete_some_slowly
    with scene.load():
        scene.pause(1.0)
        worker = scene.worker(kill_at=point)
        for _ in scene.strikes():
            scene.watch.note_risk()
            scene.trigger.touch()
            scene.until(lambda: not worker.running(), "the worker's death")
            scene.watch.note_risk()
            worker.start()
    scene.finish()


def frozen(scene: Scene) -> None:
    """Bridge stopped (SIGSTOP) for longer than the lease, then continued."""
    scene.observer.behave = complete_slowly
    with scene.load():
        worker = scene.worker(RABBITMQ_HEARTBEAT="10")  # so that the broker gives its connections up
        scene.until_seen(scene.total // 4)
        scene.watch.note_risk()
        worker.freeze()
        scene.watch.note_risk()
        scene.pause(scene.scale.worker_frozen_seconds)
        worker.thaw()
        scene.note_recovery(time.time(), count_repeats=False)
    scene.finish()


def away_longer_than_locks(scene: Scene) -> None:
    """Bridge away for longer than the locks, then started with answers waiting.

    Stopped in good order, and killed (-9). New tasks come meanwhile.
    """
    rounds = min(2, scene.scale.kills)
    share, done = scene.total // rounds, 0
    scene.total += rounds * NEW_TASKS
    worker = scene.worker(CAMUNDA_LOCK_DURATION=str(scene.scale.lease_ms), CAMUNDA_MAX_TASKS="100")
    for leave in (worker.stop, worker.kill)[:rounds]:
        scene.observer.hold()
        with scene.load(share):
            pass
        scene.until_seen(done + share)
        leave()
        answer_unheard(scene, done + share)
        done += share + NEW_TASKS
        worker.start()
        note_answers_applied(scene, done)
    check_nobody_blamed(scene)
    scene.finish()


def answer_unheard(scene: Scene, tasks: int) -> None:
    """Let the systems answer, new tasks come, and all locks end, while nobody is there."""
    scene.observer.release()
    scene.until(lambda: scene.observer.answers_given >= tasks, "all answers in their queue")
    with scene.load(NEW_TASKS):
        pass
    scene.until(lambda: not scene.watch.sample(), "the end of all locks")


def note_answers_applied(scene: Scene, tasks: int) -> None:
    """All tasks, old and new, are done soon after the start."""
    seconds = scene.until(lambda: scene.api.finished_count(scene.key) >= tasks, "all answers at the engine")
    scene.figures.recovery_seconds.append(seconds)
    if seconds > STARTED_SECONDS:
        scene.figures.problems.append(f"what was answered before the start took {seconds:.0f} s")
