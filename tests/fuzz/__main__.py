"""Fuzzing: python -m tests.fuzz (or ./run fuzz). Random and damaged answers and frames."""

import argparse
import random
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from loguru import logger

from tests.fuzz.inputs import WireAnswer, mutants, mutated, streams, wire_answers
from tests.fuzz.properties import a_broken_stream_ends_one_connection, only_that_answer_is_touched

ROUND = 200
MUTANTS = 20  # of each input that is drawn
SAY_SECONDS = 60.0


@dataclass
class Count:
    """How many inputs were tried, and how many rounds ended with one that broke something."""

    inputs: int = 0
    crashes: int = 0


def main(argv: Sequence[str]) -> int:
    """Try inputs until the time is over; return 0 where none broke anything."""
    parser = argparse.ArgumentParser(prog="./run fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0, help="how long (1)")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="repeat a run's choices")
    options = parser.parse_args(argv)
    print(f"seed {options.seed}", flush=True)
    count, begun = Count(), time.monotonic()
    said = begun
    number = options.seed
    while time.monotonic() - begun < options.minutes * 60:
        number += 1
        for attempt in (_answers(count), _streams(count)):
            _run(seed(number)(attempt), count)
        if time.monotonic() - said > SAY_SECONDS:
            said = time.monotonic()
            _say(count, said - begun)
    _say(count, time.monotonic() - begun)
    return 1 if count.crashes else 0


def _run(attempt: Callable[[], None], count: Count) -> None:
    try:
        attempt()
    except Exception as error:  # noqa: BLE001  # whatever it is, it is what we look for
        count.crashes += 1
        notes = "\n".join(getattr(error, "__notes__", ()))
        print(f"{type(error).__name__}: {error}\n{notes}", flush=True)


def _say(count: Count, seconds: float) -> None:
    print(f"{count.inputs} inputs in {seconds:.0f} s, {count.crashes} crashes", flush=True)


many = settings(max_examples=ROUND, deadline=None, database=None, suppress_health_check=list(HealthCheck))


def _answers(count: Count) -> Callable[[], None]:
    @many
    @given(wire_answers, st.integers(0, 5), st.integers(0, 2**32))
    def attempt(answer: WireAnswer, word: int, mutation: int) -> None:
        for one in (answer, *mutants(answer, random.Random(mutation), MUTANTS)):
            count.inputs += 1
            only_that_answer_is_touched(one, word)

    return attempt


def _streams(count: Count) -> Callable[[], None]:
    @many
    @given(streams, st.integers(0, 2**32))
    def attempt(stream: bytes, mutation: int) -> None:
        chance = random.Random(mutation)
        for one in (stream, *(mutated(stream, chance) for _ in range(MUTANTS))):
            count.inputs += 1
            a_broken_stream_ends_one_connection(one)

    return attempt


if __name__ == "__main__":
    logger.remove()  # a line for each bad answer
    sys.exit(main(sys.argv[1:]))
