"""The bench's closed circuit: stand-in, broker, worker and echo carry every task there and back once."""

import json
from argparse import Namespace
from pathlib import Path

import pytest

from bench import ceiling


def test_the_ceiling_is_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "ceiling.json"
    options = Namespace(tasks=300, rounds=1, max_tasks=100, json=file)

    exit_code = ceiling.measure(options)

    (result,) = json.loads(file.read_text())["rounds"]
    assert exit_code == 0, capsys.readouterr().out
    assert (result["lost"], result["doubled"], result["calls"]["complete"]) == (0, 0, 300)
    assert 0 < result["worker_us"] < result["worker_with_start_us"]
