"""Why does nothing happen? Checks the settings, the engine, the broker, the routing and the way between them.

Each check says what it tried, what it saw and what to do. Nothing is changed: no task is fetched, no message of
a system is touched; the canary is a message of its own in a queue of its own.

Examples:
  python tools/worker_diagnostics.py
  python tools/worker_diagnostics.py --problems
  python tools/worker_diagnostics.py --json | grep '"level": "problem"'

Exit code: 0 no problem (there may be warnings), 1 a problem, 2 a setting is wrong.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # a script finds only what lies beside it

from rich.text import Text

from bridge.process.shared import broker_of, topology_of
from bridge.texts import Said, gettext, ngettext, translated
from config import Settings, misspelt_settings
from tools.lib.diagnosis import broker_checks, engine_checks
from tools.lib.diagnosis.broker_checks import BrokerChecks
from tools.lib.diagnosis.certificate_check import judged_certificates
from tools.lib.diagnosis.engine_checks import EngineChecks
from tools.lib.diagnosis.finding import Check, Finding, Level, Seen, examine, examine_all, failure_in
from tools.lib.diagnosis.lost_tasks import LostTasks
from tools.lib.inspection import Inspection
from tools.lib.layout import block_of, console
from tools.lib.operations import Operations
from tools.lib.toolbox import OK, PROBLEM, parser_of, rest_of, run, show_json, start

COLOURS = {
    Level.OK: "green",
    Level.NOTE: "cyan",
    Level.WARNING: "yellow",
    Level.PROBLEM: "bold red",
    Level.SKIPPED: "dim",
}
WORDS = {
    Level.OK: Said("ok"),
    Level.NOTE: Said("note"),
    Level.WARNING: Said("warning"),
    Level.PROBLEM: Said("problem"),
    Level.SKIPPED: Said("skipped"),
}


def main(argv: Sequence[str]) -> int:
    """Do every check and return the exit code."""
    parser = parser_of(__doc__)
    parser.add_argument("--problems", action="store_true", help=gettext("show warnings and problems only"))
    return run(_diagnose, parser.parse_args(argv))


def _diagnose(arguments: argparse.Namespace, settings: Settings) -> int:
    findings = list(_findings(settings))
    found = {finding.seen.level for finding in findings}
    if arguments.problems:
        findings = [finding for finding in findings if finding.seen.level in (Level.WARNING, Level.PROBLEM)]
    if arguments.json:
        show_json(finding.row() for finding in findings)
    else:
        _print(findings)
    return PROBLEM if Level.PROBLEM in found else OK


def _findings(settings: Settings) -> list[Finding]:
    routing = settings.routing()
    rest = rest_of(settings)
    operations = Operations(rest)
    engine = EngineChecks(Inspection(rest), operations, settings, routing)
    broker = BrokerChecks(broker_of(settings), topology_of(settings, routing), settings)
    lost = LostTasks(operations, broker.queues, routing, settings.camunda_worker_id)
    sources = gettext("the environment, .env and ROUTING_FILE")
    configuration = examine(Check(gettext("configuration"), sources, _configuration, ""))
    try:
        on_engine = examine_all(engine.checks(), essential=engine_checks.ESSENTIAL)
        on_broker = examine_all(broker.checks(), essential=broker_checks.ESSENTIAL)
        failed = failure_in([*on_engine[: engine_checks.ESSENTIAL], *on_broker[: broker_checks.ESSENTIAL]])
        made_here = gettext("those of the connections made here")
        at_last = [Check(gettext("certificates"), made_here, judged_certificates, "")]
        return [
            configuration,
            *on_engine,
            *on_broker,
            *examine_all([lost.check()], essential=0, failed=failed),
            *examine_all(at_last, essential=0),
        ]
    finally:
        broker.close()


def _configuration() -> Seen:
    misspelt = tuple(misspelt_settings())
    if misspelt:
        saw = ngettext("{number} name is not known", "{number} names are not known", len(misspelt))
        return Seen(Level.WARNING, saw.format(number=len(misspelt)), gettext("correct or remove them"), misspelt)
    return Seen(Level.OK, gettext("every setting is known and fits"))


def _print(findings: Sequence[Finding]) -> None:
    place, words = console(), {level: translated(word) for level, word in WORDS.items()}
    margin = max(map(len, words.values()))
    for finding in findings:
        seen = finding.seen
        place.print(Text(f"{words[seen.level]:{margin}}", COLOURS[seen.level]), Text(finding.check, "bold"))
        saw = "\n".join(map(translated, (seen.saw, *seen.details)))
        said = {"tried": finding.tried, "saw": saw, "do": seen.remedy}
        rows = block_of({name: text for name, text in said.items() if text}, place.width - margin - 1)
        print(*(f"{'':{margin}} {line}" for line in rows), sep="\n", end="\n\n")
    if not findings:
        print(gettext("No problem found."))
    counts = Counter(finding.seen.level for finding in findings)
    text = gettext("{number} {level}")
    print(", ".join(text.format(number=counts[level], level=words[level]) for level in Level if counts[level]))


if __name__ == "__main__":
    start(main)
