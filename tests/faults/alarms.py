"""Faults of a broker that runs short of memory or disk space and blocks whoever publishes."""

import time
from contextlib import AbstractContextManager, ExitStack

from sandbox.toxiproxy import Proxy
from tests.faults.broker import check_recoveries, note_noticed, note_outage_cost
from tests.faults.observer import complete_slowly
from tests.faults.scene import LOCK_MS, Scene
from tests.faults.worker import Worker

MAX_TASKS = 10  # of one poll
CANARY_SECONDS = 6.0
UNCONFIRMED_BATCHES = 4  # so many are out while the next one waits
LATENCY_MS = 300  # each way: far more than a fetch takes, so that batches wait for the confirms of others
SLOW_SECONDS = 2.0
PAST_LEASE = 1.2  # leases
LET_GO = "waited too long to be published"
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


def past_the_lease(scene: Scene) -> None:
    """Memory alarm longer than the lease, with batches that wait for the confirms of others."""
    scene.total *= 3  # hundreds are published while the confirms are slow
    with scene.load():
        pass
    proxy = scene.proxy()
    alarms = min(3, scene.scale.kills)
    worker = scene.worker(RABBITMQ_PORT=str(proxy.port), CAMUNDA_MAX_TASKS=str(MAX_TASKS))
    for _ in scene.strikes(alarms):
        before = worker.usage()
        block_past_lease(scene, proxy)
        note_outage_cost(scene, *worker.usage().since(before))
        scene.note_recovery(time.time(), count_repeats=False)
    check_recoveries(scene)
    scene.finish()
    check_none_published_late(scene, alarms)
    check_waited(scene, worker)


def block_past_lease(scene: Scene, proxy: Proxy) -> None:
    """Let confirms be slow, so that a batch waits for them all the time, then let none come for a long time."""
    with ExitStack() as alarm:
        with proxy.poisoned("latency", latency=LATENCY_MS):
            scene.pause(SLOW_SECONDS)
            alarm.enter_context(scene.broker.memory_alarm())
            scene.pause(SLOW_SECONDS)
        scene.pause(PAST_LEASE * scene.scale.lease_seconds)


def check_none_published_late(scene: Scene, alarms: int) -> None:
    """Only what the connection held when the alarm came reaches its queue after the end of its lease."""
    after_lease = (LOCK_MS - scene.scale.lease_ms) / 1000
    ends = [(message, message.lock_expires_at - after_lease) for message in scene.observer.messages]
    late = sum(message.seen_at > end and not message.redelivered for message, end in ends)
    made_late = sum(message.created_at > end for message, end in ends)
    scene.figures.notes.append(f"{late} messages seen after the end of their lease, {made_late} made after it")
    if late > alarms * UNCONFIRMED_BATCHES * MAX_TASKS or made_late:
        scene.figures.problems.append(scene.figures.notes[-1])


def check_waited(scene: Scene, worker: Worker) -> None:
    """A batch was at the window, and was let go."""
    waited = worker.text().count(LET_GO)
    scene.figures.notes.append(f"{waited} batches waited for longer than their lease")
    if not waited:
        scene.figures.problems.append(scene.figures.notes[-1])
