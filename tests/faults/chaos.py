"""All faults at random, one after the other, under continuous load."""

import os
import signal
import time
from collections import Counter
from collections.abc import Callable

from tests.faults.engine import url
from tests.faults.observer import Answer, Message, complete_some_slowly
from tests.faults.scene import Scene
from tests.faults.worker import Worker

TASKS_PER_SECOND = 10.0
LEAST_TASKS = 1000
FREEZE_SECONDS = (2.0, 45.0)
REST_SECONDS = (1.0, 15.0)
EACH_FAILING = 20
RETRY_MS = 5_000
SETTLED_SECONDS = 300.0


class Chaos:
    """The building blocks of the faults; each leaves engine, broker and worker running."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._engines_proxy = scene.proxy(scene.engine.port)
        self._brokers_proxy = scene.proxy()
        self._worker = self._start_worker("worker")
        self.blocks: tuple[Callable[[], None], ...] = (
            self.kill_broker,
            self.freeze_broker,
            self.reset_broker,
            self.partition_broker,
            self.kill_engine,
            self.freeze_engine,
            self.lose_replies,
            self.cut_off_engine,
            self.kill_worker,
            self.stop_worker,
            self.freeze_worker,
            self.add_replica,
        )

    def kill_broker(self) -> None:
        self._scene.broker.kill()
        self._scene.broker.start()

    def freeze_broker(self) -> None:
        self._freeze(self._scene.broker.pid)

    def reset_broker(self) -> None:
        self._brokers_proxy.reset()

    def partition_broker(self) -> None:
        with self._brokers_proxy.poisoned("timeout", timeout=0):
            self._endure()

    def kill_engine(self) -> None:
        self._scene.engine.kill()
        self._scene.engine.start()

    def freeze_engine(self) -> None:
        os.kill(self._scene.engine.pid, signal.SIGSTOP)
        try:
            self._scene.pause(self._some_seconds())  # whoever looks at its locks now waits for it
        finally:
            os.kill(self._scene.engine.pid, signal.SIGCONT)

    def lose_replies(self) -> None:
        with self._engines_proxy.poisoned("limit_data", ["downstream"], bytes=20):
            self._scene.pause_at_risk(1.0)

    def cut_off_engine(self) -> None:
        with self._engines_proxy.poisoned("timeout", timeout=0):
            self._endure()

    def kill_worker(self) -> None:
        self._worker.kill()
        self._worker.start()

    def stop_worker(self) -> None:
        self._worker.stop()
        self._worker.start()

    def freeze_worker(self) -> None:
        self._freeze(self._worker.pid)

    def add_replica(self) -> None:
        replica = self._start_worker(f"replica-{time.monotonic_ns()}")
        self._endure()
        replica.stop()

    def _start_worker(self, name: str) -> Worker:
        settings = {"CAMUNDA_BASE_URL": url(self._engines_proxy), "RABBITMQ_PORT": str(self._brokers_proxy.port)}
        return self._scene.worker(name, **settings)

    def _freeze(self, pid: int) -> None:
        os.kill(pid, signal.SIGSTOP)
        try:
            self._endure()
        finally:
            os.kill(pid, signal.SIGCONT)

    def _endure(self) -> None:
        self._scene.pause_at_risk(self._some_seconds())

    def _some_seconds(self) -> float:
        return self._scene.random.uniform(*FREEZE_SECONDS)


def lasting(minutes: float) -> Callable[[Scene], None]:
    """Return the fault that strikes at random for that long."""

    def chaos(scene: Scene) -> None:
        """Chaos: kills, freezes and cuts at random, under continuous load."""
        strike_for(scene, minutes)

    return chaos


def strike_for(scene: Scene, minutes: float) -> None:
    """Strike at random for that long, then wait until all is done."""
    scene.observer.behave = complete_or_fail
    scene.total = max(LEAST_TASKS, int(60 * minutes * TASKS_PER_SECOND))
    struck: Counter[str] = Counter()
    ends = time.monotonic() + 60 * minutes
    with scene.load(per_second=TASKS_PER_SECOND):
        blocks = Chaos(scene).blocks
        while time.monotonic() < ends:
            scene.pause(scene.random.uniform(*REST_SECONDS))
            block = scene.random.choice(blocks)
            struck[block.__name__] += 1
            scene.watch.note_risk()
            block()
            scene.watch.note_risk()
    scene.figures.notes.append(", ".join(f"{name} {count}" for name, count in sorted(struck.items())))
    scene.finish(SETTLED_SECONDS)


def complete_or_fail(message: Message) -> Answer:
    """Report a failure for some first attempts; work long on some others."""
    if message.attempt == "first" and message.number % EACH_FAILING == 1:
        return Answer({"response_type": "failure", "error_message": "busy", "retry_timeout": RETRY_MS})
    return complete_some_slowly(message)
