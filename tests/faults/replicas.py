"""Faults of several workers side by side."""

from tests.faults.scene import Scene

TASKS_PER_SECOND = 40.0


def rolled_out(scene: Scene) -> None:
    """Two replicas, rolling restart, 1 to 3 to 1 under load, with worker ids of their own."""
    accepted = {"CAMUNDA_ACCEPT_WORKER_IDS": f"{scene.worker_id}-*"}
    roll_out(scene, [{"CAMUNDA_WORKER_ID": f"{scene.worker_id}-{letter}", **accepted} for letter in "abc"])


def rolled_out_as_one(scene: Scene) -> None:
    """The same replicas with one worker id."""
    roll_out(scene, [{}, {}, {}])


def roll_out(scene: Scene, settings: list[dict[str, str]]) -> None:
    """Scale out, restart one after the other, scale in: all in order, so nothing may come twice."""
    with scene.load(per_second=TASKS_PER_SECOND):
        first, second, third = (scene.worker(f"replica-{n}", **own) for n, own in enumerate(settings, 1))
        scene.until_seen(scene.total // 10)
        for worker in (first, second):
            scene.pause(2.0)
            worker.stop()
            worker.start()
        scene.pause(3.0)
        second.stop()
        third.stop()
    scene.finish()
