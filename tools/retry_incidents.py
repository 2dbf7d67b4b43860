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
from bridge.texts import gettext, ngettext
from config import Settings
from tools.lib.operations import Operations
from tools.lib.toolbox import OK, PROBLEM, agreed, parser_of, positive, rest_of, run, show, show_json, start

MOST_TASKS = 10_000


def main(argv: Sequence[str]) -> int:
    """Show failed tasks, or give them new retries."""
    parser = parser_of(__doc__)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--topic", help=gettext("the failed tasks of this topic"))
    which.add_argument("--all", action="store_true", help=gettext("all failed tasks"))
    retries = gettext("how many attempts they get (CAMUNDA_RETRIES, at least 1)")
    parser.add_argument("--retries", type=positive, help=retries)
    parser.add_argument("--yes", action="store_true", help=gettext("do not ask"))
    return run(_retry, parser.parse_args(argv))


def _retry(arguments: argparse.Namespace, settings: Settings) -> int:
    operations = Operations(rest_of(settings))
    query = {"topicName": arguments.topic} if arguments.topic else {}
    tasks = operations.tasks({**query, "noRetriesLeft": True}, limit=MOST_TASKS)
    acts = bool(arguments.topic or arguments.all)
    if not (arguments.json and acts):
        show(summary(tasks), as_json=arguments.json, empty=gettext("No task failed."))
    if not tasks or not acts:
        return PROBLEM if tasks else OK
    return _set_retries(operations, tasks, arguments.retries or max(1, settings.camunda_retries), arguments)


def _set_retries(
    operations: Operations, tasks: Sequence[TaskState], retries: int, arguments: argparse.Namespace
) -> int:
    count, given = len(tasks), ngettext("{number} retry", "{number} retries", retries).format(number=retries)
    question = ngettext("Give {number} task {retries}?", "Give {number} tasks {retries}?", count)
    if not agreed(question.format(number=count, retries=given), arguments):
        print(gettext("Nothing was done."))
        return PROBLEM
    operations.set_retries([task.id for task in tasks], retries)
    if arguments.json:
        show_json({"task": task.id, "topic": task.topic, "retries": retries} for task in tasks)
    else:
        done = ngettext("{number} task has {retries}", "{number} tasks have {retries}", count)
        print(done.format(number=count, retries=given))
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
    start(main)
