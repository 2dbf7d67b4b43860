"""The comparison without servers: who plays when, what a run came to, and how it is told."""

import argparse
from argparse import Namespace
from pathlib import Path

import pytest

from bench import compare, machine, plot, report, spending, trial
from bench.contenders import CONTENDERS, in_turn
from bench.echo import Had
from bench.figures import Spread
from bench.load import Started
from bench.results import BACKLOG, PACED, Result, Results

MACHINE = dict.fromkeys(("date", "cpu", "cores", "kernel", "python", "java", "engine", "broker"), "-")
OPTIONS = {"rounds": 2.0, "backlog": 100.0, "rate": 10.0, "seconds": 5.0}


def result(
    contender: str = "go",
    number: int = 1,
    *,
    measurement: str = BACKLOG,
    lost: int = 0,
    doubled: int = 0,
    **figures: float,
) -> Result:
    return Result(
        contender=contender,
        is_ours=contender.startswith("worker"),
        measurement=measurement,
        round=number,
        at="2026-11-24T12:00:00",
        instances=100,
        lost=lost,
        doubled=doubled,
        redelivered=0,
        figures={**figures},
    )


def results_of(*runs: Result, repeated: tuple[Result, ...] = ()) -> Results:
    return Results(MACHINE, OPTIONS, runs=[*runs], repeated=[*repeated])


def test_another_contender_begins_each_round() -> None:
    chosen = compare.contenders_named("worker,go,direct")

    orders = [[contender.name for contender in in_turn(chosen, number)] for number in (1, 2, 3, 4)]

    assert orders == [
        ["worker", "go", "direct"],
        ["go", "direct", "worker"],
        ["direct", "worker", "go"],
        ["worker", "go", "direct"],
    ]


def test_a_contender_that_is_unknown_is_refused() -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="cobol: there are worker, "):
        compare.contenders_named("worker,cobol")


def test_a_peer_has_queues_of_its_own_and_the_ceiling_has_none() -> None:
    wired = {name: CONTENDERS[name].wiring(["a", "b"]) for name in ("go", "worker", "direct")}

    assert wired["direct"] is None
    assert wired["go"] is not None
    assert wired["go"].task_queues == ("peer.task.a", "peer.task.b")
    assert wired["worker"] is not None
    assert wired["worker"].task_queues == ("a.queue", "b.queue")


@pytest.mark.parametrize(("others", "is_disturbed"), [(5.0, False), (5.1, True)])
def test_a_run_is_disturbed_when_others_used_much_of_the_machine(others: float, is_disturbed: bool) -> None:
    assert result(others_percent=others).is_disturbed is is_disturbed


def test_of_all_attempts_at_a_run_the_least_disturbed_counts() -> None:
    results = results_of(result("worker"))
    attempts = [result(others_percent=share) for share in (30, 12, 40)]

    for count in (1, 2, 3):
        results.keep(attempts[:count])

    assert results.runs == [result("worker"), attempts[1]]
    assert results.repeated == [attempts[0], attempts[2]]


def test_ratios_compare_the_runs_of_one_round() -> None:
    results = results_of(
        result("worker", 1, tasks_per_s=100),
        result("go", 1, tasks_per_s=200),
        result("worker", 2, tasks_per_s=300),
        result("go", 2, tasks_per_s=300),
        result("worker", 3, tasks_per_s=500),
    )

    assert results.ratio(BACKLOG, "worker", "tasks_per_s", "go") == Spread(0.75, 0.5, 1.0)
    assert results.spread(BACKLOG, "worker", "tasks_per_s") == Spread(300, 100, 500)
    assert results.ratio(BACKLOG, "worker", "tasks_per_s", "direct") is None


def test_results_are_read_as_they_were_written(tmp_path: Path) -> None:
    results = results_of(result("worker", tasks_per_s=7.5), repeated=(result("worker", others_percent=50),))
    results.notes.append("the engine was renewed")
    file = tmp_path / "results.json"

    results.write(file)

    assert Results.read(file) == results
    assert '"tasks_per_s": {' in file.read_text()  # its median and spread
    assert list(tmp_path.iterdir()) == [file]


def printed(results: Results, capsys: pytest.CaptureFixture[str]) -> str:
    report.show(results)
    return capsys.readouterr().out


