"""How the cost grows: the cases, and what their results come to."""

from argparse import ArgumentParser
from collections import Counter
from pathlib import Path

import pytest

from bench import growth
from bench.drain import Drained
from bench.figures import Spread
from bench.growth import Results, summary, verdict
from bench.growth_cases import AXES
from bench.growth_plot import draw
from config import RoutingConfig


def drained(worker_us: float) -> Drained:
    return Drained(
        tasks=1000,
        tasks_per_s=1.0,
        worker_us=worker_us,
        worker_with_start_us=1.0,
        stand_in_us=1.0,
        broker_us=1.0,
        echo_us=1.0,
        peak_mb=60.0,
        others_percent=0.0,
        lost=0,
        doubled=0,
        calls={},
    )


# The machine slows down between the rounds, the worker does not.
RESULTS: Results = {
    "topics": {10: {1: drained(300), 2: drained(600)}, 1000: {1: drained(390), 2: drained(780)}},
}


@pytest.mark.parametrize("name", AXES)
def test_a_case_has_at_least_as_many_tasks_as_may_be_open(name: str) -> None:
    cases = [case for quick in (False, True) for _, case in AXES[name].cases(quick=quick)]

    assert all(case.tasks >= (case.at_once or 1) for case in cases)


def test_a_quick_measurement_is_ten_times_smaller() -> None:
    sizes = {quick: [size for size, _ in AXES["backlog"].cases(quick=quick)] for quick in (False, True)}

    assert sizes == {False: [1_000, 10_000, 100_000], True: [100, 1_000, 10_000]}


def test_the_topics_are_spread_evenly_over_four_systems() -> None:
    *_, (_, case) = AXES["topics"].cases(quick=False)
    routing = RoutingConfig.built_in(600_000)

    systems = Counter(routing.systems_of(topic)[0].name for topic in case.topics)

    assert systems == {"bitrix24": 250, "openproject": 250, "1c": 250, "python-services": 250}


def test_a_ratio_is_taken_within_each_round() -> None:
    (_, last) = summary(RESULTS)["topics"]

    assert last["times_first"]["worker_us"] == pytest.approx({"median": 1.3, "lowest": 1.3, "highest": 1.3})
    assert last["medians"]["worker_us"] == {"median": 585, "lowest": 390, "highest": 780}


@pytest.mark.parametrize(("worker_us", "word"), [(390, "1.30, holds"), (420, "1.40, DOES NOT HOLD")])
def test_says_whether_the_limit_holds(worker_us: float, word: str) -> None:
    sizes = {10: {1: drained(300)}, 1000: {1: drained(worker_us)}}

    assert word in verdict(AXES["topics"], sizes)


def test_an_axis_that_is_none_is_wrong_use(capsys: pytest.CaptureFixture[str]) -> None:
    parser = ArgumentParser()
    growth.add_options(parser)

    with pytest.raises(SystemExit):
        parser.parse_args(["--axis", "topics,age"])

    assert "no such axis: age" in capsys.readouterr().err


def test_draws_a_picture_in_two_formats(tmp_path: Path) -> None:
    spread = Spread(1.0, 0.9, 1.2)

    draw({"backlog": {1_000: spread, 100_000: spread}, "replicas": {1: spread, 2: None}}, tmp_path / "pictures")

    assert {file.name for file in (tmp_path / "pictures").iterdir()} == {"growth.png", "growth.svg"}
