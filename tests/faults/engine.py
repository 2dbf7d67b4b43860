"""Faults of the engine."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from sandbox.ports import LOOPBACK
from sandbox.toxiproxy import Proxy
from tests.faults import dead_letters
from tests.faults.broker import note_outage_cost
from tests.faults.process import deploy_trap
from tests.faults.scene import Scene
from tests.faults.worker import Worker

RECOVERED_SECONDS = 60.0
TIERS_SECONDS = 400.0
REPLY_BYTES = 20  # less than any reply has
LATENCY_MS = 200  # each way: 8 threads get 20 requests/s through
SLOW_REQUESTS_PER_SECOND = 20.0


def down(scene: Scene) -> None:
    """Engine down while answers arrive."""
    worker = hold_all_answers(scene)
    outlive(scene, worker, killed(scene))


def frozen(scene: Scene) -> None:
    """Engine frozen (SIGSTOP) while answers arrive and locks end."""
    worker = hold_all_answers(scene, CAMUNDA_LOCK_DURATION=lock_that_ends_meanwhile(scene))
    outlive(scene, worker, stopped(scene))


def cut_off(scene: Scene) -> None:
    """Engine cut off, no FIN, while answers arrive and locks end."""
    proxy = scene.proxy(scene.engine.port)
    lock = lock_that_ends_meanwhile(scene)
    worker = hold_all_answers(scene, CAMUNDA_BASE_URL=url(proxy), CAMUNDA_LOCK_DURATION=lock)
    outlive(scene, worker, silent(scene, proxy))


def url(proxy: Proxy) -> str:
    """Return where a worker finds the engine through the proxy."""
    return f"http://{LOOPBACK}:{proxy.port}/engine-rest"


def lock_that_ends_meanwhile(scene: Scene) -> str:
    """Return a full lock, in milliseconds, that ends before a silent engine is heard again."""
    return str(int(scene.scale.engine_silent_seconds * 1000))


def hold_all_answers(scene: Scene, **settings: str) -> Worker:
    """Bring all tasks to their systems, which work on them and say nothing yet."""
    scene.observer.hold()
    with scene.load():
        pass
    worker = scene.worker(CAMUNDA_MAX_TASKS="100", **settings)
    scene.until_seen(scene.total)
    scene.pause(3.0)  # the extensions
    return worker


def outlive(scene: Scene, worker: Worker, outage: AbstractContextManager[None]) -> None:
    """Let the answers arrive while the engine is away: all count soon after it is back, and none as missing."""
    before = worker.usage()
    with outage:
        note_outage_cost(scene, *worker.usage().since(before))
    back_at = time.monotonic()
    scene.until(lambda: scene.api.finished_count(scene.key) >= scene.total, "all answers at the engine")
    note_catching_up(scene, time.monotonic() - back_at)
    if failures := scene.api.task_log_count(processDefinitionKey=scene.key, failureLog="true"):
        scene.figures.problems.append(f"{failures} tasks were reported as failed, and none was")
    scene.finish()


@contextmanager
def killed(scene: Scene) -> Iterator[None]:
    """Kill the engine, let the answers come, and start it again."""
    scene.engine.kill()
    scene.observer.release()
    scene.pause(scene.scale.engine_down_seconds)
    yield
    scene.engine.start()


@contextmanager
def stopped(scene: Scene) -> Iterator[None]:
    """Stop the engine's process, let the answers come, and let it go on."""
    os.kill(scene.engine.pid, signal.SIGSTOP)
    try:
        scene.observer.release()
        scene.pause(scene.scale.engine_silent_seconds)
        yield
    finally:
        os.kill(scene.engine.pid, signal.SIGCONT)


@contextmanager
def silent(scene: Scene, proxy: Proxy) -> Iterator[None]:
    """Swallow all that the worker and the engine say to each other, and let the answers come."""
    with proxy.poisoned("timeout", timeout=0):
        scene.observer.release()
        scene.pause(scene.scale.engine_silent_seconds)
        yield


def note_catching_up(scene: Scene, seconds: float) -> None:
    """All answers that waited are at the engine within a minute of its return."""
    scene.figures.recovery_seconds.append(seconds)
    if seconds > RECOVERED_SECONDS:
        scene.figures.problems.append(f"the waiting answers took {seconds:.0f} s")


def replies_lost(scene: Scene) -> None:
    """Fetch response lost after the engine's commit, as all other replies."""
    proxy = scene.proxy(scene.engine.port)
    with scene.load():
        scene.worker(CAMUNDA_BASE_URL=url(proxy))
        for _ in scene.strikes():
            with proxy.poisoned("limit_data", ["downstream"], bytes=REPLY_BYTES):
                scene.pause_at_risk(1.0)
    scene.finish()
    if scene.figures.orphan_seconds < scene.scale.lease_seconds / 2:
        scene.figures.problems.append("no fetch was lost")


def refusing_one_task(scene: Scene) -> None:
    """Engine answers 500 for one task for ever."""
    trap = f"{scene.key}_trap"
    deploy_trap(scene.api, trap)
    scene.api.start_instance(trap, {"topic": scene.topics[0], "number": -1})
    scene.worker(FAULT_TIERS_MS=scene.scale.tiers_ms)
    with scene.load():
        pass
    scene.until(lambda: len(scene.api.incidents(trap)) == 1, "the incident of the refused answer", TIERS_SECONDS)
    dead_letters.expect(scene, {"retries_exhausted": 1})
    scene.finish()


def slow(scene: Scene) -> None:
    """Engine slow (20 requests/s) with 1000 answers waiting."""
    proxy = scene.proxy(scene.engine.port)
    hold_all_answers(scene, CAMUNDA_BASE_URL=url(proxy))
    with proxy.poisoned("latency", latency=LATENCY_MS):
        scene.observer.release()
        seconds = scene.until(lambda: scene.api.finished_count(scene.key) >= scene.total, "all answers applied")
    scene.figures.notes.append(f"{scene.total / seconds:.0f} answers/s at 20 requests/s")
    if seconds > 1.5 * scene.total / SLOW_REQUESTS_PER_SECOND:
        scene.figures.problems.append(f"{scene.total} answers took {seconds:.0f} s")
    scene.finish()
