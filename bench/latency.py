"""How long an idle worker lets a task wait: to the consumer's hands, and to the end of its instance."""

import threading
import time
from argparse import ArgumentParser, Namespace
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from bench.figures import percentile
from sandbox.engine_api import EngineApi
from sandbox.engine_build import engine_jar
from sandbox.programs import start_module, start_worker
from sandbox.runs import Run
from sandbox.sandbox import PROCESS_FILES, Sandbox

_PROCESS = "email"  # one task
_END_SECONDS = 30.0
_QUIET_SECONDS = 2.0


@dataclass(frozen=True)
class Bench:
    """What is measured: an engine with the process, and the file to which the consumer writes."""

    engine: EngineApi
    consumed: Path


@dataclass(frozen=True)
class Result:
    """Milliseconds since the start call's return; instances that did not end; messages that came again."""

    to_consumer: list[float]
    to_end: list[float]
    lost: int
    doubled: int


def add_options(parser: ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("--rate", type=float, default=10, help="instances started per second (default 10)")
    parser.add_argument("--seconds", type=float, default=20, help="how long to start instances (default 20)")
    parser.add_argument("--warm", type=int, default=2000, help="instances to warm the engine with (default 2000)")
    parser.add_argument("--lead-in", type=float, default=20, help="seconds at the rate, not counted (default 20)")


def measure(options: Namespace) -> int:
    """Measures and prints; returns 1 if anything was lost."""
    with _set_up() as bench:
        _say(f"warming it with {options.warm} instances")
        _warm(bench.engine, options.warm)
        # A burst leaves the engine's compiler with work for half a minute, which would be measured as latency.
        _say(f"leading in for {options.lead_in:g} s")
        _start_paced(bench.engine, options.rate, round(options.rate * options.lead_in))
        count = round(options.rate * options.seconds)
        _say(f"starting {count} instances, {options.rate:g} a second")
        returned_at, lateness = _start_paced(bench.engine, options.rate, count)
        _wait_ended(bench.engine)
        result = _result(bench, returned_at)
    _print(result, title=f"{options.rate:g} starts/s for {options.seconds:g} s", lateness=lateness)
    return 1 if result.lost else 0


@contextmanager
def _set_up() -> Iterator[Bench]:
    engine_jar()  # it says so when it has to build first
    _say("starting an engine, a broker, the worker and a consumer")
    with Sandbox() as sandbox, Run() as run:
        engine = sandbox.engine_api()
        engine.deploy(file for file in PROCESS_FILES if file.stem == _PROCESS)
        start_worker(run, sandbox, log_folder=run.folder / "logs")
        start_module(run, sandbox, name="consumer", module="bench.consumer")
        yield Bench(engine, consumed=run.folder / "consumer.log")


def _warm(engine: EngineApi, count: int) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: engine.start_instance(_PROCESS), range(count)))
    _wait_ended(engine)
    threading.Event().wait(_QUIET_SECONDS)


def _start_paced(engine: EngineApi, rate: float, count: int) -> tuple[dict[str, float], float]:
    """Returns by instance when its start call returned, and how many seconds a start was late at most."""
    pause = threading.Event()
    returned_at: dict[str, float] = {}
    begun = time.monotonic()
    lateness = 0.0
    for number in range(count):
        due_in = begun + number / rate - time.monotonic()
        pause.wait(max(0.0, due_in))
        lateness = max(lateness, -due_in)
        instance = engine.start_instance(_PROCESS, {"recipient": "anna@example.com"})
        returned_at[instance] = time.time()  # on a line of its own: Python evaluates the right-hand side first
    return returned_at, lateness


def _wait_ended(engine: EngineApi) -> None:
    pause = threading.Event()
    deadline = time.monotonic() + _END_SECONDS
    while engine.running_count(_PROCESS) and time.monotonic() < deadline:
        pause.wait(0.2)


def _result(bench: Bench, returned_at: dict[str, float]) -> Result:
    had_at: dict[str, list[float]] = defaultdict(list)
    for line in bench.consumed.read_text().splitlines():
        instance, _, moment = line.split()
        had_at[instance].append(float(moment))
    ends = {instance: _end_of(instance, bench.engine) for instance in returned_at if instance in had_at}
    ended_at = {instance: end for instance, end in ends.items() if end is not None}
    return Result(
        to_consumer=[(had_at[instance][0] - returned_at[instance]) * 1000 for instance in ended_at],
        to_end=[(end - returned_at[instance]) * 1000 for instance, end in ended_at.items()],
        lost=len(returned_at) - len(ended_at),
        doubled=sum(len(had_at[instance]) - 1 for instance in ended_at),
    )


def _end_of(instance: str, engine: EngineApi) -> float | None:
    """Returns when an instance ended: the engine's clock is this machine's."""
    text = engine.instance(instance)["endTime"]
    return datetime.fromisoformat(text).timestamp() if text else None


def _print(result: Result, *, title: str, lateness: float) -> None:
    table = Table(title=title, box=box.SIMPLE_HEAD)
    table.add_column("ms", no_wrap=True)
    for heading in ("median", "p95", "p99", "max"):
        table.add_column(heading, justify="right")
    table.add_row("start returned -> consumer has it", *_figures(result.to_consumer))
    table.add_row("start returned -> instance ended", *_figures(result.to_end))
    Console().print(table, highlight=False)
    print(f"Instances {len(result.to_end) + result.lost}, lost {result.lost}; messages doubled {result.doubled}.")
    print(f"A start was late by {lateness * 1000:.0f} ms at most.")


def _figures(values: Sequence[float]) -> list[str]:
    figures = (percentile(values, share) for share in (0.5, 0.95, 0.99, 1))
    return ["-" if figure is None else f"{figure:.1f}" for figure in figures]


def _say(text: str) -> None:
    print(f"bench: {text}", flush=True)
