"""Faults of the broker."""

import math
import os
import signal
import time

from tests.faults.observer import complete_slowly
from tests.faults.scene import Scene

NOTICED_SECONDS = 15.0
BACK_SECONDS = 5.0


def broker_killed(scene: Scene) -> None:
    """Broker killed (-9) mid-publish."""
    scene.observer.behave = complete_slowly
    with scene.load():
        scene.pause(1.0)  # a backlog, so that something is always under way
        scene.worker()
        for _ in scene.strikes():
            kill_broker(scene)
    check_recoveries(scene)
    scene.finish()


def check_recoveries(scene: Scene) -> None:
    """Messages flow again soon after the broker is back, in 95 of 100 cases."""
    recoveries = sorted(scene.figures.recovery_seconds)
    p95 = recoveries[math.ceil(0.95 * len(recoveries)) - 1]
    if p95 > BACK_SECONDS:
        scene.figures.problems.append(f"messages flowed {p95:.1f} s after the broker's return")


def kill_broker(scene: Scene) -> None:
    """Kill the broker, start it again, and note how soon messages flow."""
    scene.watch.note_risk()
    scene.broker.kill()
    scene.watch.note_risk()
    scene.broker.start()
    scene.note_recovery(time.time(), count_repeats=True)


def broker_frozen(scene: Scene) -> None:
    """Broker frozen (SIGSTOP)."""
    scene.observer.behave = complete_slowly
    with scene.load():
        scene.pause(1.0)
        worker = scene.worker()
        scene.until_seen(scene.total // 5)
        before = worker.usage()
        frozen_at = time.time()
        freeze_broker(scene, scene.scale.freeze_seconds)
        note_outage_cost(scene, *worker.usage().since(before))
        note_noticed(scene, frozen_at)
        scene.note_recovery(time.time(), count_repeats=False)
    check_recoveries(scene)
    scene.finish()


def freeze_broker(scene: Scene, seconds: float) -> None:
    """Stop the broker's process for some seconds."""
    scene.watch.note_risk()
    os.kill(scene.broker.pid, signal.SIGSTOP)
    try:
        scene.pause_at_risk(seconds)
    finally:
        os.kill(scene.broker.pid, signal.SIGCONT)


def note_noticed(scene: Scene, begun_at: float) -> None:
    """Note how long tasks were still fetched although the broker was out of reach."""
    seconds = max(0.0, scene.watch.last_fetch - begun_at)
    scene.figures.noticed_seconds = max(seconds, scene.figures.noticed_seconds or 0.0)
    if seconds > NOTICED_SECONDS:
        scene.figures.problems.append(f"still fetching {seconds:.0f} s after the broker was out of reach")


def note_outage_cost(scene: Scene, cpu_share: float, lines_per_second: float) -> None:
    """I6: waiting for a broker or an engine costs next to nothing."""
    scene.figures.notes.append(f"outage: {cpu_share:.1%} of a core, {lines_per_second:.1f} log lines/s")
    if cpu_share > 0.2 or lines_per_second > 10:
        scene.figures.problems.append(f"I6: {scene.figures.notes[-1]}")
