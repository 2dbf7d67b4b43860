"""The last hour of a system as a small picture: a line for the rate, an area for what waits."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bridge.observe.status.history import Course
from bridge.texts import gettext, grouped

WIDTH, HEIGHT = 60, 20  # of the picture in its own units: one minute each, and 20 from the bottom to the top
MARGIN = 1.0


@dataclass(frozen=True, slots=True)
class Sparkline:
    """The paths of an SVG, and the same in words."""

    rate: str
    waiting: str
    words: str


def sparkline(course: Course, *, has_rate: bool = True) -> Sparkline | None:
    """Draw a last hour, the latest minute at the right, each part up to its own top; None for a young process.

    `has_rate`: whether this process knows the answers of the system; no line is drawn where it does not.
    """
    known = [count for count in course.waiting if count is not None]
    if len(course.answered) < 2:
        return None
    rate, waiting = grouped(max(course.answered)), grouped(max(known, default=0))
    area = _area([count or 0 for count in course.waiting])
    if not has_rate:
        return Sparkline(
            "", area, gettext("last hour: at most {waiting} messages waiting").format(waiting=waiting)
        )
    words = gettext("last hour: at most {rate} answers a minute, at most {waiting} messages waiting")
    return Sparkline(_line(course.answered), area, words.format(rate=rate, waiting=waiting))


def _points(values: Sequence[int]) -> Iterator[str]:
    top = max(values) or 1
    begin = WIDTH - len(values)
    for at, value in enumerate(values):
        yield f"{begin + at + 0.5:g} {HEIGHT - MARGIN - value / top * (HEIGHT - 2 * MARGIN):.1f}"


def _line(values: Sequence[int]) -> str:
    return f"M{'L'.join(_points(values))}"


def _area(values: Sequence[int]) -> str:
    """Return a closed path, or none where nothing waited: an empty area would be a line at the bottom."""
    if not any(values):
        return ""
    first, last = WIDTH - len(values) + 0.5, WIDTH - 0.5
    return f"M{first:g} {HEIGHT}L{'L'.join(_points(values))}L{last:g} {HEIGHT}Z"
