"""What is made of the recordings of faults before promtool looks at them."""

import json
from pathlib import Path

from tests.faults.recorder import UP
from tests.monitoring import recordings

TOTAL = "camunda_worker_dead_letters_total"
FETCHED_AT = 'camunda_worker_last_success_timestamp_seconds{op="fetch"}'


def test_a_recording_begins_and_ends_with_an_answer_and_counts_from_its_begin(tmp_path: Path) -> None:
    scrapes = [
        (100.0, {UP: 0.0}),
        (105.0, {UP: 1.0, FETCHED_AT: 103.0}),
        (115.2, {UP: 1.0, FETCHED_AT: 114.0}),
        (120.0, {UP: 0.0}),
    ]
    file = tmp_path / "f.jsonl"
    file.write_text("\n".join(json.dumps({"time": moment, "samples": samples}) for moment, samples in scrapes))

    first, last = {UP: 1.0, FETCHED_AT: -2.0}, {UP: 1.0, FETCHED_AT: 9.0}
    assert recordings.read(file) == [first, first, last]


def test_a_repeated_recording_goes_on_counting() -> None:
    twice = recordings.repeated([{UP: 1.0, TOTAL: 3.0}, {UP: 1.0, TOTAL: 5.0}], 4)

    assert [one[TOTAL] for one in twice] == [3.0, 5.0, 5.0, 7.0]
    assert [one[UP] for one in twice] == [1.0] * 4


def test_a_series_is_written_in_runs() -> None:
    assert recordings.values([1.0, 1.0, None, None, 0.0]) == "1.0x1 stale _x1 0.0x0"


def test_a_fault_that_is_held_stays_as_it_is_and_what_still_succeeded_goes_on() -> None:
    going = recordings.held([{FETCHED_AT: 3.0, TOTAL: 7.0}, {FETCHED_AT: 8.0, TOTAL: 9.0}], 1)
    stuck = recordings.held([{FETCHED_AT: 3.0}, {FETCHED_AT: 3.0}], 1)

    assert [one[FETCHED_AT] for one in going[:4]] == [3.0, 8.0, 13.0, 18.0]
    assert (going[-1][TOTAL], len(going)) == (9.0, 2 + recordings.HOLD_STEPS)
    assert stuck[-1][FETCHED_AT] == 3.0


def test_the_fault_begins_after_the_start_and_is_worst_where_most_is_wrong_last() -> None:
    signs = [1, 0, 0, 1, 2, 2, 1, 0]

    assert recordings.begin_step(signs) == 3
    assert recordings.worst_step(signs) == 5
    assert recordings.begin_step([2, 2]) == 0
