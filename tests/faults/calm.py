"""No fault at all: the measure of what the worker costs while everything is well."""

from dataclasses import dataclass

from tests.faults.observer import complete_some_slowly
from tests.faults.scene import Scene
from tests.faults.worker import Worker

GROWTH_MB = 5.0
PATIENCE_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Size:
    """How much of the machine a process holds."""

    memory_mb: float
    threads: int
    open_files: int

    @classmethod
    def of(cls, worker: Worker) -> "Size":
        """Return how much a worker holds now."""
        return cls(worker.memory_kb() / 1024, worker.threads(), worker.open_files())


def calm_run(scene: Scene) -> None:
    """Nothing fails for many tasks."""
    scene.total = scene.scale.calm_tasks
    scene.observer.behave = complete_some_slowly  # so that leases are extended too
    with scene.load():
        worker = scene.worker()
        scene.until_seen(scene.total // 4, PATIENCE_SECONDS)
        warm = Size.of(worker)
        scene.until_seen(scene.total, PATIENCE_SECONDS)
        scene.until(lambda: scene.api.finished_count(scene.key) >= scene.total, "all ended", PATIENCE_SECONDS)
        note_growth(scene, warm, Size.of(worker))
    scene.finish()


def note_growth(scene: Scene, warm: Size, end: Size) -> None:
    """I8: what the worker holds stays as it was once it is warm."""
    growth = end.memory_mb - warm.memory_mb
    held = f"{end.memory_mb:.0f} MB ({growth:+.1f} since warm), {end.threads} threads, {end.open_files} open files"
    scene.figures.notes.append(f"at the end {held}")
    if growth >= GROWTH_MB or (end.threads, end.open_files) != (warm.threads, warm.open_files):
        scene.figures.problems.append(f"I8: {held}; warm: {warm.threads} threads, {warm.open_files} open files")
