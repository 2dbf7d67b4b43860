"""Brings the catalogues of the languages up to date with the texts in the code: `./run texts`.

New texts are added without a translation, what is no longer used goes; tests/unit/test_texts.py finds what is left
to translate.
"""

import io
import sys
from collections.abc import Iterator
from pathlib import Path

import polib
from babel.messages.extract import extract
from bottle import SimpleTemplate

from bridge import texts

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("bridge", "tools")
KEYWORDS = {"_": None, "gettext": None, "ngettext": (1, 2), "Said": None}

Message = tuple[str, str]  # singular and plural; the second is empty where no number decides


def messages() -> dict[Message, str]:
    """Return every text that the code marks as one for people, each with the first file that has it."""
    found: dict[Message, str] = {}
    for folder in FOLDERS:
        for file in sorted([*(ROOT / folder).rglob("*.py"), *(ROOT / folder).rglob("*.tpl")]):
            for message in _messages_in(_code_of(file)):
                found.setdefault(message, str(file.relative_to(ROOT)))
    return found


def _code_of(file: Path) -> str:
    source = file.read_text(encoding="utf-8")
    return SimpleTemplate(source).code if file.suffix == ".tpl" else source


def _messages_in(code: str) -> Iterator[Message]:
    for _, message, _, _ in extract("python", io.BytesIO(code.encode()), KEYWORDS):
        yield (message[0], message[1]) if isinstance(message, tuple) else (message, "")


def catalogue_of(language: str) -> polib.POFile:
    """Return the catalogue of a language as it lies in the repository."""
    return polib.pofile(str(texts.CATALOGUES / f"{language}.po"), wrapwidth=0)


def update(language: str) -> int:
    """Write the catalogue anew, in the order of the texts; return how many have no translation yet."""
    catalogue = catalogue_of(language)
    known = {(entry.msgid, entry.msgid_plural): entry for entry in catalogue}
    catalogue.clear()
    for (singular, plural), file in sorted(messages().items()):
        entry = known.get((singular, plural)) or polib.POEntry(msgid=singular, msgid_plural=plural)
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
