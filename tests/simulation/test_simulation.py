"""Thousands of worlds in which every invariant holds, and that a worker without a safeguard would be found."""

from dataclasses import replace

import pytest

from tests.simulation.__main__ import main
from tests.simulation.generator import plan_of
from tests.simulation.mutants import MUTANTS, applied
from tests.simulation.plan import Plan, Start, System
from tests.simulation.shrink import shrunk
from tests.simulation.stories import STORIES, Story
from tests.simulation.story import code_of, story_of
from tests.simulation.world import run

SCHEDULES = 2_000
FIRST_SEED = 1_000_000
# A seed from which each mutant is looked for; it is found a little after it.
NEAR = {"unlock unknown": 1_560, "publish late": 430}
MOST_SEEDS = 600
# A plan by which a mutant shows, in some orders of what happens at once; the generator rarely makes one for it.
PLANS = {"forget waiting answers": plan_of(2_790)}


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.name)
def test_what_was_found_once_is_mended(story: Story) -> None:
    assert run(story.plan).broken == ()


def test_every_invariant_holds_in_thousands_of_worlds(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["--seed", str(FIRST_SEED), "--schedules", str(SCHEDULES), "--stories", "1"])

    assert code == 0, capsys.readouterr().out


@pytest.mark.parametrize("name", MUTANTS)
def test_a_worker_without_a_safeguard_is_found(name: str) -> None:
    first = NEAR.get(name, 0)
    seeds = range(first, first + MOST_SEEDS)
    given = PLANS.get(name)
    plans = (replace(given, seed=seed) if given else plan_of(seed) for seed in seeds)
    assert any(breaks_only_with(name, plan) for plan in plans)


def breaks_only_with(name: str, plan: Plan) -> bool:
    with applied(name):
        broken = run(plan).broken
    return bool(broken) and not run(plan).broken


def test_a_seed_is_the_same_world_each_time() -> None:
    for seed in range(20):
        assert run(plan_of(seed)) == run(plan_of(seed))


def test_a_calm_world_ends_with_every_task_done() -> None:
    calm = Plan((System("bitrix24"), System("1c")), (Start(1.0, ("bitrix24", "1c"), 20),))

    outcome = run(calm)

    assert outcome.broken == ()
    assert outcome.tasks == 40
    assert outcome.seconds < 30


def test_a_broken_invariant_is_told_by_the_smallest_plan_in_words() -> None:
    rule = "pause became a lock"
    with applied("blind extension"):
        plan = next(plan for seed in range(200) if breaks(plan := plan_of(seed), rule))
        short = shrunk(plan, rule)
        story = story_of(short, rule)

    assert len(code_of(short)) < len(code_of(plan))
    assert f"BROKEN, {rule}" in story


def breaks(plan: Plan, rule: str) -> bool:
    return any(broken.rule == rule for broken in run(plan).broken)
