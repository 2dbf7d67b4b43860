"""Runs the system tests on other engines, databases and brokers: `./run matrix`."""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/compatibility.md"
BEGIN, END = "<!-- matrix -->", "<!-- /matrix -->"
# What an engine or a broker could make different; the other system tests are about the worker alone.
FILES = (
    "flow",
    "answers",
    "variables",
    "values",
    "files",
    "login",
    "stop",
    "reload",
    "status",
    "tools",
    "diagnostics",
    "routing",
    "rejected",
    "cancelled",
    "broker_tokens",
)


@dataclass(frozen=True, slots=True)
class Cell:
    """A combination, and what the sandbox must be told to start it; `without` is what the engine lacks."""

    name: str
    engine: str
    database: str = "H2"
    broker: str = "RabbitMQ 3.10"
    queues: str = "classic"
    choice: dict[str, str] = field(default_factory=dict)
    without: str = ""


QUORUM = {"SANDBOX_QUEUE_TYPE": "quorum"}
NEWER = {"SANDBOX_RABBITMQ": "newer"}
OLD = "a task's time of creation, tasks sorted by age"
CELLS = (
    Cell("camunda", "Camunda 7.24"),
    Cell("postgresql", "Camunda 7.24", "PostgreSQL 15", choice={"SANDBOX_DATABASE": "postgresql"}),
    Cell("quorum", "Camunda 7.24", queues="quorum", choice=QUORUM),
    Cell("rabbitmq-4", "Camunda 7.24", broker="RabbitMQ 4.0", choice=NEWER),
    Cell("rabbitmq-4-quorum", "Camunda 7.24", broker="RabbitMQ 4.0", queues="quorum", choice=NEWER | QUORUM),
    Cell("camunda-7.18", "Camunda 7.18", choice={"SANDBOX_ENGINE": "camunda-7.18"}, without=OLD),
    Cell(
        "camunda-7.14",
        "Camunda 7.14",
        choice={"SANDBOX_ENGINE": "camunda-7.14"},
        without=f"{OLD}, the lock of one task, variables of a failure, the reason for a value that is too long",
    ),
    Cell(
        "operaton-1.0",
        "Operaton 1.0.3",
        choice={"SANDBOX_ENGINE": "operaton-1.0"},
        without="variables of type Json (its Spin data format was not available)",
    ),
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the tests of a cell."""

    cell: Cell
    passed: int
    failed: tuple[str, ...]
    left_out: int
    seconds: float

    def row(self) -> tuple[str, ...]:
        """Return it for the table."""
        cell = self.cell
        result = f"{len(self.failed)} FAILED" if self.failed or not self.passed else f"{self.passed} pass"
        left_out = f", {self.left_out} do not apply" if self.left_out else ""
        return cell.engine, cell.database, cell.broker, cell.queues, result + left_out, cell.without


COLUMNS = ("engine", "database", "broker", "queues", "system tests", "done without")


def main(argv: Sequence[str]) -> int:
    """Run the cells and return 0 where all their tests pass."""
    arguments = _parser().parse_args(argv)
    cells = [cell for cell in CELLS if not arguments.only or cell.name in arguments.only.split(",")]
    if not cells:
        print(f"--only knows {', '.join(cell.name for cell in CELLS)}", file=sys.stderr)
        return 2
    outcomes = [_run(cell) for cell in cells]
    Console().print(_table(outcomes))
    if arguments.write:
        _write(outcomes)
    return int(any(outcome.failed or not outcome.passed for outcome in outcomes))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="./run matrix", description=__doc__)
    parser.add_argument("--only", help=f"cells with commas: {', '.join(cell.name for cell in CELLS)}")
    parser.add_argument("--write", action="store_true", help=f"write these rows into {PAGE.name}")
    return parser


def _run(cell: Cell) -> Outcome:
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        files = [f"tests/system/test_{name}.py" for name in FILES]
        command = [sys.executable, "-m", "pytest", *files, "-q", "-n", "2", "--dist", "loadfile"]
        print(f"== {cell.name}", flush=True)
        log = Path(folder) / "log"
        with log.open("w") as output:
            subprocess.run(
                [*command, f"--junit-xml={report}"],
                cwd=ROOT,
                env={**os.environ, **cell.choice},
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        outcome = _outcome(cell, report)
        print(f"   {', '.join(outcome.row()[4:])} in {outcome.seconds:.0f} s", flush=True)
        if outcome.failed or not outcome.passed:
            print("\n".join(log.read_text().splitlines()[-40:]), flush=True)
        return outcome


def _outcome(cell: Cell, report: Path) -> Outcome:
    if not report.exists():
        return Outcome(cell, 0, ("no report",), 0, 0.0)
    suite = next(ElementTree.parse(report).iter("testsuite"))
    cases = [*suite.iter("testcase")]
    failed = [case.get("name", "") for case in cases if {child.tag for child in case} & {"failure", "error"}]
    left_out = [case for case in cases if case.find("skipped") is not None]
    passed = len(cases) - len(failed) - len(left_out)
    return Outcome(cell, passed, tuple(failed), len(left_out), float(suite.get("time", 0)))


def _table(outcomes: Sequence[Outcome]) -> Table:
    table = Table(title="Matrix")
    for column in COLUMNS:
        table.add_column(column)
    for outcome in outcomes:
        table.add_row(*outcome.row(), style="red" if outcome.failed else None)
    return table


def _write(outcomes: Sequence[Outcome]) -> None:
    """Put the rows of these cells into the table, with the commit they were made on; those of others stay."""
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    made = f"{done.stdout.strip()}, {datetime.now(UTC):%Y-%m-%d}"
    text = PAGE.read_text(encoding="utf-8")
    known = {_key_of(line): line for line in text.splitlines() if line.startswith("| ") and "---" not in line}
    known |= {_key_of(line): line for line in (_line((*outcome.row(), made)) for outcome in outcomes)}
    order = [_key_of(_line(Outcome(cell, 0, (), 0, 0.0).row())) for cell in CELLS]
    head = [_line((*COLUMNS, "commit")), _line(["---"] * (len(COLUMNS) + 1))]
    inner = "\n".join([BEGIN, *head, *(known[key] for key in order if key in known), END])
    PAGE.write_text(re.sub(f"{BEGIN}.*{END}", lambda _: inner, text, flags=re.DOTALL), encoding="utf-8")


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _key_of(line: str) -> tuple[str, ...]:
    """Return which cell a line of the table is about."""
    return tuple(line.strip("| ").split(" | ")[:4])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
