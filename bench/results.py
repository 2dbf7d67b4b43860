"""The results of a comparison: every run, kept in a file from the first on, and what they come to."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from bench.contenders import CEILING, YARDSTICK
from bench.figures import Spread, ratios, spread_of

BACKLOG = "backlog"
PACED = "paced"
_UNDISTURBED_PERCENT = 5.0


@dataclass(frozen=True)
class Result:
    """What one run of one contender showed."""

    contender: str
    is_ours: bool
    measurement: str
    round: int
    at: str  # local time
    instances: int
    lost: int
    doubled: int
    redelivered: int
    figures: dict[str, float | None]

    @property
    def others_percent(self) -> float:
        """How much of the machine went to processes that took no part."""
        return self.figures.get("others_percent") or 0.0

    @property
    def is_disturbed(self) -> bool:
        """Whether others used so much of the machine that the figures say little."""
        return self.others_percent > _UNDISTURBED_PERCENT

    @property
    def is_clean(self) -> bool:
        """Whether nothing was lost and nothing doubled."""
        return self.lost == 0 and self.doubled == 0


@dataclass
class Results:
    """All runs of a comparison; `repeated` are those that others disturbed and that were done again."""

    machine: dict[str, str]
    options: dict[str, float]
    runs: list[Result] = field(default_factory=list)
    repeated: list[Result] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, file: Path) -> Self:
        """Returns what `write` wrote."""
        content = json.loads(file.read_text())
        return cls(
            machine=content["machine"],
            options=content["options"],
            runs=[Result(**row) for row in content["runs"]],
            repeated=[Result(**row) for row in content["repeated"]],
            notes=content["notes"],
        )

    def write(self, file: Path) -> None:
        """Writes everything in one step: a break leaves the file as it was or as it should be."""
        part = file.with_name(f"{file.name}.part")
        part.write_text(json.dumps({**asdict(self), **self._summary()}, indent=1) + "\n")
        part.replace(file)

    def keep(self, attempts: Sequence[Result]) -> None:
        """Takes all attempts at one run so far: the least disturbed counts."""
        kept = min(attempts, key=lambda attempt: attempt.others_percent)
        self.runs = [run for run in self.runs if run not in attempts] + [kept]
        self.repeated = [run for run in self.repeated if run not in attempts]
        self.repeated += [attempt for attempt in attempts if attempt is not kept]

    def contenders(self, measurement: str) -> list[str]:
        """Returns who took part, in the order of the first round."""
        return list(dict.fromkeys(run.contender for run in self.runs if run.measurement == measurement))

    def of(self, measurement: str, contender: str) -> list[Result]:
        """Returns the runs that count."""
        return [run for run in self.runs if (run.measurement, run.contender) == (measurement, contender)]

    def spread(self, measurement: str, contender: str, figure: str) -> Spread | None:
        """Returns the spread of a figure over the rounds."""
        return spread_of(run.figures.get(figure) for run in self.of(measurement, contender))

    def ratio(self, measurement: str, contender: str, figure: str, base: str) -> Spread | None:
        """Returns the spread of the ratios to another contender, each taken within a round."""
        mine, theirs = (
            {run.round: run.figures.get(figure) for run in self.of(measurement, name)}
            for name in (contender, base)
        )
        return spread_of(ratios(mine, theirs))

    def wrong_runs(self) -> list[Result]:
        """Returns the runs that lost or doubled something, those included that were done again."""
        return [run for run in (*self.runs, *self.repeated) if not run.is_clean]

    def _summary(self) -> dict[str, Any]:
        medians: dict[str, Any] = {}
        shares: dict[str, Any] = {}
        for measurement in (BACKLOG, PACED):
            for contender in self.contenders(measurement):
                figures = _figures_in(self.of(measurement, contender))
                medians.setdefault(measurement, {})[contender] = {
                    figure: _fields(self.spread(measurement, contender, figure)) for figure in figures
                }
                shares.setdefault(measurement, {})[contender] = {
                    f"{figure}_to_{base}": _fields(ratio)
                    for base in (YARDSTICK, CEILING)
                    for figure in figures
                    if (ratio := self.ratio(measurement, contender, figure, base))
                }
        return {"medians": medians, "ratios": shares}


def _figures_in(runs: Iterable[Result]) -> list[str]:
    return list(dict.fromkeys(figure for run in runs for figure in run.figures))


def _fields(spread: Spread | None) -> dict[str, float] | None:
    return asdict(spread) if spread else None
