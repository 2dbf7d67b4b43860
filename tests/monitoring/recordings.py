"""What Prometheus makes of a fault: recordings of `./run faults --metrics`, run through the alert rules."""

import json
import re
import subprocess
import tempfile
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from tests.faults.recorder import INTERVAL_SECONDS, UP
from tests.monitoring.promtool import program

RULES = Path(__file__).resolve().parents[2] / "docs/monitoring/alerts.yml"
STEP = int(INTERVAL_SECONDS)
HOLD_STEPS = 3600 // STEP
SOUGHT = r'\{alertname="(\w+)"\} ([0-9.E+-]+)'

Samples = dict[str, float]


def read(file: Path) -> list[Samples]:
    """Return the scrapes of a recording, one a step; moments count from the first.

    What lies before the first answer and after the last is the worker's own start and stop. A step without a look
    is like the one before it.
    """
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    answered = [number for number, line in enumerate(lines) if line["samples"][UP]]
    if not answered:
        return []
    lines = lines[answered[0] : answered[-1] + 1]
    begin = lines[0]["time"]
    scrapes: list[Samples] = []
    for line in lines:
        step = round((line["time"] - begin) / STEP)
        scrapes.extend(scrapes[-1] for _ in range(len(scrapes), step))
        moments = {name: value - begin for name, value in line["samples"].items() if "_timestamp_seconds" in name}
        scrapes.append(line["samples"] | moments)
    return scrapes


def held(scrapes: Sequence[Samples], worst: int) -> list[Samples]:
    """Return a recording that stays for an hour as it was at one step; counters stand still there.

    What succeeded since the step before it goes on succeeding.
    """
    before, at = scrapes[max(0, worst - 1)], scrapes[worst]
    moving = [name for name in at if "_last_success_" in name and at[name] > before.get(name, at[name])]
    hour = [at | {name: at[name] + number * STEP for name in moving} for number in range(1, HOLD_STEPS + 1)]
    return [*scrapes[: worst + 1], *hour]


def repeated(scrapes: Sequence[Samples], steps: int) -> list[Samples]:
    """Return a recording over and over until it has so many steps; what only rises goes on rising."""
    first, last = scrapes[0], scrapes[-1]
    rising = [name for name in last if re.search(r"_(total|bucket|count|sum)\b", name)]
    rises = {name: last[name] - first.get(name, 0) for name in rising}
    rises |= {name: len(scrapes) * STEP for name in last if "_last_success_" in name}
    long: list[Samples] = []
    for turn in range(-(-steps // len(scrapes))):
        long += [{name: value + turn * rises.get(name, 0) for name, value in one.items()} for one in scrapes]
    return long[:steps]


def values(column: Sequence[float | None]) -> str:
    """Return a series in promtool's notation; it is stale where a scrape has no sample of it, as in Prometheus."""
    runs = [(value, len(list(run)) - 1) for value, run in groupby(column)]
    gone = "stale _x{}".format
    return " ".join(gone(more) if value is None else f"{value!r}x{more}" for value, more in runs)


def first_moments(scrapes: Sequence[Samples], rules: str) -> dict[str, int]:
    """Return the alerts that fire and the second at which each does so first."""
    ends = len(scrapes) * STEP
    found = _ask(
        scrapes,
        rules,
        [(f'min by (alertname) (min_over_time(timestamp(ALERTS{{alertstate="firing"}})[{ends}s:{STEP}s]))', ends)],
    )
    return {alert: int(float(moment)) for alert, moment in re.findall(SOUGHT, found)}


def signs(scrapes: Sequence[Samples]) -> list[int]:
    """Return for each step how many alerts have their condition, however short."""
    query = 'count by (alertname) (ALERTS{alertstate="firing"})'
    found = _by_step(_ask(scrapes, _without_for(), [(query, step * STEP) for step in range(len(scrapes))]))
    return [found.get(step, "").count("alertname=") for step in range(len(scrapes))]


def worst_step(signs: Sequence[int]) -> int:
    """Return the last step with the most signs of trouble."""
    return max(range(len(signs)), key=lambda step: (signs[step], step))


def begin_step(signs: Sequence[int]) -> int:
    """Return the first step with a sign of trouble after one without; what a start shows does not count."""
    calm = next((step for step, count in enumerate(signs) if not count), 0)
    return next((step for step in range(calm, len(signs)) if signs[step]), calm)


def _without_for() -> str:
    return re.sub(r"\n *for: \S+", "", RULES.read_text(encoding="utf-8"))


def _by_step(found: str) -> dict[int, str]:
    """Return what promtool got for each step; where it got what was expected, nothing, it is silent."""
    parts = re.findall(r"time: (\S+),\n(.*?)(?=\n *expr:|\Z)", found, re.DOTALL)
    return {_seconds(moment) // STEP: got.rpartition("got:")[2] for moment, got in parts}


def _seconds(moment: str) -> int:
    """Return the seconds of a duration such as 1h2m5s."""
    units = {"h": 3600, "m": 60, "s": 1}
    return sum(int(count) * units[unit] for count, unit in re.findall(r"(\d+)([hms])", moment))


def _ask(scrapes: Sequence[Samples], rules: str, questions: Sequence[tuple[str, int]]) -> str:
    """Return promtool's words on what it got; none is expected, so that it shows all there is."""
    names = sorted({name for one in scrapes for name in one if name.partition("{")[0] in rules})
    test = {
        "interval": f"{STEP}s",
        "input_series": [
            {"series": _of_instance(name), "values": values([one.get(name) for one in scrapes])} for name in names
        ],
        "promql_expr_test": [{"expr": expr, "eval_time": f"{at}s", "exp_samples": []} for expr, at in questions],
    }
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "rules.yml").write_text(rules, encoding="utf-8")
        document = {"rule_files": ["rules.yml"], "evaluation_interval": f"{STEP}s", "tests": [test]}
        file = Path(folder, "test.json")
        file.write_text(json.dumps(document), encoding="utf-8")
        done = subprocess.run([program(), "test", "rules", file], capture_output=True, text=True, check=False)
    assert done.returncode == 0 or "got:" in done.stdout + done.stderr, done.stdout + done.stderr
    return done.stdout + done.stderr


def _of_instance(name: str) -> str:
    metric, _, labels = name.partition("{")
    return f'{metric}{{instance="worker",{labels}' if labels else f'{metric}{{instance="worker"}}'
