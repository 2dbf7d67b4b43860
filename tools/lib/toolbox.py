"""What the tools share: their clients, their exit codes, one clear line for each error, tables and JSON lines."""

import argparse
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from io import TextIOWrapper
from pathlib import Path
from typing import Any

from bridge.engine import Rest
from bridge.errors import SettingsError, Unavailable, Unprocessable
from bridge.process.shared import http_of
from config import Settings, load_settings
from tools.lib.layout import folded, say, show_rows

OK, PROBLEM, WRONG_USE = 0, 1, 2
INTERRUPTED = 130
LONGEST_LINE = 100


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
    except UnicodeEncodeError as error:  # an argument that is no UTF-8, or JSON with half a character
        return _complain(name, f"{error.object!r:.80} holds half a character, which no text can", WRONG_USE)
    except Unprocessable as error:
        return _complain(name, error.detail, PROBLEM)
    except Unavailable as error:
        return _complain(name, str(error), PROBLEM)
    except KeyboardInterrupt:
        return INTERRUPTED


def _complain(name: str, text: str, code: int) -> int:
    say(f"{name}: {text}", aside=True)
    return code


def parser_of(description: str | None) -> argparse.ArgumentParser:
    """Return a parser that shows a module's docstring, its examples as they are, and knows --json."""
    width = min(shutil.get_terminal_size().columns - 2, LONGEST_LINE)
    text = _described(description or "", width)
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON lines instead of tables")
    return parser


def _described(text: str, width: int) -> str:
    """Return text with its paragraphs in lines of that width; examples, which are indented, stay as they are."""
    paragraphs = text.strip().split("\n\n")
    return "\n\n".join(one if "\n  " in one else "\n".join(folded(one, width)) for one in paragraphs)


def positive(text: str) -> int:
    """Read an option's value as a whole number of 1 or more."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError("must be a whole number of 1 or more")
    return int(text)


def rest_of(settings: Settings) -> Rest:
    """Return the engine's REST API as the settings name it; connects on the first call."""
    return Rest(http_of(settings))


def show(rows: Sequence[dict[str, Any]], *, as_json: bool, title: str = "", empty: str = "Nothing there.") -> None:
    """Print rows with the same keys, as a table or as JSON lines."""
    if as_json:
        show_json(rows)
    elif rows:
        show_rows(rows, title)
    else:
        print(empty)


def show_json(rows: Iterable[dict[str, Any]]) -> None:
    """Print one JSON object a line."""
    for row in rows:
        print(json.dumps(row, ensure_ascii=False, default=str), flush=True)  # somebody may wait for each line


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
