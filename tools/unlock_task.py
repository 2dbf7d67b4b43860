"""Free tasks that are locked, so that they can be fetched again at once. Says who holds them, and asks first.

Examples:
  python tools/unlock_task.py \\
    --task-id 3f2504e0-4f89-11d3-9a0c-0305e82c3301
  python tools/unlock_task.py --topic bitrix_create_task
  python tools/unlock_task.py --all-expired --yes
  python tools/unlock_task.py --topic 1c_sync_data --all-expired --yes

The engine does not ask whose lock it is. A system that still works on a freed task may see its answer refused, and
the work may be done twice: free only what nobody works on. --all-expired takes the tasks whose lock has ended and
which still carry some worker's id: they can be fetched anyway; freed, they take no late answer any more.

Exit code: 0 freed, or nothing was locked; 1 no such task, not all were freed, or you said no; 2 wrong use, or
nobody could be asked.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # a script finds only what lies beside it

from bridge.contract import TaskState
from bridge.contract.fields import TASK_ID
from bridge.errors import Unprocessable
from bridge.texts import gettext, ngettext
from config import Settings
from tools.lib.layout import say
from tools.lib.operations import Operations, lock_end_of
from tools.lib.toolbox import OK, PROBLEM, agreed, parser_of, rest_of, run, show, show_json, start

MOST_TASKS = 10_000


def main(argv: Sequence[str]) -> int:
    """Free what was asked for."""
    parser = parser_of(__doc__)
    parser.add_argument("--task-id", type=_task_id, metavar="ID", help=gettext("this task"))
    parser.add_argument("--topic", help=gettext("the locked tasks of this topic, whoever holds them"))
    expired = gettext("tasks whose lock has ended; with --topic, its own")
    parser.add_argument("--all-expired", action="store_true", help=expired)
    parser.add_argument("--yes", action="store_true", help=gettext("do not ask"))
    arguments = parser.parse_args(argv)
    if bool(arguments.task_id) == bool(arguments.topic or arguments.all_expired):
        parser.error(gettext("give --task-id, or --topic and --all-expired or one of them"))
    return run(_unlock, arguments)


def _task_id(text: str) -> str:
    if not TASK_ID.fullmatch(text):
        raise argparse.ArgumentTypeError(gettext("{text!r} is no task id").format(text=text))
    return text


def _unlock(arguments: argparse.Namespace, settings: Settings) -> int:
    operations = Operations(rest_of(settings))
    tasks = _chosen(operations, arguments)
    if not arguments.json:
        show([row_of(task) for task in tasks], as_json=False, empty=gettext("Nothing is locked."))
    if not tasks:
        return OK
    question = ngettext(
        "Free {number} task? Work that is under way may be done twice.",
        "Free {number} tasks? Work that is under way may be done twice.",
        len(tasks),
    )
    if not agreed(question.format(number=len(tasks)), arguments):
        print(gettext("Nothing was done."))
        return PROBLEM
    freed = {task.id: free(operations, task) for task in tasks}
    if arguments.json:
        show_json({**row_of(task), "freed": freed[task.id]} for task in tasks)
    else:
        say(_told(sum(freed.values()), len(tasks)))
    return OK if all(freed.values()) else PROBLEM


def _told(freed: int, count: int) -> str:
    text = ngettext("freed {freed} of {number} task", "freed {freed} of {number} tasks", count)
    others = "" if freed == count else gettext("; the others were completed or locked anew meanwhile")
    return text.format(freed=freed, number=count) + others


def free(operations: Operations, task: TaskState) -> bool:
    """Free a task unless it changed since it was shown: a lock that was extended has somebody who works."""
    try:
        if operations.task(task.id) != task:
            return False
        operations.unlock(task.id)
    except Unprocessable:  # gone meanwhile
        return False
    return True


def _chosen(operations: Operations, arguments: argparse.Namespace) -> list[TaskState]:
    if arguments.task_id:
        return [task for task in (operations.task(arguments.task_id),) if task.worker_id]
    topic = {"topicName": arguments.topic} if arguments.topic else {}
    if arguments.all_expired:  # the engine's clock decides what has ended
        found = operations.tasks({**topic, "notLocked": True, "withRetriesLeft": True}, limit=MOST_TASKS)
        return [task for task in found if task.worker_id]
    return operations.tasks({**topic, "locked": True}, limit=MOST_TASKS)


def row_of(task: TaskState) -> dict[str, Any]:
    """Return a task as a row: who holds it, until when, and after how many attempts."""
    return {
        "task": task.id,
        "topic": task.topic,
        "held_by": task.worker_id,
        "lock_ends": lock_end_of(task),
        "retries": task.retries,
        "process": task.process_key,
        "instance": task.process_instance_id,
    }


if __name__ == "__main__":
    start(main)
