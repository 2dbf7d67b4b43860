"""Random and damaged answers and frames, the same in every run; `./run fuzz --minutes 60` looks for new ones."""

import random
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from loguru import logger

from tests.fuzz.__main__ import main
from tests.fuzz.inputs import WireAnswer, mutants, mutated, streams, wire_answers
from tests.fuzz.properties import a_broken_stream_ends_one_connection, only_that_answer_is_touched

examples = settings(
    max_examples=150, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Leave out the line that each bad answer is worth."""
    logger.disable("response_handler")
    yield
    logger.enable("response_handler")


@examples
@given(wire_answers, st.integers(0, 5))
def test_whatever_an_answer_carries_touches_that_answer_alone(answer: WireAnswer, word: int) -> None:
    for one in (answer, *mutants(answer, random.Random(word), 5)):
        only_that_answer_is_touched(one, word)


@examples
@given(streams, st.integers(0, 5))
def test_a_stream_that_is_broken_anywhere_ends_in_a_way_that_is_foreseen(stream: bytes, number: int) -> None:
    a_broken_stream_ends_one_connection(stream)
    a_broken_stream_ends_one_connection(mutated(stream, random.Random(number)))


def test_the_command_counts_what_it_tried(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--minutes", "0", "--seed", "1"]) == 0

    assert "0 inputs in 0 s, 0 crashes" in capsys.readouterr().out
