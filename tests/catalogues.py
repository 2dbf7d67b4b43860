"""Brings the catalogues of the languages up to date with the texts in the code: `./run texts`.

The help of a tool is the docstring of its module, a text for each paragraph; its examples are not translated.

New texts are added without a translation, what is no longer used goes; tests/unit/test_texts.py finds what is left
to translate.
"""

import ast
import io
import sys
from collections.abc import Iterator
from pathlib import Path

import polib
from babel.messages.extract import extract
from bottle import SimpleTemplate

from bridge import texts
from tools.lib.toolbox import paragraphs_of

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ("*.py", "bridge/**/*.py", "bridge/**/*.tpl", "tools/**/*.py")
KEYWORDS = {"_": None, "gettext": None, "ngettext": (1, 2), "pgettext": ((1, "c"), 2), "Said": None}
IS_HELP = "parser_of(__doc__)"
# What people read of argparse, which asks gettext for it.
ARGPARSE = (
    "usage: ",
    "positional arguments",
    "options",
    "show this help message and exit",
    "%(prog)s: error: %(message)s\n",
    "argument %(argument_name)s: %(message)s",
    "the following arguments are required: %s",
    "unrecognized arguments: %s",
    "not allowed with argument %s",
    "expected one argument",
    "invalid choice: %(value)r (choose from %(choices)s)",
    "ambiguous option: %(option)s could match %(matches)s",
    "ignored explicit argument %r",
)

Message = tuple[str, str, str]  # context, singular and plural; empty where there is none


def messages() -> dict[Message, str]:
    """Return every text that the code marks as one for people, each with the first file that has it."""
    found: dict[Message, str] = {("", text, ""): "argparse" for text in ARGPARSE}
    for file in sources():
        for message in _messages_in(_code_of(file)):
            found.setdefault(message, str(file.relative_to(ROOT)))
    return found


def sources() -> list[Path]:
    """Return the files that may have a text for people."""
    return sorted({file for pattern in SOURCES for file in ROOT.glob(pattern)})


def _code_of(file: Path) -> str:
    source = file.read_text(encoding="utf-8")
    return SimpleTemplate(source).code if file.suffix == ".tpl" else source


def _messages_in(code: str) -> Iterator[Message]:
    for _, message, _, context in extract("python", io.BytesIO(code.encode()), KEYWORDS):
        singular, plural = message if isinstance(message, tuple) else (message, "")
        yield context or "", singular, plural
    if IS_HELP in code:
        for prose, _ in paragraphs_of(ast.get_docstring(ast.parse(code)) or ""):
            yield "", prose, ""


def key_of(entry: polib.POEntry) -> Message:
    """Return what an entry of a catalogue translates."""
    return entry.msgctxt or "", entry.msgid, entry.msgid_plural


def catalogue_of(language: str) -> polib.POFile:
    """Return the catalogue of a language as it lies in the repository."""
    return polib.pofile(str(texts.CATALOGUES / f"{language}.po"), wrapwidth=0)


def update(language: str) -> int:
    """Write the catalogue anew, in the order of the texts; return how many have no translation yet."""
    catalogue = catalogue_of(language)
    known = {key_of(entry): entry for entry in catalogue}
    catalogue.clear()
    for message, file in sorted(messages().items()):
        context, singular, plural = message
        new = polib.POEntry(msgctxt=context or None, msgid=singular, msgid_plural=plural)
        entry = known.get(message, new)
        if plural and not entry.msgstr_plural:
            entry.msgstr_plural = dict.fromkeys(range(3), "")
        entry.occurrences = [(file, "")]
        catalogue.append(entry)
    catalogue.save()
    return len(catalogue.untranslated_entries())


if __name__ == "__main__":
    missing = {language: update(language) for language in texts.LANGUAGES if language != texts.SOURCE}
    for name, count in missing.items():
        print(f"{texts.CATALOGUES / name}.po: {count} without a translation")
    sys.exit(any(missing.values()))
