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
import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # a script finds only what lies beside it

from rich.table import Table

from config import Settings
from messages import RESPONSE_QUEUE
from rabbitmq_client import Found, QueueBrowser
from rabbitmq_client.topology import ERROR_QUEUE
from tools.toolbox import OK, PROBLEM, broker_of, console, run, show_json

UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
REASONS = ("invalid", "too_large", "forged", "foreign_lock", "rejected_by_engine", "retries_exhausted")


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
        failed_at = str(found.headers.get("x-failed-at", ""))
        return bool(failed_at) and datetime.now(UTC) - datetime.fromisoformat(failed_at) > self.older_than


def main(argv: Sequence[str]) -> int:
    """Do one command; return 0 done, 1 nothing found or a server away, 2 wrong use."""
    return run(_do, _parser().parse_intermixed_args(argv))


def _do(arguments: argparse.Namespace, settings: Settings) -> int:
    choice = Choice(arguments.reason, arguments.topic, arguments.task_id, arguments.older_than)
    commands: dict[str, Callable[[QueueBrowser, list[Found], argparse.Namespace], None]] = {
        "list": _list,
        "show": _show,
        "replay": _replay,
        "drop": _drop,
    }
    with QueueBrowser(broker_of(settings), ERROR_QUEUE) as browser:
        found = [message for message in browser.messages() if choice.takes(message)]
        commands[arguments.command](browser, found, arguments)
    return OK if found else PROBLEM


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


def _list(_browser: QueueBrowser, found: list[Found], arguments: argparse.Namespace) -> None:
    rows = list(map(_row, found))
    if arguments.json:
        show_json(rows)
        return
    table = Table("failed at", "reason", "topic", "task", "detail")
    for row in rows:
        table.add_row(*(str(row[name]) for name in ("failed_at", "reason", "topic", "task_id", "detail")))
    console().print(table if rows else "Nothing there.")


def _row(found: Found) -> dict[str, object]:
    names = ("failed_at", "error_reason", "topic", "task_id", "error_detail", "attempts")
    values = {name.removeprefix("error_"): found.headers.get(f"x-{name.replace('_', '-')}", "") for name in names}
    return {**values, "bytes": len(found.body)}


def _show(_browser: QueueBrowser, found: list[Found], arguments: argparse.Namespace) -> None:
    for message in found:
        body = message.body.decode("utf-8", "backslashreplace")
        if arguments.json:
            print(json.dumps({**_row(message), "headers": message.headers, "body": body}, default=str))
        else:
            print(
                "\n".join(f"{name}: {value}" for name, value in message.headers.items()),
                body,
                sep="\n\n",
                end="\n\n",
            )


def _replay(browser: QueueBrowser, found: list[Found], arguments: argparse.Namespace) -> None:
    for message in _announced("replay", found, arguments):
        browser.move(message, RESPONSE_QUEUE, lambda name: not name.startswith("x-"))


def _drop(browser: QueueBrowser, found: list[Found], arguments: argparse.Namespace) -> None:
    for message in _announced("drop", found, arguments):
        browser.drop(message)


def _announced(act: str, found: list[Found], arguments: argparse.Namespace) -> Iterator[Found]:
    """Yield what is to be done, saying so; nothing in a dry run."""
    for message in found:
        would = "would " if arguments.dry_run else ""
        print(
            f"{would}{act} {message.headers.get('x-error-reason')} {message.headers.get('x-task-id', '')}".rstrip()
        )
        if not arguments.dry_run:
            yield message
    print(f"{len(found)} messages" if found else "Nothing there.")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
