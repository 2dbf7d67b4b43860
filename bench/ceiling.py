"""What the worker could do if the engine were no limit: the whole path against a fast stand-in for it."""

import json
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from bench.circuit import TOPICS, Circuit, Servers
from bench.drain import Drain, Drained
from bench.figures import Spread, spread_of
from sandbox.errors import SandboxError
from sandbox.runs import Run

_FIRST_LOCK_LOOK_SECONDS = 0.01
_NARROWEST = 140  # a table that goes to a file is not cut to 80 columns
_COLUMNS = {
    "tasks/s": "tasks_per_s",
    "worker µs": "worker_us",
    "with its start": "worker_with_start_us",
    "peak MB": "peak_mb",
    "stand-in µs": "stand_in_us",
    "broker µs": "broker_us",
    "echo µs": "echo_us",
    "others %": "others_percent",
}


def add_options(parser: ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("--tasks", type=int, default=20_000, help="tasks per round (default 20000)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds, each with a new worker (default 5)")
    parser.add_argument("--max-tasks", type=int, default=100, help="CAMUNDA_MAX_TASKS (default 100)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures to a file, too")


def measure(options: Namespace) -> int:
    """Measures and prints; returns 1 if anything was lost or doubled."""
    results: list[Drained] = []
    with Run() as run:
        servers = Servers(run).start()
        for number in range(1, options.rounds + 1):
            print(f"bench: round {number} of {options.rounds}: {options.tasks} tasks", flush=True)
            results.append(_round(servers, options.tasks, options.max_tasks))
    _print(
        results, title=f"{options.tasks} tasks over {len(TOPICS)} topics, CAMUNDA_MAX_TASKS={options.max_tasks}"
    )
    if options.json:
        _write(options, results)
    return 0 if all(result.is_right for result in results) else 1


def _round(servers: Servers, tasks: int, max_tasks: int) -> Drained:
    """Starts a worker on a backlog; what it costs is counted from the first locking on."""
    batch = servers.stand_in.fill(tasks, TOPICS)
    with Circuit(servers, {"CAMUNDA_MAX_TASKS": str(max_tasks)}) as circuit:
        begun = circuit.wait(batch, lambda now: now.fetched > 0, look_seconds=_FIRST_LOCK_LOOK_SECONDS)
        if not begun.fetched:
            raise SandboxError("the worker fetched nothing")
        return Drain(circuit).result(batch, tasks)


def _print(results: Sequence[Drained], *, title: str) -> None:
    table = Table(title=title, box=box.SIMPLE_HEAD)
    for heading in ("round", *_COLUMNS, "lost", "doubled"):
        table.add_column(heading, justify="right", no_wrap=True)
    for number, result in enumerate(results, start=1):
        figures = (f"{getattr(result, name):.0f}" for name in _COLUMNS.values())
        table.add_row(str(number), *figures, str(result.lost), str(result.doubled))
    table.add_section()
    spreads = [spread_of(getattr(result, name) for result in results) for name in _COLUMNS.values()]
    table.add_row("median", *(f"{spread.median:.0f}" for spread in spreads if spread))
    table.add_row("lowest", *(f"{spread.lowest:.0f}" for spread in spreads if spread))
    table.add_row("highest", *(f"{spread.highest:.0f}" for spread in spreads if spread))
    console = Console()
    console.width = max(console.width, _NARROWEST)
    console.print(table, highlight=False)
    print(
        "µs: CPU time per task, from the first locking to the last completion; its start: from the worker's begin."
    )


def _write(options: Namespace, results: Sequence[Drained]) -> None:
    medians: dict[str, Spread | None] = {
        name: spread_of(getattr(result, name) for result in results) for name in _COLUMNS.values()
    }
    content = {
        "tasks": options.tasks,
        "max_tasks": options.max_tasks,
        "rounds": [asdict(result) for result in results],
        "medians": {name: asdict(spread) for name, spread in medians.items() if spread},
    }
    options.json.write_text(json.dumps(content, indent=1) + "\n")
