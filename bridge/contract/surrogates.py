"""Half a character: JSON can spell one, and UTF-8 cannot hold it."""

import json
from collections.abc import Iterator
from typing import Any


def half_a_character(body: bytes) -> str:
    """Return in which variable of an answer half a character stands; empty where there is none in it."""
    try:
        place = next((place for place, text in _texts(json.loads(body)) if not _is_whole(text)), None)
    except (ValueError, RecursionError):
        return ""
    return "" if place is None else f"{place}: half a character (a lone surrogate), which no UTF-8 text holds"


def _texts(document: Any) -> Iterator[tuple[str, str]]:
    """Yield the texts of an answer with their places; whole variables are taken as their JSON."""
    for key, value in document.items() if isinstance(document, dict) else ():
        if key in ("variables", "local_variables") and isinstance(value, dict):
            yield from (
                (f"variable {name!r:.80}", json.dumps([name, one], ensure_ascii=False))
                for name, one in value.items()
            )
        else:
            yield f"{key!r:.80}", json.dumps([key, value], ensure_ascii=False)


def _is_whole(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