def test_a_table_shows_medians_spreads_and_ratios(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(
        results_of(
            result("worker", 1, tasks_per_s=90),
            result("go", 1, tasks_per_s=100),
            result("worker", 2, tasks_per_s=110),
            result("go", 2, tasks_per_s=100),
        ),
        capsys,
    )

    [worker] = [line.split() for line in text.splitlines() if line.split()[:1] == ["worker"]]
    assert worker[1:3] == ["100", "1.00"]
    assert "90-110" in text
    assert "0.90-1.10" in text
    assert "x ceiling" not in text  # it took no part


def test_what_was_lost_or_doubled_is_told_even_if_the_run_was_repeated(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = printed(
        results_of(result("worker"), result("go", 2, lost=3), repeated=(result("worker", doubled=1),)), capsys
    )

    assert "! round 2, go, backlog: lost 3, doubled 0." in text
    assert "! round 1, worker, backlog: lost 0, doubled 1." in text
    assert "worker !" in text


def test_what_others_disturbed_is_marked(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(results_of(result("go", others_percent=20)), capsys)

    assert "go *" in text
    assert "* other processes used more than 5 %" in text


@pytest.mark.parametrize(("contender", "exit_code"), [("worker", 1), ("worker-10", 1), ("go", 0)])
def test_only_a_loss_of_ours_is_a_failure(tmp_path: Path, contender: str, exit_code: int) -> None:
    file = tmp_path / "results.json"
    results_of(result(contender, lost=1), result("worker", 2)).write(file)

    assert compare.measure(Namespace(source=file, plot=None)) == exit_code


def test_a_picture_is_drawn_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    paced = result("worker", measurement=PACED, to_complete_p50_ms=5, to_complete_p95_ms=7, to_complete_p99_ms=9)
    backlogs = (result(name, tasks_per_s=90, bridge_ms=0.5) for name in ("worker", "go", "direct"))
    results_of(*backlogs, paced).write(file)

    plot.draw(Results.read(file), tmp_path / "pictures")

    assert (tmp_path / "pictures" / "compare.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (tmp_path / "pictures" / "compare.svg").read_text()


STARTED = {number: Started(f"i{number}", returned_at=100.0 + number, late_seconds=0) for number in range(3)}


def test_an_instance_that_did_not_end_is_lost_and_a_second_message_is_a_double() -> None:
    had = [
        Had(101.5, "t0", 0, redelivered=False),
        Had(102.5, "t1", 1, redelivered=False),
        Had(103.5, "t1", 1, redelivered=True),
        Had(104.5, None, None, redelivered=False),
    ]

    fate = trial.fate_of(STARTED, {"i0": 102.0, "i1": 103.0, "foreign": 1.0}, had)

    assert (fate.lost, fate.doubled, fate.redelivered) == (1, 1, 1)
    assert fate.had_at == {0: 101.5, 1: 102.5}
    assert fate.ended_at == {0: 102.0, 1: 103.0}


def test_latencies_count_from_the_return_of_the_start_call() -> None:
    fate = trial.fate_of(STARTED, {"i0": 100.5, "i1": 101.01}, [Had(101.002, "t1", 1, redelivered=False)])

    figures = trial.latency_figures(fate, counted=[1, 2])

    assert figures["to_consumer_p99_ms"] == pytest.approx(2)
    assert figures["to_complete_p50_ms"] == pytest.approx(10)


def test_a_bridge_that_locked_nothing_has_no_rate() -> None:
    assert trial.drain_figures([], None) == {"tasks_per_s": None, "steady_per_s": None}
    assert trial.drain_figures([12.0, 14.0], locked_at=10.0)["tasks_per_s"] == 0.5


def test_what_no_process_of_the_run_spent_was_spent_by_others() -> None:
    before = spending.Spent(at=10, bridge=1, engine=1, broker=1, echo=1, driver=1, machine=100)
    after = spending.Spent(at=20, bridge=2, engine=6, broker=2, echo=1.5, driver=1.5, machine=109)

    shares = spending.shares(before, after, cores=2)

    assert shares == {"busy_percent": pytest.approx(45), "others_percent": pytest.approx(5)}
    assert spending.costs(before, after, 1000)["engine_ms"] == pytest.approx(5)
    assert spending.costs(before, after, 0) == {}


def test_a_machine_that_does_not_name_its_cpu_is_known_by_its_kind() -> None:
    assert machine.cpu_model("processor\t: 0\nmodel name\t: Fast CPU 9\n") == "Fast CPU 9"
    assert machine.cpu_model("processor\t: 0\n") != ""
