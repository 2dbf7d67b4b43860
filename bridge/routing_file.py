"""The routing file (TOML): read and checked, with errors that name the line and the value."""

import re
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

from bridge.errors import SettingsError
from bridge.routing import LONGEST_LOCK_MS, SHORTEST_LOCK_MS, System

COMMENT = re.compile(r"""("(?:\\.|[^"\\])*"|'[^']*')|#.*""")

Place = tuple[str, ...]  # the keys that lead to an entry


def read_routing_file(path: Path, lock_ms: int, default_system: str) -> tuple[dict[str, System], str]:
    """Return the systems by name and the name of the default system.

    `lock_ms` and `default_system` hold where the file says nothing. Raises SettingsError that names the file,
    the line and the value.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")  # editors on Windows begin a file with a mark
        document = tomllib.loads(text)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"ROUTING_FILE {path}: {error}") from error
    file = _RoutingFile(path, text, lock_ms)
    return file.systems(document), file.default_system(document, default_system)


class _RoutingFile:
    """The checks of one routing file; every error names the line."""

    NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
    KEYS = frozenset({"topics", "patterns", "lock_duration", "users"})

    def __init__(self, path: Path, text: str, lock_ms: int) -> None:
        self._path = path
        self._lines = text.splitlines()
        self._lock_ms = lock_ms

    def systems(self, document: dict[str, Any]) -> dict[str, System]:
        for key in document.keys() - {"default_system", "systems"}:
            self._refuse((key,), "is not known; use default_system and [systems.NAME]")
        tables = document.get("systems", {})
        if not isinstance(tables, dict) or not tables:
            self._refuse(("systems",), "at least one [systems.NAME] is needed")
        found = {name: self._system(name, table) for name, table in tables.items()}
        self._refuse_shared_topics(found.values())
        return found

    def default_system(self, document: dict[str, Any], default: str) -> str:
        name = document.get("default_system", default)
        if not isinstance(name, str) or not self.NAME.fullmatch(name):
            self._refuse(("default_system",), f"{name!r} is not the name of a system")
        return name

    def _system(self, name: str, table: object) -> System:
        place = ("systems", name)
        if not self.NAME.fullmatch(name) or not isinstance(table, dict):
            problem = f"{name!r} is no system: letters, digits, - and _ only, in a table [systems.NAME]"
            self._refuse(place, problem)
        for key in table.keys() - self.KEYS:
            self._refuse((*place, key), f"is not known; a system has {', '.join(sorted(self.KEYS))}")
        lock_ms = table.get("lock_duration", self._lock_ms)
        if type(lock_ms) is not int or not SHORTEST_LOCK_MS <= lock_ms <= LONGEST_LOCK_MS:
            wanted = f"{SHORTEST_LOCK_MS} to {LONGEST_LOCK_MS} (milliseconds: 10 s to 49 days)"
            self._refuse((*place, "lock_duration"), f"{lock_ms!r} is not within {wanted}")
        lists = (self._names(table, (*place, key)) for key in ("topics", "patterns", "users"))
        return System(name, lock_ms, *lists)

    def _names(self, table: dict[str, Any], place: Place) -> tuple[str, ...]:
        names = table.get(place[-1], [])
        if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
            self._refuse(place, f"{names!r} is not a list of texts")
        return tuple(names)

    def _refuse_shared_topics(self, systems: Iterable[System]) -> None:
        owners: dict[str, str] = {}
        for system in systems:
            for key, topics in (("topics", system.topics), ("patterns", system.patterns)):
                for topic in topics:
                    if owners.setdefault(topic, system.name) != system.name:
                        problem = f"belongs to {owners[topic]} already"
                        self._refuse(("systems", system.name, key), problem, value=topic)

    def _refuse(self, place: Place, problem: str, *, value: str = "") -> NoReturn:
        shown = f'"{value}"' if value else place[-1]
        raise SettingsError(f"ROUTING_FILE {self._path}, line {self._line_of(place, value)}: {shown} {problem}")

    def _line_of(self, place: Place, value: str) -> int:
        """Return the line where an entry begins, or a text in it stands; tomllib keeps no positions.

        The entry is in the first lines that make a document with it: so no comment and no other table is taken
        for it.
        """
        before = 0
        for count in range(1, len(self._lines) + 1):
            try:
                document = tomllib.loads("\n".join(self._lines[:count]))
            except tomllib.TOMLDecodeError:  # in the middle of an entry
                continue
            if _has(document, place):
                return self._line_of_value(value, before, count)
            before = count
        return 1

    def _line_of_value(self, value: str, before: int, last: int) -> int:
        texts = (f'"{value}"', f"'{value}'") if value else ("",)
        for number in range(before, last):
            line = COMMENT.sub(r"\1", self._lines[number])
            if any(text in line for text in texts):
                return number + 1
        return before + 1


def _has(document: object, place: Place) -> bool:
    for key in place:
        if not isinstance(document, dict) or key not in document:
            return False
        document = document[key]
    return True
