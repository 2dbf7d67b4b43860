"""Faults of several workers side by side."""

from collections.abc import Sequence

from tests.faults import checks
from tests.faults.gateways import check_nobody_blamed
from tests.faults.metrics_page import MetricsPage
from tests.faults.observer import complete_some_slowly
from tests.faults.process import deploy_branches
from tests.faults.scene import Scene

TASKS_PER_SECOND = 40.0
BRANCHES = 3
BRANCHES_SECONDS = 900.0


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


def with_branches(scene: Scene) -> None:
    """Two replicas, and three tasks at once in each instance, whose answers collide in the engine."""
    accepted = {"CAMUNDA_ACCEPT_WORKER_IDS": f"{scene.worker_id}-*"}
    pages = [MetricsPage.free() for _ in "ab"]
    for letter, page in zip("ab", pages, strict=True):
        own = {"CAMUNDA_WORKER_ID": f"{scene.worker_id}-{letter}", **page.setting}
        scene.worker(f"replica-{letter}", **own, **accepted)
    run_branches(scene, pages)


def split_with_branches(scene: Scene) -> None:
    """Worker and response handler apart, and three tasks at once in each instance, whose answers collide."""
    page = MetricsPage.free()
    scene.worker("fetcher", part="camunda_worker")
    scene.worker("handler", part="response_handler", **page.setting)
    run_branches(scene, [page])


def run_branches(scene: Scene, pages: Sequence[MetricsPage]) -> None:
    """Bring instances with parallel branches to their end; `pages`: of those who apply the answers."""
    scene.use(deploy_branches)
    scene.total = scene.scale.branched
    scene.observer.behave = complete_some_slowly
    with scene.load():
        pass
    scene.until(lambda: checks.is_all_done(scene), "all instances ended", BRANCHES_SECONDS)
    note_collisions(scene, pages)
    scene.finish()
    check_nobody_blamed(scene)


def note_collisions(scene: Scene, pages: Sequence[MetricsPage]) -> None:
    """Count the calls that the engine wanted again; without any the fault did not happen."""
    calls = sum(page.value("apply_seconds_count") for page in pages)
    answers = sum(page.value("responses_total") for page in pages)
    delayed = sum(page.value("responses_total", outcome="delayed") for page in pages)
    repeated = f"{calls - answers:.0f} calls repeated after a collision"
    scene.figures.notes.append(f"{answers:.0f} answers, {repeated}, {delayed:.0f} answers delayed")
    if calls <= answers or answers - delayed != BRANCHES * scene.total:
        scene.figures.problems.append(f"of {BRANCHES * scene.total} answers: {scene.figures.notes[-1]}")
