"""The fault suite: python -m tests.faults (or ./run faults) on a real engine and a real broker."""

import argparse
import random
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from sandbox.sandbox import Sandbox
from tests.faults import chaos, soak
from tests.faults.figures import Figures, markdown, table
from tests.faults.registry import FAULTS, Fault
from tests.faults.scene import FULL, QUICK, Kept
from tests.faults.suite import run_fault

REPORT = Path(__file__).resolve().parents[2] / "docs" / "reliability.md"
BEGIN, END = "<!-- figures -->", "<!-- end of figures -->"
CHAOS_NUMBER, SOAK_NUMBER = 99, 98
SABOTAGES = ("confirms-off", "unlock-unknown", "blind-extension")


def main(argv: Sequence[str]) -> int:
    """Run what is asked for; return 0 where every fault held."""
    options = _parser().parse_args(argv)
    console = Console() if sys.stdout.isatty() else Console(width=150)
    faults = [fault for fault in FAULTS if not options.only or fault.number in options.only]
    if options.chaos:
        faults = [Fault(CHAOS_NUMBER, chaos.lasting(options.chaos))]
    if options.soak:
        faults = [Fault(SOAK_NUMBER, soak.lasting(options.soak), clustered=True, tls=True)]
    if options.list:
        for fault in faults:
            console.print(f"{fault.number:3} {fault.name}")
        return 0
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    command = " ".join(["./run faults", *argv])
    figures = _run_all(console, faults, options, command)
    console.print(table(figures))
    return 0 if all(one.holds for one in figures) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="./run faults", description=__doc__)
    parser.add_argument("--list", action="store_true", help="name the faults and end")
    parser.add_argument("--only", type=int, action="append", metavar="N", help="only this fault; may be repeated")
    parser.add_argument("--chaos", type=float, metavar="MINUTES", help="instead: faults at random for that long")
    parser.add_argument(
        "--soak",
        type=float,
        metavar="MINUTES",
        help="instead: 50 tasks/s over TLS on clusters of broker and engine, with a fault every 2 minutes",
    )
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="repeat a run's choices")
    parser.add_argument("--quick", action="store_true", help="short waits, as in ./run test")
    parser.add_argument("--sabotage", choices=SABOTAGES, help="take a safeguard away: the suite must notice")
    parser.add_argument("--logs", type=Path, metavar="FOLDER", help="keep the workers' logs there")
    parser.add_argument("--metrics", type=Path, metavar="FOLDER", help="record the workers' metrics there")
    parser.add_argument("--write", action="store_true", help="write the table to docs/reliability.md")
    return parser


def _run_all(
    console: Console, faults: Sequence[Fault], options: argparse.Namespace, command: str
) -> list[Figures]:
    console.print(f"seed {options.seed}")
    figures = []
    with Sandbox(durable_engine=True) as sandbox:
        for fault in faults:
            one = run_fault(
                sandbox,
                fault,
                QUICK if options.quick else FULL,
                options.seed,
                sabotage=options.sabotage or "",
                kept=Kept(options.logs, options.metrics),
            )
            figures.append(one)
            _say(console, one)
            if options.write:  # after each, so that a long run that is cut off leaves what it found
                write_report(markdown(figures, command))
    return figures


def _say(console: Console, figures: Figures) -> None:
    word = "[green]holds[/]" if figures.holds else "[red]BROKEN[/]"
    console.print(f"{figures.number:3} {figures.name}: {word} in {figures.seconds:.0f} s")
    for note in figures.notes:
        console.print(f"      {note}", markup=False)
    for problem in figures.problems:
        console.print(f"      ! {problem}", markup=False)


def write_report(section: str) -> None:
    """Put the figures into their place in docs/reliability.md."""
    text = REPORT.read_text(encoding="utf-8")
    head, rest = text.split(BEGIN, 1)
    tail = rest.split(END, 1)[1]
    REPORT.write_text(f"{head}{BEGIN}\n{section}{END}{tail}", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
