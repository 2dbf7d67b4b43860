"""A long backlog on a real engine: is the last thousand of its tasks done as fast as the first?"""

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.table import Table

from bench.compare import contenders_named, say
from bench.contenders import CEILING, CONTENDERS, Contender
from bench.scene import Scene, Stage
from bench.trial import Trial, drained, warm
from sandbox.engine_build import engine_jar
from sandbox.runs import Run
from sandbox.sandbox import Sandbox

_DEFAULT = f"worker,{CEILING}"
_HEADINGS = ("tasks/s", "first", "slowest", "last", "last/first", "ms/task", "MB", "lost", "doubled")


@dataclass(frozen=True)
class Slices:
    """Tasks per second while the first, the slowest and the last slice of a backlog ended."""

    first: float
    slowest: float
    last: float


def add_options(parser: ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("--only", type=contenders_named, default=_DEFAULT, help=f"who (default {_DEFAULT})")
    parser.add_argument("--tasks", type=int, default=100_000, help="tasks that wait (default 100000)")
    parser.add_argument("--topics", type=_numbers, default="5,200", help="over how many topics (default 5,200)")
    parser.add_argument("--slice", type=int, default=1_000, help="tasks of a slice (default 1000)")
    parser.add_argument("--warm", type=int, default=4_000, help="instances to warm an engine with (default 4000)")


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def measure(options: Namespace) -> int:
    """Measures each on a new engine (on `SANDBOX_DATABASE`); returns 1 if anything was lost or doubled."""
    engine_jar()  # it says so when it has to build first
    title = f"A backlog of {options.tasks:,} tasks, slices of {options.slice:,}"
    table = Table(title=title, box=box.SIMPLE_HEAD)
    for heading in ("", "topics", *_HEADINGS):
        table.add_column(heading, justify="right")
    is_right = True
    for topics in options.topics:
        for contender in options.only:
            trial = _play(contender, topics, options)
            slices = slices_of(list(trial.fate.ended_at.values()), options.slice)
            table.add_row(contender.name, str(topics), *_cells(trial, slices))
            is_right = is_right and trial.fate.lost == trial.fate.doubled == 0
    Console(width=120).print(table, highlight=False)
    print("Tasks per second; ms/task: CPU time of the bridge. The engine's clock tells when a task ended.")
    return 0 if is_right else 1


def _play(contender: Contender, topics: int, options: Namespace) -> Trial:
    contender.prepare()
    say(f"{contender.name}: {options.tasks:,} tasks over {topics} topics, on a new engine")
    with Sandbox() as sandbox, Run() as run:
        stage = Stage(sandbox, run)
        warm(stage, CONTENDERS[CEILING], options.warm)
        return drained(stage, Scene(stage, contender, topics=topics, leaves_load=True), options.tasks)


def slices_of(ended_at: Sequence[float], size: int) -> Slices:
    """Returns the rates of the slices, in the order in which tasks ended; what fills no slice is left out."""
    ordered = sorted(ended_at)
    begins = range(0, len(ordered) - size, size)
    rates = [size / max(ordered[begin + size] - ordered[begin], 0.001) for begin in begins]
    if not rates:
        return Slices(0.0, 0.0, 0.0)
    return Slices(rates[0], min(rates), rates[-1])


def _cells(trial: Trial, slices: Slices) -> list[str]:
    figures = trial.figures
    rates = [figures["tasks_per_s"] or 0.0, slices.first, slices.slowest, slices.last]
    ratio = slices.last / slices.first if slices.first else 0.0
    spent, memory = figures.get("bridge_ms") or 0.0, figures["peak_mb"] or 0.0
    wrong = (str(trial.fate.lost), str(trial.fate.doubled))
    return [*(f"{rate:.0f}" for rate in rates), f"{ratio:.2f}", f"{spent:.2f}", f"{memory:.0f}", *wrong]
