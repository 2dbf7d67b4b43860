"""docs/partners.md names each property and header of a task message, and no other."""

import re
from pathlib import Path

import pytest

from tests.unit.test_contract import message

PAGE = (Path(__file__).resolve().parents[2] / "docs/partners.md").read_text(encoding="utf-8")


def named_in(table: str) -> set[str]:
    """Returns the names in the first column of the table after this mark."""
    [rows] = re.findall(rf"<!-- {table} -->\n\|.*\n\|-.*\n((?:\|.*\n)+)", PAGE)
    return {name for row in rows.splitlines() for name in re.findall(r"`([^`]+)`", row.split("|")[1])}


@pytest.mark.parametrize(
    ("table", "always", "at_times"),
    [
        ("properties", message().properties.keys(), {"priority"}),
        ("headers", message().headers.keys(), {"traceparent", "tracestate"}),
    ],
)
def test_the_page_names_what_is_around_the_body(table: str, always: set[str], at_times: set[str]) -> None:
    assert named_in(table) == set(always) | at_times
