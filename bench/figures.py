"""Figures out of many values: percentiles, medians with their spread, ratios round by round."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Spread:
    """The median of several runs, the lowest and the highest."""

    median: float
    lowest: float
    highest: float


def percentile(values: Iterable[float], share: float) -> float | None:
    """Returns the smallest value that at least this share (0 to 1) of all does not exceed; None without any."""
    ordered = sorted(values)
    if not ordered:
        return None
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def spread_of(values: Iterable[float | None]) -> Spread | None:
    """Returns the spread of the values that are there; None where there is none."""
    known = [value for value in values if value is not None]
    return Spread(median(known), min(known), max(known)) if known else None


def shown(spread: Spread | None, digits: int) -> str:
    """Returns the median with its range, or that alone where all are the same; `-` for none."""
    if spread is None:
        return "-"
    middle, lowest, highest = (f"{value:.{digits}f}" for value in (spread.median, spread.lowest, spread.highest))
    return middle if lowest == highest else f"{middle} ({lowest}-{highest})"


def ratios(ours: Mapping[int, float | None], theirs: Mapping[int, float | None]) -> list[float]:
    """Returns ours divided by theirs for each round that has both: what the machine did to a round cancels out."""
    return [
        mine / other
        for number, mine in ours.items()
        if mine is not None and (other := theirs.get(number)) is not None and other > 0
    ]


def rate_between(moments: Sequence[float], first_share: float, last_share: float) -> float | None:
    """Returns events per second from one share (0 to 1) of the events to another: the steady part of a drain."""
    ordered = sorted(moments)
    first, last = int(len(ordered) * first_share), min(int(len(ordered) * last_share), len(ordered) - 1)
    if last <= first or ordered[last] <= ordered[first]:
        return None
    return (last - first) / (ordered[last] - ordered[first])
