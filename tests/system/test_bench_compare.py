"""The comparison with real servers, as small as it can be."""

from pathlib import Path

import pytest

from bench.compare import Comparison, Plan, contenders_named
from bench.machine import facts
from bench.results import BACKLOG, PACED, Results
from bench.scene import Stage
from bench.trial import Pace
from sandbox.runs import Run
from sandbox.sandbox import Sandbox

PLAN = Plan(rounds=1, instances=20, pace=Pace(10, seconds=2, lead_in_seconds=1), warm=20, repeats=0)


@pytest.fixture
def results(sandbox: Sandbox, tmp_path: Path) -> Results:
    """What a comparison wrote to its file."""
    file = tmp_path / "results.json"
    with Run() as run:
        results = Results(facts(sandbox), PLAN.options())
        Comparison(Stage(sandbox, run), PLAN, results, file).run(contenders_named("worker,direct"))
    return Results.read(file)


def test_worker_and_ceiling_are_measured_and_nothing_is_left(results: Results, sandbox: Sandbox) -> None:
    runs = {(run.measurement, run.contender): run for run in results.runs}

    assert set(runs) == {(PACED, "worker"), (BACKLOG, "worker"), (BACKLOG, "direct")}
    assert {(run.lost, run.doubled) for run in results.runs} == {(0, 0)}
    assert (runs[BACKLOG, "worker"].instances, runs[PACED, "worker"].instances) == (20, 4 + 10 + 20)

    for contender in ("worker", "direct"):
        figures = runs[BACKLOG, contender].figures
        wanted = ("tasks_per_s", "bridge_with_start_ms", "engine_ms", "peak_mb", "busy_percent")
        assert all((figures[name] or 0) > 0 for name in wanted), figures
    waits = runs[PACED, "worker"].figures
    assert 0 < (waits["to_consumer_p50_ms"] or 0) < (waits["to_complete_p50_ms"] or 0) < 5000
    assert results.ratio(BACKLOG, "worker", "tasks_per_s", "direct") is not None

    assert sandbox.engine_api().finished_count() == 0
    assert [row["name"] for row in sandbox.broker.api.request("GET", "/vhosts") if "bench" in row["name"]] == []
