"""Faults of the bridge itself."""

import time

from tests.faults.observer import complete_slowly, complete_some_slowly
from tests.faults.scene import Scene


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
