"""How the cost of a task grows with the backlog, the topics, the replicas, the variables and what is in flight."""

import json
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from bench.circuit import HELD_TOPIC, Circuit, Servers
from bench.drain import Drain, Drained
from bench.figures import Spread, ratios, shown, spread_of
from bench.growth_cases import AXES, Axis, Case
from sandbox.errors import SandboxError
from sandbox.runs import Run

_LEAD_IN = 2_000
_MAX_TASKS = 100
_NARROWEST = 175  # a table that goes to a file is not cut to 80 columns
_FIGURES = {
    "tasks/s": "tasks_per_s",
    "worker µs/task": "worker_us",
    "peak MB": "peak_mb",
    "stand-in µs": "stand_in_us",
    "broker µs": "broker_us",
    "others %": "others_percent",
}

Rounds = dict[int, Drained]  # by the number of the round
Results = dict[str, dict[int, Rounds]]  # by axis and size


def add_options(parser: ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("--rounds", type=int, default=3, help="rounds, all cases in turn in each (default 3)")
    parser.add_argument("--axis", type=_axes, default=list(AXES), metavar="NAMES", help=f"of {','.join(AXES)}")
    parser.add_argument("--quick", action="store_true", help="ten times smaller: shows that it works, not more")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures to a file, too")
    parser.add_argument("--plot", type=Path, metavar="FOLDER", help="draw growth.png and growth.svg")


def _axes(text: str) -> list[str]:
    names = text.split(",")
    if unknown := set(names) - AXES.keys():
        raise ArgumentTypeError(f"no such axis: {', '.join(sorted(unknown))}")
    return names


def measure(options: Namespace) -> int:
    """Measures and prints; returns 1 if anything was lost or doubled."""
    results: Results = {name: {} for name in options.axis}
    with Run() as run:
        servers = Servers(run).start()
        for number in range(1, options.rounds + 1):
            for name, size, case in _in_turn(options, number):
                result = drain_case(servers, case)
                results[name].setdefault(size, {})[number] = result
                _say(f"round {number} of {options.rounds}: {size} {AXES[name].title}: {_line(result)}")
    _print(results)
    _write(options, results)
    every = [result for sizes in results.values() for rounds in sizes.values() for result in rounds.values()]
    return 0 if all(result.is_right for result in every) else 1


def _in_turn(options: Namespace, number: int) -> list[tuple[str, int, Case]]:
    """Returns all cases, in every other round backwards: a machine that gets busier must not look like growth."""
    cases = [(name, size, case) for name in options.axis for size, case in AXES[name].cases(quick=options.quick)]
    return cases if number % 2 else cases[::-1]


def drain_case(servers: Servers, case: Case) -> Drained:
    """Drains a case's tasks by workers that have worked already: their start and their imports do not count."""
    settings = {"CAMUNDA_MAX_TASKS": str(_MAX_TASKS), **case.settings}
    with Circuit(servers, settings, workers=case.workers, holds=case.held > 0) as circuit:
        circuit.wait_ready()
        _hold(circuit, case.held)
        _lead_in(circuit, case)
        drain = Drain(circuit)
        at_once = case.at_once or case.tasks
        batch = servers.stand_in.fill(case.tasks, case.topics, size=case.payload, at_once=at_once)
        return drain.result(batch, case.tasks)


def _hold(circuit: Circuit, count: int) -> None:
    """Brings tasks into flight that stay there, each with its lease made into a full lock."""
    if count:
        stand_in = circuit.servers.stand_in
        batch = stand_in.fill(count, [HELD_TOPIC])
        held = circuit.wait(
            batch, lambda now: now.fetched == count and stand_in.calls().get("extendLock", 0) >= count
        )
        if held.fetched != count:
            raise SandboxError(f"{held.fetched} tasks are in flight instead of {count}")


def _lead_in(circuit: Circuit, case: Case) -> None:
    count = min(_LEAD_IN * case.workers, case.tasks)
    batch = circuit.servers.stand_in.fill(count, case.topics, size=case.payload)
    done = circuit.wait(batch, lambda now: now.completed == count)
    if done.completed != count:
        raise SandboxError(f"{done.completed} tasks of {count} were completed while leading in")


def _line(result: Drained) -> str:
    wrong = "" if result.is_right else f", LOST {result.lost}, DOUBLED {result.doubled}"
    return f"{result.tasks_per_s:.0f} tasks/s, {result.worker_us:.0f} µs of CPU per task{wrong}"


def _print(results: Results) -> None:
    console = Console()
    console.width = max(console.width, _NARROWEST)
    for name, sizes in results.items():
        console.print(_table(AXES[name], sizes), highlight=False)
        if sentence := verdict(AXES[name], sizes):
            print(f"{sentence}\n")
    print("Median (lowest-highest) of the rounds; a ratio is taken within each round. µs: CPU time per task.")


def _table(axis: Axis, sizes: Mapping[int, Rounds]) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    for heading in (axis.title, *_FIGURES, "µs x first", "MB x first", "lost", "doubled"):
        table.add_column(heading, justify="right", no_wrap=True)
    for size, rounds in sizes.items():
        cells = [shown(_spread(rounds, figure), 0) for figure in _FIGURES.values()]
        cells += [shown(_ratio(sizes, size, figure), 2) for figure in ("worker_us", "peak_mb")]
        wrong = [sum(getattr(result, name) for result in rounds.values()) for name in ("lost", "doubled")]
        table.add_row(f"{size:,}", *cells, *map(str, wrong))
    return table


def _spread(rounds: Rounds, figure: str) -> Spread | None:
    return spread_of(getattr(result, figure) for result in rounds.values())


def _ratio(sizes: Mapping[int, Rounds], size: int, figure: str) -> Spread | None:
    """Returns how many times the figure of the first size that of another is, round by round."""
    mine, first = (
        {number: getattr(result, figure) for number, result in sizes[one].items()} for one in (size, min(sizes))
    )
    return spread_of(ratios(mine, first))


def verdict(axis: Axis, sizes: Mapping[int, Rounds]) -> str:
    """Returns whether the last size costs no more than it may; empty where there is no limit."""
    ratio = _ratio(sizes, max(sizes), "worker_us")
    if axis.limit is None or ratio is None:
        return ""
    word = "holds" if ratio.median <= axis.limit else "DOES NOT HOLD"
    return f"The last may cost {axis.limit:g} times the first: {ratio.median:.2f}, {word}."


def _write(options: Namespace, results: Results) -> None:
    if options.json:
        options.json.write_text(json.dumps(summary(results), indent=1) + "\n")
    if options.plot:
        from bench.growth_plot import draw  # needs a library that takes a second to load

        ratios_of = {
            name: {size: _ratio(sizes, size, "worker_us") for size in sizes} for name, sizes in results.items()
        }
        draw(ratios_of, options.plot)


def summary(results: Results) -> dict[str, Any]:
    """Returns all rounds, and what they come to."""
    return {
        name: [
            {
                "size": size,
                "rounds": [{"round": number, **asdict(result)} for number, result in rounds.items()],
                "medians": {figure: _fields(_spread(rounds, figure)) for figure in _FIGURES.values()},
                "times_first": {
                    figure: _fields(_ratio(sizes, size, figure)) for figure in ("worker_us", "peak_mb")
                },
            }
            for size, rounds in sizes.items()
        ]
        for name, sizes in results.items()
    }


def _fields(spread: Spread | None) -> dict[str, float] | None:
    return asdict(spread) if spread else None


def _say(text: str) -> None:
    print(f"bench: {text}", flush=True)
