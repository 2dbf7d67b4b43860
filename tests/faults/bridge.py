"""Faults of the bridge itself."""

from tests.faults.observer import complete_some_slowly
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
