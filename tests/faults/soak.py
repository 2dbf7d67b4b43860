"""An hour of a real installation: clusters of broker and engine, TLS, steady work, and now and then a fault."""

import time
from collections import Counter
from collections.abc import Callable
from statistics import median

from tests.faults.chaos import complete_or_fail
from tests.faults.clusters import cluster_of, node_of
from tests.faults.scene import Scene
from tests.faults.worker import Worker

TASKS_PER_SECOND = 50.0
EVERY_SECONDS = 120.0
ROLL_SECONDS = 5.0
SETTLED_SECONDS = 600.0
MOST_GROWTH_MB = 5.0


class Soak:
    """The faults of the soak; each leaves everything running."""

    def __init__(self, scene: Scene, worker: Worker) -> None:
        self._scene = scene
        self._worker = worker
        self.blocks: tuple[Callable[[], None], ...] = (
            self.kill_broker_node,
            self.roll_broker_nodes,
            self.freeze_broker_node,
            self.kill_engine_node,
            self.freeze_engine_node,
            self.freeze_worker,
        )

    def kill_broker_node(self) -> None:
        """Kill the node that the worker publishes to, and start it again."""
        node = node_of(cluster_of(self._scene), self._worker)
        node.kill()
        self._scene.pause_at_risk(ROLL_SECONDS)
        node.start()

    def roll_broker_nodes(self) -> None:
        """Stop and start one node after the other, as an update does."""
        for node in cluster_of(self._scene).nodes:
            self._scene.at_risk_while(node.stop)
            self._scene.pause_at_risk(ROLL_SECONDS)
            node.start()

    def freeze_broker_node(self) -> None:
        """Stop the clock of the node that the worker publishes to."""
        self._scene.freeze(node_of(cluster_of(self._scene), self._worker).pid, 20.0)

    def kill_engine_node(self) -> None:
        """Kill one of the nodes of the engine, and start it again."""
        node = self._scene.random.choice(self._scene.sandbox.engines)
        node.kill()
        self._scene.pause_at_risk(ROLL_SECONDS)
        node.start()

    def freeze_engine_node(self) -> None:
        """Stop the clock of one of the nodes of the engine, which keeps what it has locked in the database."""
        self._scene.freeze(self._scene.random.choice(self._scene.sandbox.engines).pid, 10.0)

    def freeze_worker(self) -> None:
        """Stop the worker's clock for longer than a short lease."""
        self._scene.freeze(self._worker.pid, 40.0)


def lasting(minutes: float) -> Callable[[Scene], None]:
    """Return the fault that lasts that long."""

    def soak(scene: Scene) -> None:
        """Soak: 50 tasks/s over TLS on clusters of broker and engine, a fault every two minutes."""
        soak_for(scene, minutes)

    return soak


def soak_for(scene: Scene, minutes: float) -> None:
    """Strike every two minutes for that long, then wait until all is done and look at the memory."""
    scene.observer.behave = complete_or_fail
    scene.total = int(60 * minutes * TASKS_PER_SECOND)
    begun = time.monotonic()
    memory_mb: list[float] = []
    struck: Counter[str] = Counter()
    with scene.load(per_second=TASKS_PER_SECOND):
        worker = scene.worker()
        blocks = Soak(scene, worker).blocks
        for number in range(1, int(60 * minutes / EVERY_SECONDS) + 1):
            scene.pause(max(0.0, begun + number * EVERY_SECONDS - time.monotonic()))
            memory_mb.append(worker.memory_kb() / 1024)
            block = scene.random.choice(blocks)
            struck[block.__name__] += 1
            scene.watch.note_risk()
            block()
            scene.watch.note_risk()
    scene.figures.notes.append(", ".join(f"{name} {count}" for name, count in sorted(struck.items())))
    scene.until_settled(SETTLED_SECONDS)
    note_memory(scene, [*memory_mb, worker.memory_kb() / 1024])
    scene.finish()


def note_memory(scene: Scene, megabytes: list[float]) -> None:
    """Compare what the worker held in the second quarter of the time with the last one."""
    quarter = max(1, len(megabytes) // 4)
    early, late = median(megabytes[quarter : 2 * quarter] or megabytes), median(megabytes[-quarter:])
    scene.figures.notes.append(
        f"memory {early:.1f} MB in the second quarter, {late:.1f} MB in the last, {max(megabytes):.1f} MB at most"
    )
    if late > early + MOST_GROWTH_MB:
        scene.figures.problems.append(f"memory grew: {scene.figures.notes[-1]}")
