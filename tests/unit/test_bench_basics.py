"""The pure parts that all measurements share."""

import json
import os
import re
import subprocess
from dataclasses import astuple
from pathlib import Path

import pika
import pytest

from bench import echo, processes
from bench.backlog import Slices, slices_of
from bench.figures import Spread, percentile, rate_between, ratios, spread_of
from bench.profiles import part_of
from sandbox.programs import REPOSITORY


def test_run_names_each_measurement() -> None:
    names = re.search(r'metavar="([^"]+)"', (REPOSITORY / "bench/__main__.py").read_text(encoding="utf-8"))

    assert names
    assert f"  bench {names[1]}\n" in (REPOSITORY / "run").read_text(encoding="utf-8")


@pytest.mark.parametrize(("share", "value"), [(0, 1), (0.5, 2), (0.51, 3), (0.95, 4), (1, 4)])
def test_a_percentile_is_a_value_that_was_measured(share: float, value: float) -> None:
    assert percentile([4, 2, 1, 3], share) == value


def test_without_values_there_are_no_figures() -> None:
    assert (percentile([], 0.5), spread_of([None]), rate_between([1.0], 0.2, 0.9)) == (None, None, None)


def test_a_spread_leaves_out_what_was_not_measured() -> None:
    assert spread_of([3, None, 1, 8]) == Spread(median=3, lowest=1, highest=8)


def test_ratios_are_taken_within_a_round() -> None:
    assert ratios({1: 10.0, 2: 30.0, 3: 5.0, 4: None}, {1: 20.0, 2: 10.0, 4: 1.0}) == [0.5, 3.0]


def test_the_steady_rate_leaves_out_begin_and_end() -> None:
    moments = [0.0, *(100 + number / 10 for number in range(8)), 500.0]

    assert rate_between(moments, 0.2, 0.8) == pytest.approx(10)


def test_the_slices_of_a_backlog_follow_the_order_in_which_tasks_ended() -> None:
    ended_at = [*(number / 10 for number in range(10)), *(1 + number / 2 for number in range(10))]
    ended_at += [6 + number / 5 for number in range(11)]

    assert astuple(slices_of(ended_at[::-1], 10)) == pytest.approx((10, 2, 5))
    assert slices_of(ended_at[:10], 10) == Slices(0, 0, 0)


def test_a_process_tree_holds_children_and_their_children() -> None:
    with subprocess.Popen(["sh", "-c", "sleep 60 & echo $!; wait"], stdout=subprocess.PIPE) as shell:
        assert shell.stdout is not None
        sleeper = int(shell.stdout.readline())

        found = processes.tree(os.getpid())
        subprocess.run(["kill", str(sleeper), str(shell.pid)], check=True)

    assert found[0] == os.getpid()
    assert {shell.pid, sleeper} <= set(found)


def test_cpu_time_is_that_of_the_process() -> None:
    before = os.times()
    spent = processes.cpu_seconds([os.getpid()])

    assert spent == pytest.approx(sum(before[:4]), abs=0.05)
    assert processes.cpu_seconds([2**22 + 1]) == 0


def test_a_machine_that_idles_or_waits_for_disks_is_not_busy() -> None:
    assert processes.busy_ticks("cpu  1 2 4 1000 2000 8 16 32 64 128\ncpu0 1 1 1 1 1 1 1 1\n") == 63


def test_the_meter_knows_the_memory_of_a_tree() -> None:
    with processes.Meter(os.getpid()) as meter:
        peak_mb = meter.peak_mb

    assert peak_mb > 10


def test_a_mark_is_found_and_that_of_another_run_is_not() -> None:
    body = json.dumps({"payload": echo.mark("00c0ffee", 42) + "text"}).encode()

    assert echo.number_of(body, b"00c0ffee") == echo.number_of(body, b"") == 42
    assert echo.number_of(body, b"00000000") is None
    assert echo.number_of(b"{}", b"") is None


@pytest.mark.parametrize("body", [b"{", b"[]", b"7", b'{"task_id": "t1"}'])
def test_what_is_no_task_has_no_ids(body: bytes) -> None:
    assert echo.ids_of(body) is None


def test_an_answer_is_framed_as_pika_does_it() -> None:
    body = b'{"task_id":"t1"}'
    properties = pika.BasicProperties(content_type="application/json", delivery_mode=2)
    frames = [
        pika.frame.Method(1, pika.spec.Basic.Publish(exchange="answers", routing_key="key")),
        pika.frame.Header(1, len(body), properties),
        pika.frame.Body(1, body),
    ]

    assert echo.Frames("answers", "key").of(body) == b"".join(frame.marshal() for frame in frames)


def test_what_an_echo_had_can_be_read(tmp_path: Path) -> None:
    had = [echo.Had(1.5, "t1", 7, redelivered=False), echo.Had(2.5, None, None, redelivered=True)]
    file = tmp_path / "had.json"
    file.write_text(json.dumps(had))

    assert echo.read_had(file) == had


@pytest.mark.parametrize(
    ("path", "part"),
    [
        ("bridge/engine/http.py", "bridge/engine"),
        ("bridge/metrics.py", "bridge/metrics.py"),
        ("camunda_worker.py", "camunda_worker.py"),
        (".venv/lib/python3/site-packages/pika/channel.py", "pika"),
    ],
)
def test_a_profile_names_the_rooms_of_the_bridge_and_the_libraries(path: str, part: str) -> None:
    assert part_of(str(REPOSITORY / path)) == part
