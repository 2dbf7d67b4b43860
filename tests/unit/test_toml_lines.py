"""Where the entries of a TOML text stand."""

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.toml_lines import Place, lines_of

ROOT = Path(__file__).resolve().parents[2]
NOISE = ["", "# [a]", "  # k0 = 'v' \"", "\t"]
VALUES = [
    "1.5e3",
    "1979-05-27 07:32:00",
    "true # k0 = 1",
    "'#'",
    r'"\"\\"',
    '""',
    "''",
    '"""\nk0 = 1\n""\\""""""',
    "'''\n[k0]'''''",
    "[[1, [2]], # ]\n [], ]",
    "{ 'x' = [\n], y.z = {} }",
]


@pytest.mark.parametrize(
    ("text", "place", "line"),
    [
        ("", (), 1),
        ("\n[a.b]\nc = 1", ("a",), 2),
        ("\n[a.b]\nc = 1", ("a", "b"), 2),
        ("\n[a.b]\nc = 1", ("a", "b", "c"), 3),
        ("[a]\nb.c = 1\nb.d = 2", ("a", "b"), 2),
        ("[a]\nb.c = 1\nb.d = 2", ("a", "b", "d"), 3),
        ("[ a . \"b.c\" . 'd' ] # [e]", ("a", "b.c", "d"), 1),
        ("a = [\n  1,\n  # 2,\n  [2,\n3]]", ("a", 1), 4),
        ("a = [\n  1,\n  # 2,\n  [2,\n3]]", ("a", 1, 1), 5),
        ("a = [{b = [\n1]}, {b = 2}]", ("a", 1, "b"), 2),
        ("[[a]]\nb = 1\n[[a]]\nb = 2", ("a",), 1),
        ('a = """x\n\\"""\nb = 1"""\nb = 2', ("b",), 4),
        ('a = """x\n"""""\nb = 2', ("b",), 3),
        ("a = '''\n\\'''\nb = 2", ("b",), 3),
    ],
)
def test_an_entry_is_found_where_it_begins(text: str, place: Place, line: int) -> None:
    tomllib.loads(text)  # good TOML

    assert lines_of(text)[place] == line


@given(st.lists(st.tuples(st.sampled_from(NOISE), st.sampled_from(VALUES)), max_size=8))
def test_a_key_is_found_whatever_stands_before_it(entries: list[tuple[str, str]]) -> None:
    text, expected = "", {}
    for number, (noise, value) in enumerate(entries):
        expected[f"k{number}",] = text.count("\n") + 2
        text += f"{noise}\nk{number} = {value}\n"

    lines = lines_of(text)

    assert {place: lines[place] for place in expected} == expected
    assert lines.keys() == set(places_in(tomllib.loads(text)))


def places_in(entry: Any, place: Place = ()) -> Iterator[Place]:
    yield place
    if isinstance(entry, dict | list):
        for key, value in entry.items() if isinstance(entry, dict) else enumerate(entry):
            yield from places_in(value, (*place, key))


def test_every_entry_of_the_example_is_found() -> None:
    text = (ROOT / "routing.example.toml").read_text(encoding="utf-8")

    assert lines_of(text).keys() == set(places_in(tomllib.loads(text)))
