"""Answers that could not be used: list, show, replay or drop what is in errors.camunda_tasks.queue.

Examples:
  python tools/dead_letters.py list
  python tools/dead_letters.py list --reason invalid --older-than 1h
  python tools/dead_letters.py show \\
    3f2504e0-4f89-11d3-9a0c-0305e82c3301
  python tools/dead_letters.py replay --reason invalid --dry-run
  python tools/dead_letters.py drop --reason invalid --older-than 7d

replay and drop act at once on every answer that the options leave: try --dry-run first. Only a drop of all of them
asks before, unless --yes is given. A replay is safe: the engine refuses an answer whose task is gone. Of one that
was too_large only the first 64 KiB are there.

Exit code: 0 done; 1 nothing found, you said no, or the broker is away; 2 wrong use, or nobody could be asked.
"""

import argparse
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # a script finds only what lies beside it

from bridge.answers.side_queues import SENDER_USER_ID
from bridge.broker import Broker
from bridge.broker.topology import ERROR_QUEUE
from bridge.contract import RESPONSE_QUEUE, BodyForm, named_task
from bridge.errors import REASONS
from bridge.process.shared import broker_of
from bridge.routing import Routing
from bridge.texts import gettext, ngettext
from config import Settings
from tools.lib.browser import Found, QueueBrowser
from tools.lib.layout import block_of, console, plain, say
from tools.lib.toolbox import OK, PROBLEM, agreed, parser_of, run, show_json, start

BEGINNING = 60  # characters of a body in a list
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
        headers = found.headers
        wanted = ((self.reason, headers.get("x-error-reason")), (self.topic, headers.get("x-topic")))
        if any(value is not None and value != known for value, known in wanted):
            return False
        return self.task_id in (None, task_of(found)) and self._is_old(found)

    def _is_old(self, found: Found) -> bool:
        if self.older_than is None:
            return True
        try:
            failed_at = datetime.fromisoformat(str(found.headers.get("x-failed-at", "")))
            return datetime.now(UTC) - failed_at.astimezone(UTC) > self.older_than
        except (ValueError, OverflowError):
            return False


def main(argv: Sequence[str]) -> int:
    """Do one command; return 0 done, 1 nothing found or the broker unavailable, 2 wrong use."""
    return run(_do, _parser().parse_intermixed_args(argv))


def _do(arguments: argparse.Namespace, settings: Settings) -> int:
    choice = Choice(arguments.reason, arguments.topic, arguments.task_id, arguments.older_than)
    broker = broker_of(settings)
    drops_all = arguments.command == "drop" and choice == Choice() and not arguments.dry_run
    if drops_all and not agreed(_question(broker), arguments):
        print(gettext("Nothing was done."))
        return PROBLEM
    with QueueBrowser(broker, ERROR_QUEUE) as browser:
        found = (message for message in browser.messages() if choice.takes(message))
        desk = Desk(browser, settings.routing(), arguments)
        return OK if COMMANDS[arguments.command](desk, found) else PROBLEM


def _question(broker: Broker) -> str:
    with QueueBrowser(broker, ERROR_QUEUE) as browser:  # of its own: the broker ends one that waits for a person
        count = browser.count()
    question = ngettext(
        "Drop all of {number} dead letter? Nothing brings them back.",
        "Drop all of {number} dead letters? Nothing brings them back.",
        count,
    )
    return question.format(number=count)


def _parser() -> argparse.ArgumentParser:
    parser = parser_of(__doc__)
    parser.add_argument("command", choices=("list", "show", "replay", "drop"))
    parser.add_argument("task_id", nargs="?", help=gettext("only the answers for this task"))
    reasons = gettext("only those set aside for this reason: {reasons}").format(reasons=", ".join(REASONS))
    parser.add_argument("--reason", choices=REASONS, metavar="REASON", help=reasons)
    topic = gettext("only those whose task was of this topic, where it was known")
    parser.add_argument("--topic", help=topic)
    age = gettext("only older ones, such as 30m, 1h or 7d")
    parser.add_argument("--older-than", type=_age, metavar="AGE", help=age)
    dry_run = gettext("say what replay or drop would do, and do nothing")
    parser.add_argument("--dry-run", action="store_true", help=dry_run)
    parser.add_argument("--yes", action="store_true", help=gettext("drop all of them without a question"))
    return parser


def _age(text: str) -> timedelta:
    match = re.fullmatch(r"(\d+)([smhd])", text)
    if not match:
        raise argparse.ArgumentTypeError(gettext("must be a number and s, m, h or d, such as 30m"))
    try:
        return timedelta(**{UNITS[match[2]]: int(match[1])})
    except OverflowError:  # it is older than anything can be
        return timedelta.max


@dataclass(frozen=True, slots=True)
class Desk:
    """What a command works with."""

    browser: QueueBrowser
    routing: Routing
    arguments: argparse.Namespace


# Each command takes the messages one by one, for there may be many large ones, and returns how many it met.
Command = Callable[[Desk, Iterable[Found]], int]


