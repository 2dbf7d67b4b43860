"""The shortest story of a broken invariant: the same rule, broken by a smaller and duller plan."""

from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any, TypeVar

from tests.simulation.plan import Fault, Plan, System
from tests.simulation.world import run

MOST_RUNS = 400
KNOBS = (
    "lease",
    "max_tasks",
    "max_in_flight",
    "high_water",
    "prefetch",
    "retries",
    "retry_pause",
    "extend_after",
    "broker_latency",
)
T = TypeVar("T")


def shrunk(plan: Plan, rule: str, *, most_runs: int = MOST_RUNS) -> Plan:
    """Return a plan that still breaks the rule, from which nothing can be taken without losing that."""
    runs_left = most_runs
    is_smaller = True
    while is_smaller:
        is_smaller = False
        for candidate in _smaller(plan):
            runs_left -= 1
            if runs_left < 0:
                return plan
            if breaks(candidate, rule):
                plan, is_smaller = candidate, True
                break
    return plan


def breaks(plan: Plan, rule: str) -> bool:
    """Whether the world of a plan breaks the rule."""
    return any(broken.rule == rule for broken in run(plan).broken)


def _smaller(plan: Plan) -> Iterator[Plan]:
    """Yield plans with something less in them, the greatest steps first."""
    for number in range(len(plan.faults)):
        yield replace(plan, faults=_without(plan.faults, number))
    if len(plan.processes) > 1:
        yield replace(plan, processes=("both",), faults=_of_process_0(plan.faults))
    for system in plan.systems:
        yield from _without_system(plan, system.name)
    yield from _with_less_to_do(plan)
    if plan.seed is not None:
        yield replace(plan, seed=None)
    yield from _defaults(plan)
    yield from _with_duller_parts(plan)


def _with_less_to_do(plan: Plan) -> Iterator[Plan]:
    for number, start in enumerate(plan.starts):
        if len(plan.starts) > 1:
            yield replace(plan, starts=_without(plan.starts, number))
        for count in (1, start.count // 2, start.count - 1):
            if 0 < count < start.count:
                yield replace(plan, starts=_with(plan.starts, number, replace(start, count=count)))


def _with_duller_parts(plan: Plan) -> Iterator[Plan]:
    for number, system in enumerate(plan.systems):
        for dull in _duller(system, System(system.name)):
            yield replace(plan, systems=_with(plan.systems, number, dull))
        if len(system.answers) > 1:
            fewer = replace(system, answers=system.answers[1:])
            yield replace(plan, systems=_with(plan.systems, number, fewer))
    for number, fault in enumerate(plan.faults):
        for dull in _duller(fault, Fault(fault.what, fault.of, lasts=fault.lasts)):
            yield replace(plan, faults=_with(plan.faults, number, dull))


def _defaults(plan: Plan) -> Iterator[Plan]:
    default = Plan((), ())
    for name in KNOBS:
        if getattr(plan, name) != getattr(default, name):
            yield replace(plan, **{name: getattr(default, name)})


def _duller(thing: Any, default: Any) -> Iterator[Any]:
    for name in (field.name for field in fields(thing)):
        if getattr(thing, name) != getattr(default, name):
            yield replace(thing, **{name: getattr(default, name)})


def _without_system(plan: Plan, name: str) -> Iterator[Plan]:
    starts = [
        replace(start, systems=others)
        for start in plan.starts
        if (others := tuple(other for other in start.systems if other != name))
    ]
    systems = tuple(system for system in plan.systems if system.name != name)
    if systems and starts:
        faults = tuple(fault for fault in plan.faults if fault.of != name)
        yield replace(plan, systems=systems, starts=tuple(starts), faults=faults)


def _of_process_0(faults: tuple[Fault, ...]) -> tuple[Fault, ...]:
    return tuple(replace(fault, of="0") if fault.of.isdigit() else fault for fault in faults)


def _without(things: tuple[T, ...], number: int) -> tuple[T, ...]:
    return things[:number] + things[number + 1 :]


def _with(things: tuple[T, ...], number: int, thing: T) -> tuple[T, ...]:
    return (*things[:number], thing, *things[number + 1 :])
