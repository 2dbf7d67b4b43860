"""`./run simulate`: many simulated worlds, one seed each, on all cores; a broken invariant is told in words."""

import argparse
import gc
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import count, islice

from tests.simulation.generator import plan_of
from tests.simulation.shrink import shrunk
from tests.simulation.story import story_of
from tests.simulation.world import run

AT_ONCE = 50  # seeds that one process is given at a time
STORIES = 3
GARBAGE = 50_000  # objects; a world leaves some thousands behind


@dataclass(frozen=True)
class Found:
    """What a row of seeds came to; `broken` holds each broken rule with its seed."""

    schedules: int
    steps: int
    simulated: float
    cpu: float
    broken: tuple[tuple[str, int], ...]


def prepare() -> None:
    """Let a process look for garbage seldom, and never through what was there before its first world."""
    gc.freeze()
    gc.set_threshold(GARBAGE)


def explore(first: int, number: int) -> Found:
    """Run the worlds of some seeds."""
    steps, simulated, began = 0, 0.0, time.process_time()
    broken: list[tuple[str, int]] = []
    for seed in range(first, first + number):
        outcome = run(plan_of(seed))
        steps += outcome.steps
        simulated += outcome.seconds
        broken += [(one.rule, seed) for one in outcome.broken]
    return Found(number, steps, simulated, time.process_time() - began, tuple(broken))


def rows(first: int, schedules: int | None) -> Iterator[tuple[int, int]]:
    """Yield the seeds in rows: where the first begins and how many follow."""
    starts = count(first, AT_ONCE)
    if schedules is None:
        yield from ((start, AT_ONCE) for start in starts)
    else:
        last = first + schedules
        yield from ((start, min(AT_ONCE, last - start)) for start in range(first, last, AT_ONCE))


def explore_all(first: int, schedules: int | None, minutes: float | None) -> list[Found]:
    """Run worlds until there are so many, or the time is over; on all cores."""
    ends = time.monotonic() + minutes * 60 if minutes else float("inf")
    cores, todo = os.cpu_count() or 1, rows(first, schedules)
    found: list[Found] = []
    with ProcessPoolExecutor(cores, initializer=prepare) as pool:
        while time.monotonic() < ends and (some := list(islice(todo, 4 * cores))):
            found += pool.map(explore, *zip(*some, strict=True))
            _show_progress(found)
    return found


def _show_progress(found: list[Found]) -> None:
    if sys.stderr.isatty():
        print(f"\r{sum(one.schedules for one in found)} schedules", end="", file=sys.stderr)


def report(found: list[Found], first: int, seconds: float) -> list[tuple[str, int]]:
    """Print figures; return the broken rules, each with the first seed that broke it."""
    schedules, steps = sum(one.schedules for one in found), sum(one.steps for one in found)
    cpu, simulated = sum(one.cpu for one in found), sum(one.simulated for one in found)
    print(
        f"{schedules} schedules from seed {first}: {steps} steps, {simulated / 86400:.1f} simulated days "
        f"in {seconds:.0f} s; on one core {schedules / cpu:.0f} schedules and {steps / cpu:.0f} steps per second"
    )
    broken = sorted({pair for one in found for pair in one.broken}, key=lambda pair: pair[1])
    firsts: dict[str, int] = {}
    for rule, seed in broken:
        firsts.setdefault(rule, seed)
    for rule, seed in firsts.items():
        times = sum(other == rule for other, _ in broken)
        print(f"  {times:6d} times broken: {rule}, first after {seed - first + 1} schedules (--seed {seed})")
    return list(firsts.items())


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="./run simulate", description=__doc__)
    parser.add_argument("--seed", type=int, help="the first seed (default: by the time); alone: tell this one")
    parser.add_argument("--schedules", type=int, help="how many seeds in a row (default: 10000)")
    parser.add_argument("--minutes", type=float, help="instead: for how long")
    parser.add_argument("--stories", type=int, default=STORIES, help="how many broken rules to tell (default: 3)")
    arguments = parser.parse_args(argv)
    if arguments.seed is not None and not arguments.schedules and not arguments.minutes:
        return tell(arguments.seed)
    first = int(time.time()) if arguments.seed is None else arguments.seed
    schedules = arguments.schedules or (None if arguments.minutes else 10_000)
    began = time.monotonic()
    broken = report(explore_all(first, schedules, arguments.minutes), first, time.monotonic() - began)
    for rule, seed in broken[: arguments.stories]:
        print(f"\nseed {seed}, {rule}; the shortest story found:")
        print(story_of(shrunk(plan_of(seed), rule), rule))
    print("every invariant holds" if not broken else f"{len(broken)} invariants are broken")
    return 1 if broken else 0


def tell(seed: int) -> int:
    """Tell one seed: shrunk to its shortest story where it breaks something, whole where it does not."""
    plan = plan_of(seed)
    outcome = run(plan)
    if not outcome.broken:
        print(story_of(plan, ""))
        print(f"seed {seed}: every invariant holds")
        return 0
    for broken in outcome.broken:
        print(story_of(shrunk(plan, broken.rule), broken.rule))
    return 1


if __name__ == "__main__":
    sys.exit(main())
