"""Faults of a broker that runs short of memory or disk space and blocks whoever publishes."""

import time
from contextlib import AbstractContextManager

from tests.faults.broker import check_recoveries, note_noticed, note_outage_cost
from tests.faults.observer import complete_slowly
from tests.faults.scene import Scene
from tests.faults.worker import Worker

MAX_TASKS = 10  # of one poll
CANARY_SECONDS = 6.0
BLOCKED = "tasks: RabbitMQ blocks publishing"


def memory_alarm(scene: Scene) -> None:
    """Memory alarm under load, and again with an idle publisher."""
    scene.observer.behave = complete_slowly
    worker = scene.worker()
    block(scene, worker, scene.broker.memory_alarm())
    scene.until(lambda: scene.api.finished_count(scene.key) >= scene.total // 2, "all answers at the engine")
    log = worker.text()
    with scene.broker.memory_alarm():
        # Though the publisher is idle; and the poll that is out will lock what it finds.
        scene.until(lambda: BLOCKED in worker.text()[len(log) :], "a publisher that knows", CANARY_SECONDS)
        alarm_at = time.time()
        with scene.load(scene.total // 2):
            scene.pause_at_risk(scene.scale.alarm_seconds)
        check_locked(scene, alarm_at)
    scene.note_recovery(time.time(), count_repeats=False)
    check_recoveries(scene)
    scene.finish()


def disk_alarm(scene: Scene) -> None:
    """Disk alarm with publishes in flight, and again with a restart of the worker meanwhile."""
    scene.observer.behave = complete_slowly
    worker = scene.worker()
    block(scene, worker, scene.broker.disk_alarm())
    block(scene, worker, scene.broker.disk_alarm(), restart=True)
    check_recoveries(scene)
    scene.finish()


def block(scene: Scene, worker: Worker, alarm: AbstractContextManager[None], *, restart: bool = False) -> None:
    """Let an alarm come while half of the tasks are on their way, some of them started when it is there."""
    seen = scene.observer.tasks_seen
    with scene.load(scene.total // 4):
        scene.until_seen(seen + scene.total // 8)
        scene.watch.note_risk()
        with alarm:
            before, begun_at = worker.usage(), time.time()
            with scene.load(scene.total // 4):
                scene.pause_at_risk(scene.scale.alarm_seconds)
            note_noticed(scene, begun_at)
            note_outage_cost(scene, *worker.usage().since(before))
            if restart:
                restart_worker(scene, worker)
                scene.pause_at_risk(scene.scale.alarm_seconds)
        scene.note_recovery(time.time(), count_repeats=False)


def restart_worker(scene: Scene, worker: Worker) -> None:
    """Stop the worker in good order, although its broker does not listen, and start it again."""
    worker.stop()
    scene.figures.notes.append(f"stopped within {worker.stop_seconds:.1f} s, exit code {worker.exit_code}")
    if worker.exit_code != 0:
        scene.figures.problems.append(f"no good stop: {scene.figures.notes[-1]}")
    worker.start()


def check_locked(scene: Scene, since: float) -> None:
    """Nothing is locked but by the one poll that was out when the publisher learned of the alarm."""
    locked = sum(lock.since >= since for lock in scene.watch.locks)
    scene.figures.notes.append(f"{locked} tasks locked while the publisher was blocked")
    if locked > MAX_TASKS:
        scene.figures.problems.append(scene.figures.notes[-1])
