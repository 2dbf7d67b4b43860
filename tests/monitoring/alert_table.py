"""Writes into docs/monitoring/README.md which alerts each recorded fault raises.

Run it as python -m tests.monitoring.alert_table FOLDER, with the folder of `./run faults --metrics`. A fault is
held for an hour at its worst scrape, because most are over before an alert may fire. The calm one is repeated.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.faults.calm import calm_run
from tests.monitoring import recordings

REPORT = Path(__file__).resolve().parents[2] / "docs/monitoring/README.md"
BEGIN, END = "<!-- alerts -->", "<!-- end of alerts -->"
CALM = (calm_run.__doc__ or "").rstrip(".")
HEAD = "| fault | recorded | alert | fires after |\n|---|---|---|---|\n"


def main(arguments: Sequence[str]) -> int:
    """Evaluate each recording, write the table and return 0."""
    rows = [_row(file) for file in sorted(Path(arguments[0]).glob("*.jsonl"))]
    head, _, rest = REPORT.read_text(encoding="utf-8").partition(BEGIN)
    REPORT.write_text(f"{head}{BEGIN}\n{HEAD}{''.join(rows)}{END}{rest.partition(END)[2]}", encoding="utf-8")
    return 0


def _row(file: Path) -> str:
    fault = json.loads(file.read_text(encoding="utf-8").splitlines()[0])["fault"]
    scrapes = recordings.read(file)
    rules = recordings.RULES.read_text(encoding="utf-8")
    seconds = len(scrapes) * recordings.STEP
    if fault == CALM:
        long = recordings.repeated(scrapes, recordings.HOLD_STEPS)
        return _line(f"{fault}, repeated for an hour", seconds, recordings.first_moments(long, rules), 0)
    signs = recordings.signs(scrapes)
    worst = recordings.worst_step(signs)
    long = recordings.held(scrapes, worst)
    return _line(
        fault,
        seconds,
        recordings.first_moments(long, rules),
        recordings.begin_step(signs[: worst + 1]) * recordings.STEP,
    )


def _line(fault: str, recorded: int, moments: dict[str, int], begin: int) -> str:
    alerts = "<br>".join(f"`{alert}`" for alert in moments) or "none"
    after = "<br>".join(f"{moment - begin} s" for moment in moments.values())
    return f"| {fault} | {recorded} s | {alerts} | {after} |\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
