"""What a failure costs by the policy of a system or a model."""

import pytest

from bridge.retry_policy import RetryPolicy

MINUTE = 60_000


def test_each_failure_has_the_next_pause_and_the_last_one_repeats() -> None:
    policy = RetryPolicy(5, (MINUTE, 5 * MINUTE, 60 * MINUTE))
    retries: int | None = None
    pauses = []

    for _ in range(6):
        retries = policy.left(retries)
        pauses.append((retries, policy.pause_ms(retries) // MINUTE))

    assert pauses == [(5, 1), (4, 5), (3, 60), (2, 60), (1, 60), (0, 60)]


def test_retries_that_somebody_raised_pause_as_after_the_first_failure() -> None:
    assert RetryPolicy(2, (MINUTE, 5 * MINUTE)).pause_ms(9) == MINUTE


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("R5/PT10M", RetryPolicy(5, (10 * MINUTE,))),
        ("R3/PT10S", RetryPolicy(3, (10_000,))),
        (" R0/PT0S ", RetryPolicy(0, (0,))),
        ("PT1M, PT5M,PT1H", RetryPolicy(3, (MINUTE, 5 * MINUTE, 60 * MINUTE))),
        ("R5/PT1M,PT1H", RetryPolicy(5, (MINUTE, 60 * MINUTE))),
        ("R2/P1DT2H", RetryPolicy(2, (26 * 60 * MINUTE,))),
    ],
)
def test_a_model_says_it_as_for_its_jobs(text: str, policy: RetryPolicy) -> None:
    assert RetryPolicy.of_cycle(text) == policy


@pytest.mark.parametrize(
    "text",
    ["", "5", "R5", "R5/", "R/PT1M", "R1001/PT1M", "PT", "10M", "R5/PT1M/PT2M", "P60D", "-PT1M"],
)
def test_what_is_no_cycle_is_refused_with_its_text(text: str) -> None:
    with pytest.raises(ValueError, match=r"ISO 8601|no cycle|more than 1000"):
        RetryPolicy.of_cycle(text)
