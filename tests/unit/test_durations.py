"""Durations for people: on the status page and in the tools."""

import pytest

from bridge.observe.durations import in_one_unit


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "< 1 s"),
        (0.2, "< 1 s"),
        (1, "1 s"),
        (59, "59 s"),
        (119, "119 s"),
        (120, "2 min"),
        (7199, "120 min"),
        (7200, "2 h"),
        (200_000, "2 d"),
        (864_000, "10 d"),
    ],
)
def test_a_duration_is_told_in_one_unit(seconds: float, text: str) -> None:
    assert in_one_unit(seconds) == text
