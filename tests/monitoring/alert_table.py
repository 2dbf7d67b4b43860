"""Writes into docs/monitoring/README.md which alerts each recorded fault raises.

Run it as python -m tests.monitoring.alert_table FOLDER, with the folder of `./run faults --metrics`. A fault is
held for an hour at its worst scrape, because most are over before an alert may fire. The calm one is repeated.
"""

import json
import sys
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from tests.faults.calm import calm_run
from tests.monitoring import recordings

REPORT = Path(__file__).resolve().parents[2] / "docs/monitoring/README.md"
BEGIN, END = "<!-- alerts -->", "<!-- end of alerts -->"
CALM = (calm_run.__doc__ or "").rstrip(".")
HEAD = "| fault | recorded | alert | fires after |\n|---|---|---|---|\n"


def main(arguments: Sequence[str]) -> int:
    """Evaluate each recording, write the table and return 0."""
    files = sorted(Path(arguments[0]).glob("*.jsonl"))
    rows = [_row(fault, list(recorded)) for fault, recorded in groupby(files, key=_fault_of)]
    head, _, rest = REPORT.read_text(encoding="utf-8").partition(BEGIN)
    REPORT.write_text(f"{head}{BEGIN}\n{HEAD}{''.join(rows)}{END}{rest.partition(END)[2]}", encoding="utf-8")
    return 0


def _fault_of(file: Path) -> str:
    with file.open(encoding="utf-8") as lines:
        return str(json.loads(lines.readline())["fault"])


def _row(fault: str, files: Sequence[Path]) -> str:
    """Return the row of a fault, with what the first of its workers that raises an alert tells of it."""
    after: dict[str, int] = {}
    longest = 0
    for file in files:
        if not (scrapes := recordings.read(file)):
            continue
        longest = max(longest, len(scrapes) * recordings.STEP)
        for alert, seconds in _seconds_of(scrapes, is_calm=fault == CALM).items():
            after[alert] = min(seconds, after.get(alert, seconds))
    words = f"{fault}, repeated for an hour" if fault == CALM else fault
    alerts = "<br>".join(f"`{alert}`" for alert in after) or "none"
    return f"| {words} | {longest} s | {alerts} | {'<br>'.join(f'{seconds} s' for seconds in after.values())} |\n"


def _seconds_of(scrapes: Sequence[recordings.Samples], *, is_calm: bool) -> dict[str, int]:
    """Return after how many seconds each alert fires, from the first sign of the fault on."""
    rules = recordings.RULES.read_text(encoding="utf-8")
    if is_calm:
        return recordings.first_moments(recordings.repeated(scrapes, recordings.HOLD_STEPS), rules)
    signs = recordings.signs(scrapes)
    worst = recordings.worst_step(signs)
    begin = recordings.begin_step(signs[: worst + 1]) * recordings.STEP
    moments = recordings.first_moments(recordings.held(scrapes, worst), rules)
    return {alert: moment - begin for alert, moment in moments.items()}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
