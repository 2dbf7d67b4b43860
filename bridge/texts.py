"""What people read, in their language: English stands in the code, any other in a catalogue (`locale/ru.po`).

All is English unless a language is chosen around it with `in_language`; logs, health checks and metrics choose
none. A text with values is `gettext("{queue} is empty").format(queue=queue)`; `ngettext` chooses by a number.
"""

import gettext as gnu
import io
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import Self

import polib

CATALOGUES = Path(__file__).parent / "locale"
SOURCE = "en"
LANGUAGES = (SOURCE, *sorted(file.stem for file in CATALOGUES.glob("*.po")))
# A language and its weight. No two parts of it may match the same letters: a long header must not cost long.
_LIKED = re.compile(r"([a-z]+)(?:-[a-z0-9-]*)?\s*(?:;\s*q=([01](?:\.\d+)?))?")

_language: ContextVar[str] = ContextVar("language", default=SOURCE)


@cache
def _translations(language: str) -> gnu.NullTranslations:
    if language == SOURCE:
        return gnu.NullTranslations()
    catalogue = polib.pofile(str(CATALOGUES / f"{language}.po"))
    return gnu.GNUTranslations(io.BytesIO(catalogue.to_binary()))


@contextmanager
def in_language(language: str) -> Iterator[None]:
    """Speak one of LANGUAGES within the block, on this thread."""
    token = _language.set(language)
    try:
        yield
    finally:
        _language.reset(token)


def language() -> str:
    """Return the language that is spoken here."""
    return _language.get()


def gettext(message: str) -> str:
    """Return a text in the language that is spoken here."""
    return _translations(language()).gettext(message)


def ngettext(singular: str, plural: str, number: int) -> str:
    """Return a text in the form that goes with this number."""
    return _translations(language()).ngettext(singular, plural, number)


def pgettext(context: str, message: str) -> str:
    """Return a text whose words mean something else, or have another form, in another context."""
    return _translations(language()).pgettext(context, message)


def grouped(number: int) -> str:
    """Return a number with its digits in groups of three, as the language writes it."""
    text = f"{number:,}"
    return text if language() == SOURCE else text.replace(",", "\N{NO-BREAK SPACE}")


class Said(str):
    """An English text, put together for a log or a page, that can be said in another language."""

    __slots__ = ("message", "values")
    message: str
    values: Mapping[str, object]

    def __new__(cls, message: str, /, **values: object) -> Self:
        """Fill the values into the message."""
        said = super().__new__(cls, message.format(**values))
        said.message, said.values = message, values
        return said

    def __str__(self) -> Self:
        """Stay one that can be translated, also as the text of an error: `str(error)`."""
        return self


def translated(text: str) -> str:
    """Return what was said in the language that is spoken here; any other text stays as it is."""
    if not isinstance(text, Said):
        return text
    values = {name: translated(value) if isinstance(value, str) else value for name, value in text.values.items()}
    return gettext(text.message).format(**values)


def language_of_header(accept_language: str) -> str:
    """Return the language that a browser likes best of those we have: `ru-RU,ru;q=0.9,en;q=0.8` is Russian."""
    found = (_LIKED.fullmatch(part.strip()) for part in accept_language.lower().split(","))
    liked = sorted(((float(one[2] or 1), one[1]) for one in found if one), key=lambda one: -one[0])
    return next((name for weight, name in liked if weight and name in LANGUAGES), SOURCE)


def language_of_environment(environment: Mapping[str, str]) -> str:
    """Return the language of a terminal by LC_ALL, LC_MESSAGES or LANG, such as `ru_RU.UTF-8`."""
    locale = next((value for name in ("LC_ALL", "LC_MESSAGES", "LANG") if (value := environment.get(name))), "")
    name = re.split(r"[_.@]", locale.lower())[0]
    return name if name in LANGUAGES else SOURCE
