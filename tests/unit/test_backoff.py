"""The pauses between attempts grow, vary and end at a longest."""

from bridge.backoff import Backoff


def test_each_pause_is_at_most_twice_the_one_before_and_at_least_half_of_that() -> None:
    backoff = Backoff(first=1.0, longest=8.0)

    pauses = [backoff.pause() for _ in range(6)]

    for pause, full in zip(pauses, [1.0, 2.0, 4.0, 8.0, 8.0, 8.0], strict=True):
        assert full / 2 <= pause <= full


def test_the_longest_pause_need_not_be_a_doubled_one() -> None:
    backoff = Backoff(first=1.0, longest=3.0)

    pauses = [backoff.pause() for _ in range(100)]

    assert min(pauses[2:]) >= 1.5
    assert max(pauses) <= 3.0


def test_pauses_vary_so_that_workers_do_not_knock_in_step() -> None:
    pauses = {Backoff(first=1.0).pause() for _ in range(50)}

    assert len(pauses) > 25


def test_after_a_success_the_pauses_are_short_again() -> None:
    backoff = Backoff(first=1.0, longest=60.0)
    for _ in range(5):
        backoff.pause()

    backoff.reset()

    assert backoff.pause() <= 1.0


def test_by_default_an_outage_is_probed_twice_a_minute_at_least() -> None:
    backoff = Backoff()

    pauses = [backoff.pause() for _ in range(200)]

    assert pauses[0] <= 0.5
    assert max(pauses) <= 30.0
