"""What a fault showed, in figures; printed as a table and written to docs/reliability.md."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.table import Table

COLUMNS = ("", "fault", "tasks", "lost", "doubled", "at most", "orphan s", "noticed s", "recovered s", "")


@dataclass(slots=True)
class Figures:
    """The figures of one fault; it holds where `problems` stays empty."""

    number: int
    name: str
    seed: int
    tasks: int = 0
    lost: int = 0
    doubled: int = 0
    may_double: int = 0
    orphan_seconds: float = 0.0
    noticed_seconds: float | None = None
    recovery_seconds: list[float] = field(default_factory=list)
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        """Whether every invariant held."""
        return not self.problems

    def row(self) -> tuple[str, ...]:
        """Return the figures as texts, in the order of COLUMNS."""
        return (
            str(self.number),
            self.name,
            str(self.tasks),
            str(self.lost),
            str(self.doubled),
            str(self.may_double),
            f"{self.orphan_seconds:.1f}",
            "" if self.noticed_seconds is None else f"{self.noticed_seconds:.1f}",
            ", ".join(f"{seconds:.1f}" for seconds in self.recovery_seconds),
            "holds" if self.holds else "BROKEN",
        )


def table(figures: Sequence[Figures]) -> Table:
    """Return the table for a terminal."""
    shown = Table(title="Faults")
    for position, column in enumerate(COLUMNS):
        shown.add_column(column, justify="left" if position in (1, 9) else "right")
    for one in figures:
        shown.add_row(*one.row(), style=None if one.holds else "red")
    return shown


def markdown(figures: Sequence[Figures], command: str) -> str:
    """Return the same as a Markdown section, with the command that made it."""
    lines = [f"Made by `{command}`.", "", _line(COLUMNS), _line(["---"] * len(COLUMNS))]
    lines += [_line(one.row()) for one in figures]
    return "\n".join(lines) + "\n"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
