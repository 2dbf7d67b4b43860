"""Faults of the network between the worker and the broker."""

import time
from datetime import datetime
from itertools import pairwise

from tests.faults.broker import check_recoveries, note_noticed, note_outage_cost
from tests.faults.observer import complete_slowly
from tests.faults.scene import Scene

LOST, DELIVERED_LATER = ("timeout", {"timeout": 0}), ("bandwidth", {"rate": 0})


def connections_reset(scene: Scene) -> None:
    """TCP reset of the publisher, as of all connections."""
    scene.observer.behave = complete_slowly
    proxy = scene.proxy()
    with scene.load():
        scene.pause(1.0)
        scene.worker(RABBITMQ_PORT=str(proxy.port))
        for _ in scene.strikes():
            scene.watch.note_risk()
            proxy.reset()
            scene.watch.note_risk()
            scene.note_recovery(time.time(), count_repeats=False)
    check_recoveries(scene)
    scene.finish()


def partitioned(scene: Scene) -> None:
    """Half-open partition: nothing delivered, no FIN."""
    scene.observer.behave = complete_slowly
    proxy = scene.proxy()
    with scene.load():
        scene.pause(1.0)
        worker = scene.worker(RABBITMQ_PORT=str(proxy.port))
        for _, (toxic, attributes) in zip(scene.strikes(2), (LOST, DELIVERED_LATER), strict=True):
            before, begun_at = worker.usage(), time.time()
            with proxy.poisoned(toxic, **attributes):
                scene.pause_at_risk(scene.scale.partition_seconds)
                note_noticed(scene, begun_at)
            note_outage_cost(scene, *worker.usage().since(before))
            note_longest_rest(scene, time.time())
    check_recoveries(scene)
    scene.finish()


def note_longest_rest(scene: Scene, since: float) -> None:
    """Note the longest time after `since` (Unix seconds) in which nothing flowed, until new tasks do.

    The systems answered what was held in the line, and these answers come first: how long they take is the
    engine's affair. Between them, and from the last of them to the first new task, nothing may stand still.
    """
    first_task = scene.until_published(since)
    rows = scene.api.task_log(processDefinitionKey=scene.key, successLog="true")
    applied = sorted(datetime.fromisoformat(row["timestamp"]).timestamp() for row in rows)
    between = [moment for moment in applied if since <= moment < first_task]
    rests = [later - earlier for earlier, later in pairwise([since, *between, first_task])]
    scene.figures.recovery_seconds.append(max(rests))
    scene.figures.notes.append(f"new tasks after {first_task - since:.1f} s, {len(between)} waiting answers first")


def slow_line(scene: Scene) -> None:
    """Latency of 300±200 ms each way and 64 kB/s."""
    proxy = scene.proxy()
    with proxy.poisoned("latency", latency=300, jitter=200), proxy.poisoned("bandwidth", rate=64):
        with scene.load():
            scene.worker(RABBITMQ_PORT=str(proxy.port))
        scene.finish()
