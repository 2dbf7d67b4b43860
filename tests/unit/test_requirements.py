"""What is installed is pinned to the hash of each file."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
PIN = re.compile(r"^([a-z0-9-]+==[0-9a-z.]+)", re.MULTILINE)


@pytest.mark.parametrize("name", ["requirements", "requirements-tracing", "requirements-dev"])
def test_the_locked_versions_are_the_required_ones_and_each_has_hashes(name: str) -> None:
    locked = (ROOT / f"{name}.lock").read_text(encoding="utf-8")
    required = PIN.findall((ROOT / f"{name}.txt").read_text(encoding="utf-8"))
    pins = [part for part in re.split(r"\n(?=\S)", locked) if PIN.match(part)]

    assert len(required) > 10
    assert set(required) <= set(PIN.findall(locked)), "run ./run lock"
    assert [pin.split()[0] for pin in pins if "--hash=sha256:" not in pin] == []


def test_the_worker_needs_no_package_for_traces_where_none_are_recorded() -> None:
    without = (
        "import sys; sys.modules['opentelemetry'] = None; import main; print('opentelemetry.trace' in sys.modules)"
    )

    done = subprocess.run([sys.executable, "-c", without], cwd=ROOT, capture_output=True, text=True)

    assert (done.stdout.strip(), done.stderr) == ("False", "")
