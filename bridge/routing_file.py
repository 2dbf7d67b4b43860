"""The routing file (TOML): read and checked, with errors that name the line and the value."""

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from bridge.errors import SettingsError
from bridge.routing import LONGEST_LOCK_MS, SHORTEST_LOCK_MS, System
from bridge.toml_lines import Place, lines_of

LockMs = Annotated[int, Field(ge=SHORTEST_LOCK_MS, le=LONGEST_LOCK_MS)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
Names = list[Annotated[str, Field(min_length=1)]]

WRONG_NAME = "is no system: letters, digits, - and _ only, in a table [systems.NAME]"
WRONG_VALUE = {
    "default_system": "is not the name of a system",
    "lock_duration": f"is not within {SHORTEST_LOCK_MS} to {LONGEST_LOCK_MS} (milliseconds: 10 s to 49 days)",
    "topics": "is not a list of texts",
    "patterns": "is not a list of texts",
    "users": "is not a list of texts",
    "long_text": 'is not "json"',
}


class _SystemTable(BaseModel):
    """A table [systems.NAME]."""

    model_config = ConfigDict(strict=True, extra="forbid")

    lock_duration: LockMs | None = None
    topics: Names = []
    patterns: Names = []
    users: Names = []
    long_text: Literal["json"] | None = None


class _RoutingFile(BaseModel):
    """The whole file."""

    model_config = ConfigDict(strict=True, extra="forbid")

    default_system: Name | None = None
    systems: dict[Name, _SystemTable] = Field(min_length=1)


def read_routing_file(path: Path, lock_ms: int, default_system: str) -> tuple[dict[str, System], str]:
    """Return the systems by name and the name of the default system.

    `lock_ms` and `default_system` hold where the file says nothing. Raises SettingsError that names the file,
    the line and the value.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")  # editors on Windows begin a file with a mark
        document = tomllib.loads(text)
    except (OSError, ValueError) as error:  # UnicodeDecodeError, TOMLDecodeError, or a number of too many digits
        raise SettingsError(f"ROUTING_FILE {path}: {error}") from error
    try:
        file = _RoutingFile.model_validate(document)
    except ValidationError as error:
        raise _refusal(path, text, _wrong_entries(error, document)) from None
    if shared := dict(_shared_topics(file)):
        raise _refusal(path, text, shared)
    systems = {name: _system(name, table, lock_ms) for name, table in file.systems.items()}
    return systems, file.default_system or default_system


def _system(name: str, table: _SystemTable, lock_ms: int) -> System:
    topics, patterns, users = (tuple(names) for names in (table.topics, table.patterns, table.users))
    return System(name, table.lock_duration or lock_ms, topics, patterns, users, table.long_text)


def _shared_topics(file: _RoutingFile) -> Iterator[tuple[Place, str]]:
    owners: dict[str, str] = {}
    for name, table in file.systems.items():
        for key, topics in (("topics", table.topics), ("patterns", table.patterns)):
            for index, topic in enumerate(topics):
                owner = owners.setdefault(topic, name)
                if owner != name:
                    yield ("systems", name, key, index), f'"{topic}" belongs to {owner} already'


def _wrong_entries(error: ValidationError, document: dict[str, Any]) -> dict[Place, str]:
    entries: dict[Place, str] = {}
    for item in error.errors():
        place, problem = _wrong_entry(item, document)
        entries.setdefault(place, problem)  # a list is wrong once, however many of its elements are
    return entries


def _wrong_entry(item: ErrorDetails, document: dict[str, Any]) -> tuple[Place, str]:
    match item["loc"]:
        case ("systems",) as place:
            return () if item["type"] == "missing" else place, "systems at least one [systems.NAME] is needed"
        case (key,) as place if item["type"] == "extra_forbidden":
            return place, f"{key} is not known; use default_system and [systems.NAME]"
        case (_, _, key) as place if item["type"] == "extra_forbidden":
            return place, f"{key} is not known; a system has {', '.join(sorted(_SystemTable.model_fields))}"
        case (_, name) | (_, name, "[key]"):
            return ("systems", name), f"{name} {name!r} {WRONG_NAME}"
    place = item["loc"][:3]  # what stands deeper is an element of a list
    value: Any = document
    for key in place:
        value = value[key]
    return place, f"{place[-1]} {value!r} {WRONG_VALUE[str(place[-1])]}"


def _refusal(path: Path, text: str, problems: dict[Place, str]) -> SettingsError:
    lines = lines_of(text)
    ordered = sorted(problems.items(), key=lambda item: lines.get(item[0], 0))
    sentences = (f"{_where(place, lines)}: {problem}" for place, problem in ordered)
    return SettingsError(f"ROUTING_FILE {path}, {'; '.join(sentences)}")


def _where(place: Place, lines: dict[Place, int]) -> str:
    """Return the line, or the keys where it is not known: no line is better than a wrong one."""
    return f"line {lines[place]}" if place in lines else ".".join(str(key) for key in place)
