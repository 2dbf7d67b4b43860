"""The most important faults in short, in every test run; `./run faults` has all of them at length."""

import random
from collections.abc import Iterator

import pytest

from sandbox.sandbox import Sandbox
from tests.faults.registry import FAULTS, fault
from tests.faults.scene import QUICK
from tests.faults.suite import run_fault
from tests.sandbox.processes import REPOSITORY

IN_EVERY_TEST_RUN = (1, 2, 14, 15, 18)


@pytest.fixture(scope="module")
def durable_sandbox() -> Iterator[Sandbox]:
    with Sandbox(durable_engine=True) as sandbox:
        yield sandbox


@pytest.mark.parametrize("number", IN_EVERY_TEST_RUN)
def test_no_task_is_lost_whatever_fails(durable_sandbox: Sandbox, number: int) -> None:
    seed = random.randrange(10**6)

    figures = run_fault(durable_sandbox, fault(number), QUICK, seed)

    assert figures.problems == [], f"seed {seed}"
    assert figures.tasks >= 1000


@pytest.mark.parametrize(("readme", "words"), [("README.md", "kinds of faults"), ("README.ru.md", "вида сбоев")])
def test_the_readmes_say_how_many_kinds_there_are(readme: str, words: str) -> None:
    kinds = {fault.number for fault in FAULTS} - {0}  # which is the run without any

    assert f" {len(kinds)} {words}" in (REPOSITORY / readme).read_text(encoding="utf-8")


def test_the_faults_are_numbered_in_order() -> None:
    numbers = [fault.number for fault in FAULTS]
    names = {fault.name for fault in FAULTS}

    assert numbers == sorted(numbers)
    assert len(names) == len(FAULTS)
