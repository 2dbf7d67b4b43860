"""How the cost of a task grows, as a picture for a page of documentation, light or dark."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.figures import Spread
from bench.growth_cases import AXES, Axis

_LINE = "#2f81f7"
_INK = "#768390"  # readable on white and on black
_PANEL_INCHES = (2.6, 2.4)
_HIGHEST = 1.4  # at the least: noise must not look like growth

Ratios = Mapping[int, Spread | None]  # by size: how many times the cost at the first size


def draw(ratios: Mapping[str, Ratios], folder: Path) -> None:
    """Writes growth.png and growth.svg: a panel for each axis."""
    # The drawing library takes a second to load, and only this needs it.
    from matplotlib.figure import Figure

    width, height = _PANEL_INCHES
    figure = Figure(figsize=(width * len(ratios), height), layout="constrained")
    panels = figure.subplots(1, len(ratios), squeeze=False)[0]
    for panel, (name, of_sizes) in zip(panels, ratios.items(), strict=True):
        _draw_axis(panel, AXES[name], of_sizes)
    panels[0].set_ylabel("CPU per task, times the first", color=_INK, fontsize=8)
    folder.mkdir(parents=True, exist_ok=True)
    for kind in ("png", "svg"):
        figure.savefig(folder / f"growth.{kind}", dpi=160, transparent=True)


def _draw_axis(panel: Any, axis: Axis, ratios: Ratios) -> None:
    sizes = [size for size, spread in ratios.items() if spread]
    spreads = [spread for spread in ratios.values() if spread]
    below = [spread.median - spread.lowest for spread in spreads]
    above = [spread.highest - spread.median for spread in spreads]
    medians = [spread.median for spread in spreads]
    panel.errorbar(sizes, medians, yerr=[below, above], color=_LINE, ecolor=_INK, marker="o", linewidth=1.6)
    for size, median in zip(sizes, medians, strict=True):
        panel.annotate(f"{median:.2f}", (size, median), (0, 7), textcoords="offset points", color=_INK, fontsize=8)
    if axis.limit:
        panel.axhline(axis.limit, color=_INK, linestyle="--", linewidth=0.8)
    _prepare(panel, axis, sizes)
    panel.set_ylim(0, 1.1 * max(_HIGHEST, *(spread.highest for spread in spreads)))


def _prepare(panel: Any, axis: Axis, sizes: Sequence[int]) -> None:
    panel.set_title(axis.title, color=_INK, fontsize=9, loc="left")
    panel.set_xscale("log")
    panel.set_xticks(sizes, [f"{size:,}" for size in sizes])
    panel.minorticks_off()
    panel.tick_params(colors=_INK, labelsize=8, length=0)
    panel.spines[:].set_visible(False)
    panel.grid(visible=True, color=_INK, alpha=0.25, linewidth=0.6)
    panel.margins(x=0.15)
