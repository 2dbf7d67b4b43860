"""The most important faults in short, in every test run; `./run faults` has all of them at length."""

import random
from collections.abc import Iterator

import pytest

from sandbox.sandbox import Sandbox
from tests.faults.registry import FAULTS, fault
from tests.faults.scene import QUICK
from tests.faults.suite import run_fault

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


def test_the_faults_are_numbered_in_order() -> None:
    numbers = [fault.number for fault in FAULTS]
    names = {fault.name for fault in FAULTS}

    assert numbers == sorted(numbers)
    assert len(names) == len(FAULTS)
