"""What the demo shows: a live picture in a terminal, plain lines elsewhere, the table at the end."""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from sandbox.demo_figures import Outcome, Progress
from sandbox.demo_stage import LOG_FOLDER, Stage
from sandbox.programs import REPOSITORY

_LATENCY = "Latency: from a task's creation to its end, both in the engine's history."


@contextmanager
def showing() -> Iterator[Callable[[Progress], None]]:
    """Gives a function that shows progress: redrawn in a terminal, one line each time elsewhere."""
    if not sys.stdout.isatty():
        yield _print_line
        return
    with Live(auto_refresh=False, transient=True) as live:
        yield lambda progress: live.update(_picture(progress), refresh=True)


def show_outcome(progress: Progress, outcome: Outcome) -> None:
    """Prints the table per system, the totals and, if there is any, the trouble."""
    console = Console()
    console.print(_systems_table(progress, outcome.latencies), _LATENCY, highlight=False)
    console.print(
        f"\nInstances: started {outcome.started}, ended as they should {outcome.as_they_should}, "
        f"lost {outcome.lost}. Messages doubled: {outcome.doubled}.",
        highlight=False,
    )
    for trouble in outcome.troubles:
        console.print(f"  missing: {trouble}", style="red", highlight=False, markup=False)


def show_links(stage: Stage) -> None:
    """Prints where to look on."""
    broker = stage.sandbox.broker
    print(f"Status page          {stage.status_url}")
    print(f"Cockpit              {stage.sandbox.engine.cockpit_url} (login demo, demo)")
    print(f"RabbitMQ management  {broker.management_url} (login {broker.username}, {broker.password})")
    print(f"The worker's logs    {LOG_FOLDER.relative_to(REPOSITORY)}", flush=True)


def _print_line(progress: Progress) -> None:
    parts = (f"{row.system} {row.answered}/{row.published}" for row in progress.systems)
    counts = f"started {progress.started} of {progress.wanted}, ended {progress.ended}"
    print(f"demo: {counts}; answered/published: {', '.join(parts)}", flush=True)


def _picture(progress: Progress) -> Group:
    counts = f"started {progress.started} of {progress.wanted}, ended {progress.ended}"
    bar = ProgressBar(total=progress.wanted, completed=progress.ended, width=60)
    return Group(_systems_table(progress, {}), counts, bar)


def _systems_table(progress: Progress, latencies: Mapping[str, float]) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("system", no_wrap=True)
    for heading in ("published", "answered", "retried", "BPMN errors", "median latency"):
        table.add_column(heading, justify="right")
    for row in progress.systems:
        counts = (row.published, row.answered, row.retried, row.bpmn_errors)
        table.add_row(row.system, *map(str, counts), _milliseconds(latencies.get(row.system)))
    return table


def _milliseconds(value: float | None) -> str:
    return "" if value is None else f"{value:.0f} ms"
