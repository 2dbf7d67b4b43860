"""Answers that could not be used: list, show, replay or drop what is in errors.camunda_tasks.queue.

Examples:
  python tools/dead_letters.py list
  python tools/dead_letters.py list --reason invalid --older-than 1h --json
  python tools/dead_letters.py show 3f2504e0-4f89-11d3-9a0c-0305e82c3301
  python tools/dead_letters.py replay --reason retries_exhausted --dry-run
  python tools/dead_letters.py drop --reason invalid --older-than 7d

replay and drop act at once, without a question, on every answer that the options leave: try --dry-run first.
A replay is safe: the engine refuses an answer whose task is gone. Of one that was too_large only the first
64 KiB are there.

Exit code: 0 done, 1 nothing found or the broker is away, 2 wrong use.
"""

import argparse
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # a script finds only what lies beside it

from rich.table import Table
from rich.text import Text

from bridge.broker.topology import ERROR_QUEUE
from bridge.contract import RESPONSE_QUEUE, BodyForm
from bridge.errors import REASONS
from bridge.process.shared import broker_of
from config import Settings
from tools.lib.browser import Found, QueueBrowser
from tools.lib.toolbox import OK, PROBLEM, console, run, show_json

NOTHING = "Nothing there."
SHOWN_BYTES = 1_048_576  # of a packed answer, once it is unpacked
UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


@dataclass(frozen=True, slots=True)
class Choice:
    """Which messages are meant; None leaves a question open."""

    reason: str | None = None
    topic: str | None = None
    task_id: str | None = None
    older_than: timedelta | None = None

    def takes(self, found: Found) -> bool:
        """Whether a message is meant."""
        wanted = (("x-error-reason", self.reason), ("x-topic", self.topic), ("x-task-id", self.task_id))
        return all(value is None or found.headers.get(name) == value for name, value in wanted) and self._is_old(
            found
        )

    def _is_old(self, found: Found) -> bool:
        if self.older_than is None:
            return True
        try:
            failed_at = datetime.fromisoformat(str(found.headers.get("x-failed-at", "")))
        except ValueError:
            return False
        return datetime.now(UTC) - failed_at.astimezone(UTC) > self.older_than


def main(argv: Sequence[str]) -> int:
    """Do one command; return 0 done, 1 nothing found or the broker unavailable, 2 wrong use."""
    return run(_do, _parser().parse_intermixed_args(argv))


def _do(arguments: argparse.Namespace, settings: Settings) -> int:
    choice = Choice(arguments.reason, arguments.topic, arguments.task_id, arguments.older_than)
    with QueueBrowser(broker_of(settings), ERROR_QUEUE) as browser:
        found = (message for message in browser.messages() if choice.takes(message))
        return OK if COMMANDS[arguments.command](browser, found, arguments) else PROBLEM


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("list", "show", "replay", "drop"))
    parser.add_argument("task_id", nargs="?", help="only the answers for this task")
    parser.add_argument("--reason", choices=REASONS, help="only those set aside for this reason")
    parser.add_argument("--topic", help="only those whose task was of this topic, where it was known")
    parser.add_argument("--older-than", type=_age, metavar="AGE", help="only older ones, such as 30m, 1h or 7d")
    parser.add_argument("--dry-run", action="store_true", help="say what replay or drop would do, and do nothing")
    parser.add_argument("--json", action="store_true", help="print JSON lines instead of a table")
    return parser


def _age(text: str) -> timedelta:
    match = re.fullmatch(r"(\d+)([smhd])", text)
    if not match:
        raise argparse.ArgumentTypeError("must be a number and s, m, h or d, such as 30m")
    return timedelta(**{UNITS[match[2]]: int(match[1])})


# Each command takes the messages one by one, for there may be many large ones, and returns how many it met.
Command = Callable[[QueueBrowser, Iterable[Found], argparse.Namespace], int]


def _list(_browser: QueueBrowser, found: Iterable[Found], arguments: argparse.Namespace) -> int:
    rows = map(_row, found)
    return _print_lines(rows) if arguments.json else _print_table(list(rows))


def _print_lines(rows: Iterable[dict[str, object]]) -> int:
    count = 0
    for count, row in enumerate(rows, 1):  # noqa: B007  # what was counted last is wanted
        show_json([row])
    return count


def _print_table(rows: Sequence[dict[str, object]]) -> int:
    table = Table("failed at", "reason", "topic", "task", "detail")
    for row in rows:
        # Text, not markup: a detail may hold square brackets.
        table.add_row(*(Text(str(row[name])) for name in ("failed_at", "reason", "topic", "task_id", "detail")))
    console().print(table if rows else NOTHING)
    return len(rows)


def _row(found: Found) -> dict[str, object]:
    names = ("failed_at", "error_reason", "topic", "task_id", "error_detail", "attempts")
    values = {name.removeprefix("error_"): found.headers.get(f"x-{name.replace('_', '-')}", "") for name in names}
    return {**values, "bytes": len(found.body)}


def _show(_browser: QueueBrowser, found: Iterable[Found], arguments: argparse.Namespace) -> int:
    count = 0
    for count, message in enumerate(found, 1):  # noqa: B007
        packed_as = BodyForm(str(message.properties.content_encoding or ""))
        body = packed_as.beginning(message.body, SHOWN_BYTES).decode("utf-8", "backslashreplace")
        if arguments.json:
            show_json([{**_row(message), "headers": message.headers, "body": body}])
        else:
            head = "\n".join(f"{name}: {value}" for name, value in message.headers.items())
            print(head, body, sep="\n\n", end="\n\n")
    if not count:
        of_task = f" for task {arguments.task_id}" if arguments.task_id else ""
        print(f"{NOTHING.removesuffix('.')}{of_task}.", file=sys.stderr if arguments.json else sys.stdout)
    return count


def _replay(browser: QueueBrowser, found: Iterable[Found], arguments: argparse.Namespace) -> int:
    return _do_each(
        "replay", found, arguments, lambda one: browser.move(one, RESPONSE_QUEUE, lambda name: name[:2] != "x-")
    )


def _drop(browser: QueueBrowser, found: Iterable[Found], arguments: argparse.Namespace) -> int:
    return _do_each("drop", found, arguments, browser.drop)


def _do_each(act: str, found: Iterable[Found], arguments: argparse.Namespace, do: Callable[[Found], None]) -> int:
    """Say and do it for each message; only say so in a dry run."""
    would, count = "would " if arguments.dry_run else "", 0
    for count, message in enumerate(found, 1):  # noqa: B007
        reason, task_id = (message.headers.get(name, "") for name in ("x-error-reason", "x-task-id"))
        print(f"{would}{act} {reason} {task_id}".rstrip())
        if not arguments.dry_run:
            do(message)
    print(f"{count} messages" if count else NOTHING)
    return count


COMMANDS: dict[str, Command] = {"list": _list, "show": _show, "replay": _replay, "drop": _drop}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
