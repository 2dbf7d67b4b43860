"""What a comparison came to, as tables for people."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.contenders import CEILING, YARDSTICK
from bench.figures import Spread
from bench.results import BACKLOG, PACED, Result, Results

_WIDTH = 400  # more than any table needs: cells that are cut to the terminal's width would tell wrong figures
_WRONG = "!"
_DISTURBED = "*"


@dataclass(frozen=True)
class Column:
    """A figure, or with `base` its ratio to another contender's."""

    heading: str
    figure: str
    digits: int = 1
    base: str = ""

    def cell(self, results: Results, measurement: str, contender: str) -> str:
        """Returns the median, and below it the lowest and the highest value."""
        if self.base:
            return _cell(results.ratio(measurement, contender, self.figure, self.base), 2)
        return _cell(results.spread(measurement, contender, self.figure), self.digits)


_MEMORY = Column("peak\nMB", "peak_mb", 0)
_OTHERS = Column("others\n%", "others_percent")
_COLUMNS = {
    BACKLOG: (
        Column("tasks/s", "tasks_per_s", 0),
        Column("x go", "tasks_per_s", base=YARDSTICK),
        Column("x ceiling", "tasks_per_s", base=CEILING),
        Column("bridge\nms/task", "bridge_ms", 2),
        Column("x go", "bridge_ms", base=YARDSTICK),
        Column("with its\nstart", "bridge_with_start_ms", 2),
        Column("engine\nms/task", "engine_ms", 2),
        Column("broker\nms/task", "broker_ms", 2),
        _MEMORY,
        Column("busy\n%", "busy_percent", 0),
        _OTHERS,
    ),
    PACED: (
        *(Column(f"consumer\n{name} ms", f"to_consumer_{name}_ms") for name in ("p50", "p95", "p99")),
        *(Column(f"complete\n{name} ms", f"to_complete_{name}_ms") for name in ("p50", "p95", "p99")),
        Column("p50\nx go", "to_complete_p50_ms", base=YARDSTICK),
        Column("bridge\nms/task", "bridge_ms", 2),
        Column("x go", "bridge_ms", base=YARDSTICK),
        _MEMORY,
        _OTHERS,
    ),
}


def show(results: Results) -> None:
    """Prints both tables and what a reader must know with them."""
    console = Console(width=_WIDTH)
    for measurement in (BACKLOG, PACED):
        if results.contenders(measurement):
            console.print(table_of(results, measurement), highlight=False)
    for line in remarks(results):
        print(line)


def table_of(results: Results, measurement: str) -> Table:
    """Returns the table of one measurement; ratios to those who took no part are left out."""
    table = Table(title=_title(results, measurement), box=box.SIMPLE_HEAD, padding=(0, 1))
    contenders = results.contenders(measurement)
    columns = [column for column in _COLUMNS[measurement] if not column.base or column.base in contenders]
    table.add_column("", no_wrap=True)
    for heading in (*(column.heading for column in columns), "lost", "doubled"):
        table.add_column(heading, justify="right")
    for contender in contenders:
        runs = results.of(measurement, contender)
        cells = [column.cell(results, measurement, contender) for column in columns]
        counts = (str(sum(run.lost for run in runs)), str(sum(run.doubled for run in runs)))
        table.add_row(_name(contender, runs, results), *cells, *counts)
    return table


def remarks(results: Results) -> list[str]:
    """Returns the lines below the tables."""
    machine = results.machine
    keys = ("cpu", "cores", "kernel", "engine", "broker", "java", "python", "date")
    lines = ["Medians of the rounds, below them lowest-highest; a ratio is taken within each round."]
    late = [run.figures.get("start_lateness_ms") or 0.0 for run in results.runs]
    if results.contenders(PACED):
        lines.append(
            "Latencies count from the start call's return to the consumer's hands and to the instance's end;"
        )
        lines.append(f"a start was late by {max(late):.0f} ms at most.")
    lines.append("; ".join(f"{key}: {machine[key]}" for key in keys))
    if any(run.is_disturbed for run in results.runs):
        lines.append(
            f"{_DISTURBED} other processes used more than 5 % of the machine in at least one run that counts."
        )
    lines += [f"{_WRONG} {_where(run)}: lost {run.lost}, doubled {run.doubled}." for run in results.wrong_runs()]
    return [*lines, *results.notes]


def line(result: Result) -> str:
    """Returns a run in one line, for those who wait."""
    figures = result.figures
    shown = (
        ("tasks_per_s", "{:.0f} tasks/s"),
        ("to_complete_p50_ms", "complete after {:.1f} ms"),
        ("bridge_ms", "{:.2f} ms of CPU per task"),
        ("others_percent", "others {:.1f} %"),
    )
    parts = [text.format(value) for figure, text in shown if (value := figures.get(figure)) is not None]
    wrong = [] if result.is_clean else [f"LOST {result.lost}, DOUBLED {result.doubled}"]
    return ", ".join([*wrong, *parts])


def _title(results: Results, measurement: str) -> str:
    options = results.options
    if measurement == BACKLOG:
        return f"A backlog of {options['backlog']:g} tasks, {options['rounds']:g} rounds"
    return f"A pace of {options['rate']:g} tasks/s for {options['seconds']:g} s, {options['rounds']:g} rounds"


def _name(contender: str, runs: Sequence[Result], results: Results) -> Text:
    wrong = contender in {run.contender for run in results.wrong_runs()}
    marks = [_WRONG] * wrong + [_DISTURBED] * any(run.is_disturbed for run in runs)
    return Text(" ".join([contender, *marks]), style="red" if wrong else "")


def _where(run: Result) -> str:
    return f"round {run.round}, {run.contender}, {run.measurement}"


def _cell(spread: Spread | None, digits: int) -> str:
    if spread is None:
        return "-"
    middle, lowest, highest = (f"{value:.{digits}f}" for value in (spread.median, spread.lowest, spread.highest))
    return middle if lowest == highest else f"{middle}\n{lowest}-{highest}"
