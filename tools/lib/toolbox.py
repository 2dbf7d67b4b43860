"""What the tools share: their clients, their exit codes, one clear line for each error, tables and JSON lines."""

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from io import TextIOWrapper
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bridge.broker import Broker, Topology
from bridge.engine import Http, Login, Rest
from bridge.errors import SettingsError, Unavailable, Unprocessable
from config import RoutingConfig, Settings, load_settings

OK, PROBLEM, WRONG_USE = 0, 1, 2
INTERRUPTED = 130
COPIED = ("task", "instance", "queue")  # kept in one piece as long as there is room
UNKNOWN_WIDTH = 80  # what rich assumes where neither a terminal nor COLUMNS tells
PIPE_WIDTH = 240
WIDE = 160


def run(tool: Callable[[argparse.Namespace, Settings], int], arguments: argparse.Namespace) -> int:
    """Read the settings and run a tool; an expected error is one line on stderr and an exit code."""
    name = Path(sys.argv[0]).stem
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal may not know every letter
    try:
        code = tool(arguments, load_settings())
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # the reader, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PROBLEM
    except SettingsError as error:
        return _complain(name, str(error), WRONG_USE)
    except Unprocessable as error:
        return _complain(name, error.detail, PROBLEM)
    except Unavailable as error:
        return _complain(name, str(error), PROBLEM)
    except KeyboardInterrupt:
        return INTERRUPTED


def _complain(name: str, text: str, code: int) -> int:
    print(f"{name}: {text}", file=sys.stderr)
    return code


def parser_of(description: str | None) -> argparse.ArgumentParser:
    """Return a parser that shows a module's docstring, its examples as they are, and knows --json."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON lines instead of tables")
    return parser


def positive(text: str) -> int:
    """Read an option's value as a whole number of 1 or more."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError("must be a whole number of 1 or more")
    return int(text)


def rest_of(settings: Settings) -> Rest:
    """Return the engine's REST API as the settings name it; connects on the first call."""
    login = Login(settings.camunda_auth_username, lambda: settings.secret_now("camunda_auth_password"))
    return Rest(Http(settings.camunda_base_url, login))


def broker_of(settings: Settings) -> Broker:
    """Return the address of the broker and our login there."""
    return Broker(
        host=settings.rabbitmq_host,
        port=settings.rabbitmq_port,
        virtual_host=settings.rabbitmq_virtual_host,
        username=settings.rabbitmq_username,
        read_password=lambda: settings.secret_now("rabbitmq_password"),
    )


def routing_of(settings: Settings) -> RoutingConfig:
    """Return the routing that the worker uses. Raises SettingsError."""
    return RoutingConfig.load(settings.routing_file, settings.camunda_lock_duration)


def topology_of(settings: Settings, routing: RoutingConfig) -> Topology:
    """Return what the worker wants to be on the broker."""
    return Topology.of(
        [system.name for system in routing.systems],
        routing.default.name,
        queue_type=settings.rabbitmq_queue_type,
        passive=settings.rabbitmq_topology == "passive",
    )


def show(rows: Sequence[dict[str, Any]], *, as_json: bool, title: str = "", empty: str = "Nothing there.") -> None:
    """Print rows with the same keys, as a table or as JSON lines."""
    if as_json:
        show_json(rows)
    elif rows:
        place = console()
        place.print(table_of(fitting(rows, place.width), title))
    else:
        print(empty)


def fitting(rows: Sequence[dict[str, Any]], width: int) -> list[dict[str, Any]]:
    """Return the rows as a table of that width can hold them: beside a task its instance is left out first."""
    leaves_out = {"instance"} if width < WIDE and "task" in rows[0] else set()
    return [{name: value for name, value in row.items() if name not in leaves_out} for row in rows]


def console() -> Console:
    """Return where tables go; in a pipe they are wide enough to keep an id in one line."""
    usual = Console()
    return usual if usual.is_terminal or usual.width != UNKNOWN_WIDTH else Console(width=PIPE_WIDTH)


def show_json(rows: Iterable[dict[str, Any]]) -> None:
    """Print one JSON object a line."""
    for row in rows:
        print(json.dumps(row, ensure_ascii=False, default=str), flush=True)  # somebody may wait for each line


def table_of(rows: Sequence[dict[str, Any]], title: str = "") -> Table:
    """Return a table with the rows' keys as its head; None is a dash."""
    table = Table(title=title or None, title_justify="left")
    for name in rows[0]:
        is_number = any(isinstance(row[name], int) for row in rows)
        justify: Literal["left", "right"] = "right" if is_number else "left"
        table.add_column(name.replace("_", " "), justify=justify, no_wrap=name in COPIED, overflow="fold")
    for row in rows:
        # Text, not markup: what comes from the engine may hold square brackets.
        table.add_row(*(Text("-" if value is None else str(value)) for value in row.values()))
    return table


def agreed(question: str, arguments: argparse.Namespace) -> bool:
    """Ask before acting, unless --yes was given; without a terminal only --yes counts as a yes."""
    if arguments.yes:
        return True
    if arguments.json or not sys.stdin.isatty():
        raise SettingsError("nothing was done: nobody can be asked here; add --yes to act without a question")
    try:
        return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:  # Ctrl-D
        return False