def _list(desk: Desk, found: Iterable[Found]) -> int:
    width, count = console().width, 0
    for count, message in enumerate(found, 1):  # noqa: B007  # what was counted last is wanted
        row = _row(desk, message)
        if desk.arguments.json:
            show_json([row])
        else:
            print(*_block(row, width), sep="\n", end="\n\n")
    if not desk.arguments.json:
        print(_total(count))
    return count


def _total(count: int) -> str:
    if not count:
        return gettext("Nothing there.")
    return ngettext("{number} message", "{number} messages", count).format(number=count)


def _block(row: dict[str, object], width: int) -> Iterator[str]:
    shown = {name: value for name, value in row.items() if value not in ("", None)}
    when = shown.pop("failed_at", gettext("when is not known"))
    yield f"{when}  {shown.pop('reason', '')}".rstrip()
    yield from (f"  {line}" for line in block_of(shown, width - 2))


def _row(desk: Desk, found: Found) -> dict[str, object]:
    names = ("failed_at", "error_reason", "topic", "task_id", "error_detail", "attempts")
    values = {name.removeprefix("error_"): found.headers.get(f"x-{name.replace('_', '-')}", "") for name in names}
    properties, user = found.properties, _user_of(found)
    return {
        **values,
        "task_id": task_of(found),
        "system": _system_of(_text(values["topic"]), user, desk.routing),
        "app_id": properties.app_id,
        "user_id": user,
        "correlation_id": properties.correlation_id,
        "bytes": len(found.body),
        "body": _beginning(found),
    }


def task_of(found: Found) -> str:
    """Return the task that an answer is about, also where that is all that can be read; else nothing."""
    known = _text(found.headers.get("x-task-id"))
    named = None if known else named_task(found.body, _text(found.properties.correlation_id), _form(found))
    return known or (named.task_id if named else "")


def _user_of(found: Found) -> str | None:
    """Return the user who sent an answer, as the broker knows him; a copy of the worker has him in a header."""
    is_copy = "x-error-reason" in found.headers
    return _text(found.headers.get(SENDER_USER_ID) if is_copy else found.properties.user_id)


def _system_of(topic: str | None, user: str | None, routing: Routing) -> str:
    """Return the system that gets the tasks of the topic; without one, the system that the user may answer for."""
    systems = routing.systems_of(topic) if topic else [one for one in routing.systems if one.is_user(user)]
    return ", ".join(system.name for system in systems)


def _form(found: Found) -> BodyForm:
    return BodyForm(_text(found.properties.content_encoding), _text(found.properties.content_type))


def _text(given: object) -> str | None:
    return given if isinstance(given, str) else None  # bytes, where it is no UTF-8


def _beginning(found: Found) -> str:
    """Return the first characters of a body in one line."""
    most_bytes = 4 * BEGINNING
    text = _form(found).beginning(found.body, most_bytes)[:most_bytes].decode("utf-8", "backslashreplace")
    return "".join(letter if letter.isprintable() else " " for letter in text[:BEGINNING])


def _show(desk: Desk, found: Iterable[Found]) -> int:
    arguments, count = desk.arguments, 0
    for count, message in enumerate(found, 1):  # noqa: B007
        body = _form(message).beginning(message.body, SHOWN_BYTES).decode("utf-8", "backslashreplace")
        if arguments.json:
            show_json([{**_row(desk, message), "headers": message.headers, "body": body}])
        else:
            row = {name: value for name, value in _row(desk, message).items() if name != "body"}
            print(*_block(row, console().width), sep="\n", end="\n\n")
            say("\n".join(f"{name}: {value}" for name, value in message.headers.items()))
            print("", plain(body), "", sep="\n")
    if not count:
        of_task = gettext("Nothing there for task {task}.").format(task=arguments.task_id)
        print(of_task if arguments.task_id else _total(0), file=sys.stderr if arguments.json else sys.stdout)
    return count


def _replay(desk: Desk, found: Iterable[Found]) -> int:
    def move(one: Found) -> None:
        desk.browser.move(one, RESPONSE_QUEUE, lambda name: name[:2] != "x-")

    says = gettext("would replay {letter}") if desk.arguments.dry_run else gettext("replay {letter}")
    return _do_each(says, desk, found, move)


def _drop(desk: Desk, found: Iterable[Found]) -> int:
    says = gettext("would drop {letter}") if desk.arguments.dry_run else gettext("drop {letter}")
    return _do_each(says, desk, found, desk.browser.drop)


def _do_each(says: str, desk: Desk, found: Iterable[Found], do: Callable[[Found], None]) -> int:
    """Say and do it for each message; only say so in a dry run."""
    count = 0
    for count, message in enumerate(found, 1):  # noqa: B007
        reason = message.headers.get("x-error-reason", "")
        print(says.format(letter=f"{reason} {task_of(message)}".strip()))
        if not desk.arguments.dry_run:
            do(message)
    print(_total(count))
    return count


COMMANDS: dict[str, Command] = {"list": _list, "show": _show, "replay": _replay, "drop": _drop}

if __name__ == "__main__":
    start(main)
