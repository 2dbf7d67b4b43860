"""What a comparison came to, as a picture for a page of documentation, light or dark."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.contenders import CEILING
from bench.results import BACKLOG, PACED, Results

_OURS = "#2f81f7"
_OTHERS = "#8b949e"
_INK = "#768390"  # readable on white and on black
_PERCENTILES = {"p50": 1.0, "p95": 0.6, "p99": 0.3}  # and how opaque their bars are
_INCHES = (12.0, 3.6)
_BAR = 0.72
_NO_DATE: dict[str, dict[str, None]] = {"png": {"Software": None}, "svg": {"Date": None}}


@dataclass(frozen=True)
class Bars:
    """A figure of all contenders: where in its row a bar stands, and how it looks."""

    measurement: str
    figure: str
    digits: int = 0
    height: float = _BAR
    shift: float = 0.0
    opacity: float = 1.0


def draw(results: Results, folder: Path) -> None:
    """Writes compare.png and compare.svg."""
    # The drawing library takes a second to load, and only this needs it.
    from matplotlib.figure import Figure

    figure = Figure(figsize=_INCHES, layout="constrained")
    speed, cost, wait = figure.subplots(1, 3)
    _rate(speed, results)
    _cost(cost, results)
    _latency(wait, results)
    folder.mkdir(parents=True, exist_ok=True)
    for kind in ("png", "svg"):
        figure.savefig(folder / f"compare.{kind}", dpi=160, transparent=True, metadata=_NO_DATE[kind])


def _rate(axes: Any, results: Results) -> None:
    names = results.contenders(BACKLOG)
    _prepare(axes, names, "Draining a backlog: tasks/s", "more is better")
    _bars(axes, names, results, Bars(BACKLOG, "tasks_per_s"))


def _cost(axes: Any, results: Results) -> None:
    names = [name for name in results.contenders(BACKLOG) if name != CEILING]
    _prepare(axes, names, "CPU of the bridge per task: ms", "less is better")
    _bars(axes, names, results, Bars(BACKLOG, "bridge_ms", digits=2))


def _latency(axes: Any, results: Results) -> None:
    names = results.contenders(PACED)
    rate = results.options["rate"]
    _prepare(axes, names, f"From start to end at {rate:g} tasks/s: ms", "p50, p95, p99; less is better")
    height = _BAR / len(_PERCENTILES)
    for row, (name, opacity) in enumerate(_PERCENTILES.items()):
        figure = f"to_complete_{name}_ms"
        bars = Bars(PACED, figure, digits=1, height=height, shift=(row - 1) * height, opacity=opacity)
        _bars(axes, names, results, bars)


def _prepare(axes: Any, names: Sequence[str], title: str, below: str) -> None:
    axes.set_title(title, color=_INK, fontsize=10, loc="left")
    axes.set_xlabel(below, color=_INK, fontsize=8)
    axes.set_yticks(range(len(names)), ["the ceiling" if name == CEILING else name for name in names])
    axes.invert_yaxis()
    axes.tick_params(colors=_INK, labelsize=9, length=0)
    axes.spines[:].set_visible(False)
    axes.xaxis.grid(visible=True, color=_INK, alpha=0.25, linewidth=0.6)
    axes.set_axisbelow(True)


def _bars(axes: Any, names: Sequence[str], results: Results, bars: Bars) -> None:
    """Draws a bar for each contender that has the figure: the median, with a line from lowest to highest."""
    ours = {run.contender for run in results.runs if run.is_ours}
    for row, name in enumerate(names):
        spread = results.spread(bars.measurement, name, bars.figure)
        if spread is None:
            continue
        middle, color = row + bars.shift, _OURS if name in ours else _OTHERS
        axes.barh(middle, spread.median, height=bars.height * 0.92, color=color, alpha=bars.opacity)
        axes.plot([spread.lowest, spread.highest], [middle] * 2, color=_INK, linewidth=1.2)
        text = f" {spread.median:.{bars.digits}f}"
        axes.text(spread.highest, middle, text, va="center", color=_INK, fontsize=8 if bars.height == _BAR else 6)
    axes.margins(x=0.14)
