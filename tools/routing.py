"""Where do tasks go, and why? Asks the routing of this worker, or a routing file before it is used.

Examples:
  python tools/routing.py
  python tools/routing.py bitrix_create_task sap_x
  python tools/routing.py --file routing.toml
  python tools/routing.py --json

It shows all topics that are deployed or have tasks, or those that are named, for which it asks no engine. --file
shows what such a file would do, and names each mistake in it.

Exit code: 0; 1 where a topic belongs to no system and goes to the default queue; 2 a mistake in the routing.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # a script finds only what lies beside it

from bridge.routing import NO_TENANT, Routing, System, is_served
from bridge.texts import Said, gettext
from config import Settings
from tools.lib.inspection import Inspection
from tools.lib.toolbox import OK, PROBLEM, parser_of, rest_of, run, show, start

UNCLAIMED = Said("no system claims it")
LEFT_TO_OTHERS = Said("CAMUNDA_TOPICS_INCLUDE or CAMUNDA_TOPICS_EXCLUDE leaves it to others")
EVALUATED = Said("decided while the process runs")
EXPRESSIONS = ("${", "#{")


def main(argv: Sequence[str]) -> int:
    """Show where the topics go."""
    parser = parser_of(__doc__)
    topics = gettext("these topics in place of all deployed ones")
    parser.add_argument("topics", nargs="*", metavar="TOPIC", help=topics)
    parser.add_argument("--file", type=Path, help=gettext("this routing file in place of ROUTING_FILE"))
    return run(_routing, parser.parse_args(argv))


def _routing(arguments: argparse.Namespace, settings: Settings) -> int:
    if arguments.file:
        settings = settings.model_copy(update={"routing_file": arguments.file})
    routing = settings.routing()
    topics = arguments.topics or _all_topics(settings)
    rows = [row for topic in topics for row in rows_of(topic, routing, settings)]
    show(rows, as_json=arguments.json, empty=gettext("No topic is deployed."))
    return PROBLEM if any(row["why"] == UNCLAIMED for row in rows) else OK


def _all_topics(settings: Settings) -> list[str]:
    inspection = Inspection(rest_of(settings))
    return sorted({*inspection.deployed_topics(), *inspection.topics_with_tasks()})


def rows_of(topic: str, routing: Routing, settings: Settings) -> Iterator[dict[str, Any]]:
    """Yield a row for each system that gets tasks of a topic."""
    nowhere = {"topic": topic, "system": None, "queue": None}
    if any(mark in topic for mark in EXPRESSIONS):
        yield {**nowhere, "why": EVALUATED, "only": None}
    elif not is_served(topic, settings.camunda_topics_include, settings.camunda_topics_exclude):
        yield {**nowhere, "why": LEFT_TO_OTHERS, "only": None}
    else:
        why = why_of(topic, routing)
        for system in routing.systems_of(topic):
            place = {"topic": topic, "system": system.name, "queue": system.queue}
            yield {**place, "why": why, "only": selection_of(system)}


def why_of(topic: str, routing: Routing) -> str:
    """Return by which rule a topic has its systems."""
    if topic in routing.topics:
        return gettext("its name")
    pattern = routing.pattern_of(topic)
    return gettext("pattern {pattern}").format(pattern=pattern) if pattern else UNCLAIMED


def selection_of(system: System) -> str | None:
    """Return which of a topic's tasks a system gets, None where it gets all."""
    selection = system.selection
    tenants = tuple("none" if tenant == NO_TENANT else tenant for tenant in selection.tenants or ())
    parts = {
        gettext("process"): ", ".join(selection.process_keys),
        gettext("version tag"): selection.version_tag,
        gettext("business key"): selection.business_key,
        gettext("tenant"): ", ".join(tenants),
    }
    return "; ".join(f"{name} {value}" for name, value in parts.items() if value) or None


if __name__ == "__main__":
    start(main)
