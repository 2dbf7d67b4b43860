"""How the tools show rows to people: a table where it fits the terminal, else a block for each row.

Nothing that somebody may copy (an id, a name, a command) is ever cut or broken into two lines.
"""

import re
import shlex
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from bridge.texts import translated
from tools.lib.headings import heading

UNKNOWN_WIDTH = 80  # what rich assumes where neither a terminal nor COLUMNS tells
PIPE_WIDTH = 240
PROSE = ("message", "error", "detail", "problem", "why")  # may be folded between words
LEAST_PROSE = 24  # cells; narrower than that nobody likes to read it
FRAME = 3  # cells that each column needs besides
COMMAND = re.compile(
    r"(?:sudo |python (?:tools/|main)|camunda-worker-tool |rabbitmqctl [a-z]+_|systemctl |journalctl |openssl )"
    r"[^;)]*[^;) ]"
)
HARD_SPACE = "\N{NO-BREAK SPACE}"

Row = Mapping[str, Any]


def console() -> Console:
    """Return where tables go; in a pipe they are wide enough to keep an id in one line."""
    usual = Console()
    return usual if usual.is_terminal or usual.width != UNKNOWN_WIDTH else Console(width=PIPE_WIDTH)


def say(text: str, *, aside: bool = False) -> None:
    """Print a sentence, on a terminal folded between words; `aside`: on stderr."""
    place = Console(stderr=aside)
    if place.is_terminal:
        text = "\n".join(line for part in plain(text).splitlines() for line in folded(part, place.width))
    print(text, file=place.file)


def show_command(words: Sequence[str]) -> None:
    """Print a command for a shell, on a terminal in lines that fit and end in a backslash."""
    place = Console()
    print(*(folded_command(words, place.width) if place.is_terminal else [shlex.join(words)]), sep="\n")


def folded_command(words: Sequence[str], width: int) -> list[str]:
    """Return the lines of a command that a shell reads as one; a word that fits no line is in several quotes."""
    lines = [""]
    for word in words:
        first, *others = _quoted_pieces(word, width - 1)
        joined = f"{lines[-1]} {first}".lstrip()
        if cell_len(joined) <= width - len(" \\"):
            lines[-1] = joined
        else:
            lines[-1] += " \\"
            lines.append(first)
        for piece in others:
            lines[-1] += "\\"
            lines.append(piece)
    return lines


def _quoted_pieces(word: str, room: int) -> Iterator[str]:
    while cell_len(shlex.quote(word)) > room:
        most = next(size for size in range(len(word), 0, -1) if cell_len(shlex.quote(word[:size])) <= room)
        size = max(word.rfind("|", 0, most), word.rfind(" ", 0, most)) + 1 or most  # rather than within a name
        yield shlex.quote(word[:size])
        word = word[size:]
    yield shlex.quote(word)


def show_rows(rows: Sequence[Row], title: str = "") -> None:
    """Print rows with the same keys as a table, or as blocks where the terminal is too narrow for it."""
    place = console()
    place.print(layout_of(rows, place.width, title), crop=False)


def layout_of(rows: Sequence[Row], width: int, title: str = "") -> RenderableType:
    """Return rows with the same keys as a table, or as blocks where that width is too narrow for it."""
    if _least_width(rows) > width:
        rows = _without_empty(rows)
    if _least_width(rows) <= width:
        return table_of(rows, title)
    blocks = ("\n".join(block_of(row, width)) for row in rows)
    return Text("\n\n".join([*([title] if title else []), *blocks]), no_wrap=True, overflow="ignore")


def _without_empty(rows: Sequence[Row]) -> list[Row]:
    """Return the rows without what none of them has."""
    empty = {name for name in rows[0] if all(row[name] is None for row in rows)}
    return [{name: value for name, value in row.items() if name not in empty} for row in rows]


def _least_width(rows: Sequence[Row]) -> int:
    columns = ((name, [heading(name), *(_text(row[name]) for row in rows)]) for name in rows[0])
    widths = (min(LEAST_PROSE, _widest(texts)) if name in PROSE else _widest(texts) for name, texts in columns)
    return sum(width + FRAME for width in widths) + 1


def _widest(texts: Iterable[str]) -> int:
    return max(cell_len(line) for text in texts for line in text.splitlines() or [""])


def _text(value: object) -> str:
    return "-" if value is None else plain(translated(value) if isinstance(value, str) else str(value))


def plain(text: str) -> str:
    """Return what somebody else wrote without what would command the terminal."""
    return "".join(letter if letter.isprintable() or letter == "\n" else _escaped(letter) for letter in text)


def _escaped(letter: str) -> str:
    return " " if letter.isspace() else letter.encode("unicode_escape").decode()


def table_of(rows: Sequence[Row], title: str = "") -> Table:
    """Return a table with the rows' keys, in words, as its head; None is a dash."""
    table = Table(title=title or None, title_justify="left")
    for name in rows[0]:
        is_number = any(isinstance(row[name], int) for row in rows)
        justify: Literal["left", "right"] = "right" if is_number else "left"
        table.add_column(heading(name), justify=justify, no_wrap=name not in PROSE, overflow="fold")
    for row in rows:
        # Text, not markup: what comes from the engine may hold square brackets.
        table.add_row(*(Text(_text(value)) for value in row.values()))
    return table


def block_of(row: Row, width: int) -> Iterator[str]:
    """Yield the lines of one row: each name with its value, folded between words; an unbroken one stays whole."""
    margin = max(len(heading(name)) for name in row) + 2
    for name, value in row.items():
        yield from _folded(f"{heading(name):{margin}}", _text(value), width)


def _folded(head: str, text: str, width: int) -> Iterator[str]:
    """Yield a text beside its head; what is longer than its line alone begins a line of its own."""
    room = max(20, width - len(head))
    lines = [line for part in text.splitlines() or [""] for line in folded(part, room) or [""]]
    if any(cell_len(line) > room for line in lines):
        yield head.rstrip()
        yield from (f"  {line}" for part in text.splitlines() for line in folded(part, width - 2))
        return
    for place, line in enumerate(lines):
        yield (head if place == 0 else " " * len(head)) + line


def folded(text: str, width: int) -> list[str]:
    """Return a text in lines, broken between words, never within a command."""
    whole = COMMAND.sub(lambda found: found[0].replace(" ", HARD_SPACE), text)
    lines = textwrap.wrap(whole, width, break_long_words=False, break_on_hyphens=False)
    return [line.replace(HARD_SPACE, " ") for line in lines]
