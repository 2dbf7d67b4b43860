"""Faults of the engine."""

import time

from tests.faults.broker import note_outage_cost
from tests.faults.scene import Scene

RECOVERED_SECONDS = 60.0


def engine_down_while_answers_arrive(scene: Scene) -> None:
    """Engine down while answers arrive."""
    scene.observer.hold()
    with scene.load():
        worker = scene.worker()
    scene.until_seen(scene.total)
    scene.pause(3.0)  # the extensions
    scene.engine.kill()
    scene.observer.release()
    before = worker.usage()
    scene.pause(scene.scale.engine_down_seconds)
    note_outage_cost(scene, *worker.usage().since(before))
    scene.engine.start()
    back_at = time.monotonic()
    scene.until(lambda: scene.api.finished_count(scene.key) >= scene.total, "all answers at the engine")
    note_catching_up(scene, time.monotonic() - back_at)
    scene.finish()


def note_catching_up(scene: Scene, seconds: float) -> None:
    """All answers that waited are at the engine within a minute of its return."""
    scene.figures.recovery_seconds.append(seconds)
    if seconds > RECOVERED_SECONDS:
        scene.figures.problems.append(f"the waiting answers took {seconds:.0f} s")
