"""A broken invariant told in words: the plan as code, what happened, and what is wrong with it."""

from dataclasses import MISSING, fields, is_dataclass

from tests.simulation.auditor import Broken
from tests.simulation.plan import Plan
from tests.simulation.world import run

MOST_LINES = 400


def story_of(plan: Plan, rule: str) -> str:
    """Tell a plan that breaks a rule."""
    lines: list[str] = []
    outcome = run(plan, lambda seconds, text: lines.append(f"{seconds:9.3f} s  {text}"))
    ends = [broken for broken in outcome.broken if broken.rule == rule] or list(outcome.broken)
    left_out = len(lines) - MOST_LINES
    if left_out > 0:
        lines[MOST_LINES // 2 : -MOST_LINES // 2] = [f"           ... {left_out} lines ..."]
    return "\n".join([code_of(plan), *lines, *map(_sentence, ends)])


def _sentence(broken: Broken) -> str:
    return f"{broken.moment - 1000:9.3f} s  BROKEN, {broken.rule}: {broken.what}"


def code_of(thing: object) -> str:
    """Return a plan as the code that makes it, without what is as by default."""
    if isinstance(thing, tuple):
        return "(" + "".join(f"{code_of(part)}, " for part in thing).strip() + ")"
    if not is_dataclass(thing) or isinstance(thing, type):
        return repr(thing)
    given = []
    for number, field in enumerate(fields(thing)):
        value = getattr(thing, field.name)
        default = field.default_factory() if field.default_factory is not MISSING else field.default
        if value != default or number == 0:
            given.append(code_of(value) if field.default is MISSING else f"{field.name}={code_of(value)}")
    return f"{type(thing).__name__}({', '.join(given)})"
