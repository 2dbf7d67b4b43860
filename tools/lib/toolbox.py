"""What the tools share: their clients, their exit codes, one clear line for each error, tables and JSON lines.

They speak the language of the terminal to people (LANG); what scripts read is the same in every language.
"""

import argparse
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from io import TextIOWrapper
from pathlib import Path
from typing import Any, NoReturn

from bridge.engine import Rest
from bridge.errors import SettingsError, Unavailable, Unprocessable
from bridge.process.shared import http_of
from bridge.texts import SOURCE, gettext, in_language, language, ngettext, translated
from config import Settings, load_settings, terminal_language
from tools.lib.layout import folded, say, show_rows

OK, PROBLEM, WRONG_USE = 0, 1, 2
INTERRUPTED = 130
LONGEST_LINE = 100
YES = ("y", "yes", "д", "да")

argparse._ = gettext  # type: ignore[attr-defined]  # what argparse says has its translations in our catalogues
argparse.ngettext = ngettext  # type: ignore[attr-defined]

Tool = Callable[[argparse.Namespace, Settings], int]


def start(main: Callable[[Sequence[str]], int]) -> NoReturn:
    """Run a tool's main function in the language of the terminal, and end with its exit code."""
    for stream in (sys.stdin, sys.stdout):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal may not know every letter
    with in_language(terminal_language()):
        sys.exit(main(sys.argv[1:]))


def run(tool: Tool, arguments: argparse.Namespace) -> int:
    """Read the settings and run a tool; an expected error is one line on stderr and an exit code."""
    with in_language(SOURCE if arguments.json else language()):
        return _run(tool, arguments)


def _run(tool: Tool, arguments: argparse.Namespace) -> int:
    name = Path(sys.argv[0]).stem
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
        text = gettext("{text!r:.80} holds half a character, which no text can")
        return _complain(name, text.format(text=error.object), WRONG_USE)
    except Unprocessable as error:
        return _complain(name, error.detail, PROBLEM)
    except Unavailable as error:
        return _complain(name, str(error), PROBLEM)
    except KeyboardInterrupt:
        return INTERRUPTED


def _complain(name: str, text: str, code: int) -> int:
    say(f"{name}: {translated(text)}", aside=True)
    return code


def parser_of(description: str | None) -> argparse.ArgumentParser:
    """Return a parser that shows a module's docstring, its examples as they are, and knows --json."""
    width = min(shutil.get_terminal_size().columns - 2, LONGEST_LINE)
    text = _described(description or "", width)
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help=gettext("print JSON lines instead of tables"))
    return parser


def paragraphs_of(description: str) -> Iterator[tuple[str, str]]:
    """Yield the prose of each paragraph in one line, and the examples below it, which are indented."""
    for paragraph in description.strip().split("\n\n"):
        prose, indent, examples = paragraph.partition("\n  ")
        yield " ".join(prose.split()), indent + examples


def _described(text: str, width: int) -> str:
    """Return text with its paragraphs translated, in lines of that width."""
    folded_paragraphs = (
        "\n".join(folded(gettext(prose), width)) + examples for prose, examples in paragraphs_of(text)
    )
    return "\n\n".join(folded_paragraphs)


def positive(text: str) -> int:
    """Read an option's value as a whole number of 1 or more."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(gettext("must be a whole number of 1 or more"))
    return int(text)


def rest_of(settings: Settings) -> Rest:
    """Return the engine's REST API as the settings name it; connects on the first call."""
    return Rest(http_of(settings))


def show(rows: Sequence[dict[str, Any]], *, as_json: bool, title: str = "", empty: str = "") -> None:
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
        told = gettext("nothing was done: nobody can be asked here; add --yes to act without a question")
        raise SettingsError(told)
    choice = gettext("[y/N]")
    try:
        return input(f"{question} {choice} ").strip().lower() in YES
    except EOFError:  # Ctrl-D
        return False
