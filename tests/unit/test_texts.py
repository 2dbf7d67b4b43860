"""Texts for people: every one in every language, and the language is the reader's."""

import argparse
import ast
import inspect
import re
import string
import time
from collections.abc import Iterator
from pathlib import Path

import polib
import pytest

from bridge import texts
from bridge.errors import Unavailable
from bridge.texts import (
    Said,
    gettext,
    grouped,
    in_language,
    language_of_environment,
    language_of_header,
    translated,
)
from tests import catalogues

OTHERS = [language for language in texts.LANGUAGES if language != texts.SOURCE]


def placeholders(text: str) -> list[str]:
    return sorted(name for _, name, _, _ in string.Formatter().parse(text) if name is not None)


def translations(entry: polib.POEntry) -> list[str]:
    return list(entry.msgstr_plural.values()) if entry.msgid_plural else [entry.msgstr]


def test_there_is_russian() -> None:
    assert "ru" in OTHERS


@pytest.mark.parametrize("language", OTHERS)
def test_a_catalogue_has_exactly_the_texts_of_the_code(language: str) -> None:
    known = {catalogues.key_of(entry) for entry in catalogues.catalogue_of(language)}

    assert known == catalogues.messages().keys(), "run ./run texts, and translate what is new"


def marked_texts(file: Path) -> Iterator[str]:
    """Yields what the code hands to a function of texts; all of a Said whose text stands elsewhere."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and (name := getattr(node.func, "id", "")) in catalogues.KEYWORDS:
            values = [one.value for one in node.args if isinstance(one, ast.Constant)]
            yield from (value for value in values if isinstance(value, str))
            if name == "Said" and not values:
                yield ast.unparse(node)


def test_every_text_that_is_marked_is_found() -> None:
    found = {text for message in catalogues.messages() for text in message}
    code = [file for file in catalogues.sources() if file.suffix == ".py"]

    assert {text for file in code for text in marked_texts(file)} - found == set()


def test_the_texts_of_argparse_are_its_own() -> None:
    source = inspect.getsource(argparse)

    assert [text for text in catalogues.ARGPARSE if text.replace("\n", "\\n") not in source] == []


@pytest.mark.parametrize("language", OTHERS)
def test_every_text_is_translated_in_all_its_forms(language: str) -> None:
    entries = catalogues.catalogue_of(language)

    assert [entry.msgid for entry in entries if entry.fuzzy or not all(translations(entry))] == []
    assert {len(entry.msgstr_plural) for entry in entries if entry.msgid_plural} <= {3}


@pytest.mark.parametrize("language", OTHERS)
def test_a_translation_has_the_placeholders_of_its_text(language: str) -> None:
    wrong = [
        (entry.msgid, translation)
        for entry in catalogues.catalogue_of(language)
        for translation in translations(entry)
        if placeholders(translation) != placeholders(entry.msgid_plural or entry.msgid)
    ]

    assert wrong == []


@pytest.mark.parametrize("language", OTHERS)
def test_a_command_and_a_name_are_the_same_in_every_language(language: str) -> None:
    named = re.compile(r"python tools/[a-z_]+\.py|--[a-z-]+|[A-Z]+_[A-Z_]+")
    wrong = [
        entry.msgid
        for entry in catalogues.catalogue_of(language)
        for translation in translations(entry)
        if set(named.findall(entry.msgid_plural or entry.msgid)) != set(named.findall(translation))
    ]

    assert wrong == []


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("ru-RU,ru;q=0.9,en-US;q=0.8,en;q=0.7", "ru"),
        ("en-US,en;q=0.9,ru;q=0.8", "en"),
        ("de, ru;q=0.5", "ru"),
        ("RU", "ru"),
        ("en;q=0.1, ru; q=0.2", "ru"),
        ("ru;q=0, en", "en"),
        ("ru;q=0", "en"),
        ("de", "en"),
        ("*", "en"),
        ("", "en"),
        (";q=;,,x y", "en"),
    ],
)
def test_a_browser_gets_the_language_that_it_likes_best(header: str, language: str) -> None:
    assert language_of_header(header) == language


@pytest.mark.parametrize("part", ["a", "a-", "ru ", "ru;q=0.1", "ru;", ",", ";q=1."])
def test_a_long_header_costs_next_to_nothing(part: str) -> None:
    begun = time.process_time()

    language_of_header(part * 10_000 + "!")

    assert time.process_time() - begun < 1


@pytest.mark.parametrize(
    ("environment", "language"),
    [
        ({"LANG": "ru_RU.UTF-8"}, "ru"),
        ({"LANG": "ru"}, "ru"),
        ({"LANG": "ru_RU.UTF-8", "LC_MESSAGES": "en_GB.UTF-8"}, "en"),
        ({"LANG": "en_US.UTF-8", "LC_MESSAGES": "C", "LC_ALL": "ru_RU"}, "ru"),
        ({"LANG": "ru_RU.UTF-8", "LC_ALL": ""}, "ru"),
        ({"LANG": "C.UTF-8"}, "en"),
        ({}, "en"),
    ],
)
def test_a_terminal_gets_the_language_of_its_locale(environment: dict[str, str], language: str) -> None:
    assert language_of_environment(environment) == language


def test_a_language_is_spoken_only_where_it_was_chosen() -> None:
    said = Said("{queue} took no message lately", queue="1c.queue")

    with in_language("ru"):
        russian, number = translated(said), grouped(12_704)

    assert said == "1c.queue took no message lately"
    assert re.search("1c.queue.*[а-я]", russian)
    assert number == "12\N{NO-BREAK SPACE}704"
    assert (translated(said), grouped(12_704)) == ("1c.queue took no message lately", "12,704")


def test_an_error_says_what_can_be_translated() -> None:
    told = str(Unavailable(Said("no engine at CAMUNDA_BASE_URL {url}: {reason}", url="/", reason=Said("publish"))))

    with in_language("ru"):
        assert re.search("^нет движка.*: опубликовать$", translated(told))
    assert told == "no engine at CAMUNDA_BASE_URL /: publish"


def test_what_nobody_marked_stays_as_it_is() -> None:
    with in_language("ru"):
        assert (translated("Connection refused"), gettext("no such text")) == (
            "Connection refused",
            "no such text",
        )
