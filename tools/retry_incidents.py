"""Give failed tasks new retries: their incidents are resolved, and the worker hands them out again.

Examples:
  python tools/retry_incidents.py
  python tools/retry_incidents.py --topic send_email
  python tools/retry_incidents.py --topic send_email --retries 1 --yes
  python tools/retry_incidents.py --all --json --yes

Without --topic or --all it only shows what failed. First mend what made them fail: see the messages.

Exit code: 0 done, or nothing failed; 1 tasks have failed, or you said no; 2 wrong use, or nobody could be asked.
"""

import argparse
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # a script finds only what lies beside it

from bridge.contract import TaskState
from bridge.counted import counted
from config import Settings
from tools.lib.operations import Operations
from tools.lib.toolbox import OK, PROBLEM, agreed, parser_of, positive, rest_of, run, show, show_json

MOST_TASKS = 10_000


def main(argv: Sequence[str]) -> int:
    """Show failed tasks, or give them new retries."""
    parser = parser_of(__doc__)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--topic", help="the failed tasks of this topic")
    which.add_argument("--all", action="store_true", help="all failed tasks")
    parser.add_argument(
        "--retries", type=positive, help="how many attempts they get (CAMUNDA_RETRIES, at least 1)"
    )
    parser.add_argument("--yes", action="store_true", help="do not ask")
    return run(_retry, parser.parse_args(argv))


def _retry(arguments: argparse.Namespace, settings: Settings) -> int:
    operations = Operations(rest_of(settings))
    query = {"topicName": arguments.topic} if arguments.topic else {}
    tasks = operations.tasks({**query, "noRetriesLeft": True}, limit=MOST_TASKS)
    acts = bool(arguments.topic or arguments.all)
    if not (arguments.json and acts):
        show(summary(tasks), as_json=arguments.json, empty="No task failed.")
    if not tasks or not acts:
        return PROBLEM if tasks else OK
    return _set_retries(operations, tasks, arguments.retries or max(1, settings.camunda_retries), arguments)


def _set_retries(
    operations: Operations, tasks: Sequence[TaskState], retries: int, arguments: argparse.Namespace
) -> int:
    if not agreed(f"Give {counted(len(tasks), 'task')} {counted(retries, 'retry', 'retries')}?", arguments):
        print("Nothing was done.")
        return PROBLEM
    operations.set_retries([task.id for task in tasks], retries)
    if arguments.json:
        show_json({"task": task.id, "topic": task.topic, "retries": retries} for task in tasks)
    else:
        have = "has" if len(tasks) == 1 else "have"
        print(f"{counted(len(tasks), 'task')} {have} {counted(retries, 'retry', 'retries')}")
    return OK


def summary(tasks: Sequence[TaskState]) -> list[dict[str, Any]]:
    """Return a row for each topic and message: how many tasks failed with it, and one of them."""
    groups: dict[tuple[str, str | None], list[TaskState]] = defaultdict(list)
    for task in tasks:
        groups[task.topic, task.error_message].append(task)
    return [
        {"topic": topic, "failed": len(group), "message": message, "for_example": group[0].id}
        for (topic, message), group in groups.items()
    ]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
