"""Each document in two languages has the same headings, code and tables, so that neither is left behind."""

import re
from pathlib import Path

import pytest

DOCUMENTS = Path(__file__).resolve().parents[2]
PAIRS = [
    ("README.md", "README.ru.md"),
    ("docs/operations.md", "docs/operations.ru.md"),
    ("docs/partners.md", "docs/partners.ru.md"),
]
BLOCK = re.compile(r"^```(?P<language>\w*)\n(?P<code>.*?)^```$", re.DOTALL | re.MULTILINE)


def sections(document: str) -> list[str]:
    """Returns what is under each heading, beginning with the heading's level."""
    text = BLOCK.sub("", (DOCUMENTS / document).read_text(encoding="utf-8"))
    return re.split(r"^(?=#)", text, flags=re.MULTILINE)[1:]


def level(section: str) -> int:
    return len(section) - len(section.lstrip("#"))


def inline_code(text: str) -> list[str]:
    """Returns names and commands in backticks, which are the same in every language; their order may differ."""
    return sorted(re.findall(r"`([^`]+)`", text))


def rows(section: str) -> list[tuple[int, list[str]]]:
    """Returns each row of the tables: how many cells it has, and the code in it."""
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [(len(re.findall(r"(?<!\\)\|", line)), inline_code(line)) for line in lines]


def paragraphs(section: str) -> list[list[str]]:
    """Returns the code of each paragraph and each item of a list."""
    return [inline_code(line) for line in section.splitlines() if line and not line.startswith(("|", "#"))]


def code_blocks(document: str) -> list[tuple[str, str]]:
    """Returns the code without its comments, which are translated; diagrams are translated altogether."""
    text = (DOCUMENTS / document).read_text(encoding="utf-8")
    blocks = [(block["language"], block["code"]) for block in BLOCK.finditer(text)]
    return [(language, re.sub(r"\s*# .*", "", code)) for language, code in blocks if language != "mermaid"]


@pytest.mark.parametrize(("english", "russian"), PAIRS, ids=[pair[0] for pair in PAIRS])
def test_both_languages_have_the_same_headings_code_and_tables(english: str, russian: str) -> None:
    ours, theirs = sections(english), sections(russian)

    assert [level(section) for section in theirs] == [level(section) for section in ours]
    assert code_blocks(russian) == code_blocks(english)
    for one, other in zip(ours, theirs, strict=True):
        assert rows(other) == rows(one)
        assert paragraphs(other) == paragraphs(one)


@pytest.mark.parametrize("document", [name for pair in PAIRS for name in pair])
def test_each_link_leads_somewhere(document: str) -> None:
    text = (DOCUMENTS / document).read_text(encoding="utf-8")

    for path, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]*))?\)", text):
        target = (DOCUMENTS / document).parent / path if path else DOCUMENTS / document
        assert target.exists(), path
        if anchor:
            assert anchor in anchors(target), f"{path}#{anchor}"


def anchors(document: Path) -> list[str]:
    """Returns the anchors of the headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", BLOCK.sub("", document.read_text(encoding="utf-8")), flags=re.MULTILINE)
    return [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]
