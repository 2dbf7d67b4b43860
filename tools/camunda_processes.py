"""What is the engine doing? Its processes, running instances, open external tasks and incidents.

Examples:
  python tools/camunda_processes.py --stats
  python tools/camunda_processes.py --instances --key one_c_sync
  python tools/camunda_processes.py --tasks --topic bitrix_create_task
  python tools/camunda_processes.py --incidents
  python tools/camunda_processes.py --stats --incidents --json

Without an option it shows --stats. Exit code: 0, or 1 where --incidents shows some.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # a script finds only what lies beside it

from bridge.contract import TaskState
from bridge.engine import readable
from bridge.texts import gettext
from config import Settings
from tools.lib.operations import Operations, lock_end_of, situation_of
from tools.lib.toolbox import OK, PROBLEM, parser_of, positive, rest_of, run, show, show_json, start

Row = dict[str, Any]
Section = tuple[str, str, list[Row]]  # its title, what is said where there are no rows, and the rows
LIMIT = 100
TASK_COUNTS: dict[str, Row] = {
    "open": {},
    "locked": {"locked": True},
    "waiting": {"notLocked": True, "withRetriesLeft": True},
    "failed": {"noRetriesLeft": True},
}


def main(argv: Sequence[str]) -> int:
    """Show what was asked for."""
    parser = parser_of(__doc__)
    sections = {
        "--stats": gettext("each deployed process, and the tasks as numbers"),
        "--instances": gettext("running instances"),
        "--tasks": gettext("open external tasks, and who holds them"),
        "--incidents": gettext("open incidents, newest first"),
    }
    for option, text in sections.items():
        parser.add_argument(option, action="store_true", help=text)
    parser.add_argument("--key", help=gettext("only this process (not with --tasks)"))
    parser.add_argument("--topic", help=gettext("only tasks of this topic"))
    limit = gettext("at most so many rows of each ({number})").format(number=LIMIT)
    parser.add_argument("--limit", type=positive, default=LIMIT, help=limit)
    return run(_processes, parser.parse_args(argv))


def _processes(arguments: argparse.Namespace, settings: Settings) -> int:
    operations = Operations(rest_of(settings))
    chosen = [name for name in SECTIONS if getattr(arguments, name)] or ["stats"]
    incidents = 0
    for name in chosen:
        for title, empty, rows in SECTIONS[name](operations, arguments):
            _show(title, empty, rows, arguments)
            incidents += len(rows) if name == "incidents" else 0
            if name != "stats" and len(rows) == arguments.limit and not arguments.json:
                print(gettext("Perhaps there are more: --limit {number}").format(number=10 * arguments.limit))
    return PROBLEM if incidents else OK


def _show(title: str, empty: str, rows: Sequence[Row], arguments: argparse.Namespace) -> None:
    if arguments.json:
        show_json({"kind": title, **row} for row in rows)
    else:
        show(rows, as_json=False, title=title, empty=empty)


def _stats(operations: Operations, arguments: argparse.Namespace) -> Iterator[Section]:
    rows = process_rows(operations.definitions())
    shown = [row for row in rows if arguments.key in (None, row["process"])]
    yield gettext("processes"), gettext("No processes."), shown
    yield (
        gettext("external tasks"),
        "",
        [{name: operations.count_tasks(query) for name, query in TASK_COUNTS.items()}],
    )


def process_rows(definitions: Sequence[Row]) -> list[Row]:
    """Return a row for each version that is the latest of its process or still has instances or incidents."""
    rows = readable("process-definition/statistics", _process_row, definitions)
    latest: dict[tuple[str, str | None], int] = {}
    for row in rows:
        name = (row["process"], row["tenant"])
        latest[name] = max(row["version"], latest.get(name, 0))
    return [
        row
        for row in sorted(rows, key=lambda row: (row["process"], row["version"]))
        if row["version"] == latest[row["process"], row["tenant"]] or row["instances"] or row["incidents"]
    ]


def _process_row(statistics: Row) -> Row:
    definition = statistics["definition"]
    return {
        "process": str(definition["key"]),
        "version": int(definition["version"]),
        "tenant": definition.get("tenantId"),
        "instances": statistics["instances"],
        "incidents": sum(incident["incidentCount"] for incident in statistics["incidents"]),
        "failed_jobs": statistics["failedJobs"],
        "suspended": gettext("yes") if definition["suspended"] else gettext("no"),
    }


def _instances(operations: Operations, arguments: argparse.Namespace) -> Iterator[Section]:
    rows = operations.instances(arguments.key, limit=arguments.limit)
    shown = readable("process-instance", _instance_row, rows)
    yield gettext("running instances"), gettext("No running instances."), shown


def _instance_row(instance: Row) -> Row:
    return {
        "instance": instance["id"],
        "process": key_of(instance["definitionId"]),
        "business_key": instance["businessKey"],
        "started": moment(instance["startTime"]),
        "suspended": gettext("yes") if instance["suspended"] else gettext("no"),
    }


def _tasks(operations: Operations, arguments: argparse.Namespace) -> Iterator[Section]:
    query = {"topicName": arguments.topic} if arguments.topic else {}
    now = operations.now()
    rows = [task_row(task, now) for task in operations.tasks(query, limit=arguments.limit)]
    yield gettext("open external tasks"), gettext("No open external tasks."), rows


def task_row(task: TaskState, now: datetime) -> Row:
    """Return a task with how it stands at the engine's time `now`."""
    return {
        "task": task.id,
        "topic": task.topic,
        "state": situation_of(task, now),
        "lock_ends": lock_end_of(task),
        "retries": task.retries,
        "process": task.process_key,
        "instance": task.process_instance_id,
        "error": task.error_message,
    }


def _incidents(operations: Operations, arguments: argparse.Namespace) -> Iterator[Section]:
    rows = operations.incidents(arguments.key, limit=arguments.limit)
    yield gettext("incidents"), gettext("No incidents."), readable("incident", _incident_row, rows)


def _incident_row(incident: Row) -> Row:
    is_task = incident["incidentType"] == "failedExternalTask"
    return {
        "since": moment(incident["incidentTimestamp"]),
        "type": incident["incidentType"],
        "process": key_of(incident["processDefinitionId"]),
        "activity": incident["activityId"],
        "message": incident["incidentMessage"],
        "instance": incident["processInstanceId"],
        "task": incident["configuration"] if is_task else None,
    }


def key_of(definition_id: str | None) -> str | None:
    """Return the process's key from an id such as `order:3:6100a525`; some engines use bare ids."""
    return definition_id.split(":")[0] if definition_id else None


def moment(text: str | None) -> str | None:
    """Return the engine's time to the second; in its own words where they are no time."""
    try:
        return datetime.fromisoformat(text).isoformat(" ", "seconds") if text else None
    except (TypeError, ValueError):
        return str(text)


SECTIONS: dict[str, Callable[[Operations, argparse.Namespace], Iterator[Section]]] = {
    "stats": _stats,
    "instances": _instances,
    "tasks": _tasks,
    "incidents": _incidents,
}

if __name__ == "__main__":
    start(main)
