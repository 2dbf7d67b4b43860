"""The routing file (TOML): read and checked, with errors that name the line and the value."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from bridge.errors import SettingsError
from bridge.retry_policy import MOST_RETRIES, RetryPolicy
from bridge.routing import LONGEST_LOCK_MS, NO_TENANT, SHORTEST_LOCK_MS, LargeVariables, Selection, System
from bridge.toml_lines import Place, lines_of

PAUSE = re.compile(r"(\d{1,9})(ms|s|m|h|d)")
SHORT_STRING_BYTES = 255  # of a name, as AMQP writes it
RESERVED = ("amq.", "camunda.", "errors.camunda_tasks")
UNIT_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def _pause_ms(value: object) -> object:
    """Return the milliseconds of a pause such as `30s`; what is none is left as it is."""
    match = PAUSE.fullmatch(value) if isinstance(value, str) else None
    return int(match[1]) * UNIT_MS[match[2]] if match else value


def _short(text: str) -> str:
    if len(text.encode()) > SHORT_STRING_BYTES:
        raise ValueError(f"has more than {SHORT_STRING_BYTES} bytes")
    return text


def _of_system(queue: str) -> str:
    if queue.startswith(RESERVED):
        raise ValueError("is a queue of the broker's or the worker's own")
    return _short(queue)


LockMs = Annotated[int, Field(ge=SHORTEST_LOCK_MS, le=LONGEST_LOCK_MS)]
PauseMs = Annotated[int, BeforeValidator(_pause_ms), Field(ge=0, le=LONGEST_LOCK_MS)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
Text = Annotated[str, Field(min_length=1)]
QueueName = Annotated[str, Field(min_length=1), AfterValidator(_of_system)]
Argument = str | Annotated[int, Field(ge=-(2**63), lt=2**63)] | bool
Names = list[Text]

WRONG_NAME = "is no system: letters, digits, - and _ only, in a table [systems.NAME]"
NO_TEXTS = "is not a list of texts"
NO_SWITCH = "is neither true nor false"
WRONG_VALUE = {
    "default_system": "is not the name of a system",
    "large_variables": 'is neither "incident" nor "reference"',
    "lock_duration": f"is not within {SHORTEST_LOCK_MS} to {LONGEST_LOCK_MS} (milliseconds: 10 s to 49 days)",
    "topics": NO_TEXTS,
    "patterns": NO_TEXTS,
    "users": NO_TEXTS,
    "variables": NO_TEXTS,
    "local_variables_only": NO_SWITCH,
    "process_keys": NO_TEXTS,
    "version_tag": "is no text",
    "business_key": "is no text",
    "tenants": 'is neither a list of texts nor "none"',
    "retries": f"is not within 0 to {MOST_RETRIES}",
    "retry_pauses": 'is no list of pauses such as ["30s", "5m", "1h"], each at most 49 days',
    "max_in_flight": "is no number from 1 on",
    "queue": f"is no name of a queue that a system may have, or has more than {SHORT_STRING_BYTES} bytes",
    "declare": NO_SWITCH,
    "queue_arguments": "is no table such as {x-max-priority = 10}, with short names and numbers of 64 bits",
    "priority": NO_SWITCH,
    "cancellations": NO_SWITCH,
    "long_text": 'is not "json"',
}


class _SystemTable(BaseModel):
    """A table [systems.NAME]."""

    model_config = ConfigDict(strict=True, extra="forbid")

    lock_duration: LockMs | None = None
    topics: Names = []
    patterns: Names = []
    users: Names = []
    variables: Names | None = None
    local_variables_only: bool = False
    process_keys: Names = []
    version_tag: Text | None = None
    business_key: Text | None = None
    tenants: Literal["none"] | Names | None = None
    retries: Annotated[int, Field(ge=0, le=MOST_RETRIES)] | None = None
    retry_pauses: Annotated[list[PauseMs], Field(min_length=1)] | None = None
    max_in_flight: Annotated[int, Field(ge=1)] | None = None
    queue: QueueName | None = None
    declare: bool = True
    queue_arguments: dict[Annotated[str, AfterValidator(_short)], Argument] = {}
    priority: bool = False
    cancellations: bool = False
    large_variables: LargeVariables = "incident"
    long_text: Literal["json"] | None = None


class _RoutingFile(BaseModel):
    """The whole file."""

    model_config = ConfigDict(strict=True, extra="forbid")

    default_system: Name | None = None
    systems: dict[Name, _SystemTable] = Field(min_length=1)


def read_routing_file(path: Path, usual: System) -> tuple[dict[str, System], str]:
    """Return the systems by name and the name of the default system.

    `usual`: the default system where the file names no other; its lock and retry policy hold where a table says
    nothing. Raises SettingsError that names the file, the line and the value.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")  # editors on Windows begin a file with a mark
        document = tomllib.loads(text)
    # UnicodeDecodeError, TOMLDecodeError, a number of too many digits; lists in lists in lists ...
    except (OSError, ValueError, RecursionError) as error:
        raise SettingsError(f"ROUTING_FILE {path}: {error}") from error
    try:
        file = _RoutingFile.model_validate(document)
    except ValidationError as error:
        raise _refusal(path, text, _wrong_entries(error, document)) from None
    systems = {name: _system(name, table, usual) for name, table in file.systems.items()}
    if problems := dict([*_shared_names(systems), *_shared_queues(systems)]):
        raise _refusal(path, text, problems)
    return systems, file.default_system or usual.name


def _system(name: str, table: _SystemTable, usual: System) -> System:
    return System(
        name,
        table.lock_duration or usual.lock_ms,
        tuple(table.topics),
        tuple(table.patterns),
        tuple(table.users),
        selection=_selection(table),
        retry=RetryPolicy(
            usual.retry.retries if table.retries is None else table.retries,
            tuple(table.retry_pauses or usual.retry.pauses_ms),
        ),
        max_in_flight=table.max_in_flight,
        own_queue=table.queue or "",
        declares_queue=table.declare,
        queue_arguments=table.queue_arguments,
        sends_priority=table.priority,
        tells_cancelled=table.cancellations,
        large_variables=table.large_variables,
        long_text=table.long_text,
    )


def _selection(table: _SystemTable) -> Selection:
    return Selection(
        variables=None if table.variables is None else tuple(table.variables),
        local_variables_only=table.local_variables_only,
        process_keys=tuple(table.process_keys),
        version_tag=table.version_tag,
        business_key=table.business_key,
        tenants=_tenants(table.tenants),
    )


def _tenants(given: Literal["none"] | Names | None) -> tuple[str, ...] | None:
    return (NO_TENANT,) if given == "none" else None if given is None else tuple(given)


def _shared_names(systems: dict[str, System]) -> Iterator[tuple[Place, str]]:
    """Yield the topics and patterns that two systems name though their tasks are not told apart."""
    owners: dict[str, list[System]] = {}
    for name, system in systems.items():
        for key, topics in (("topics", system.topics), ("patterns", system.patterns)):
            for index, topic in enumerate(topics):
                others = [owner for owner in owners.setdefault(topic, []) if owner is not system]
                if owner := next((one for one in others if not one.selection.excludes(system.selection)), None):
                    yield (
                        ("systems", name, key, index),
                        (
                            f'"{topic}" belongs to {owner.name} already; two systems may share it where each has '
                            "process_keys (or tenants) of its own"
                        ),
                    )
                owners[topic].append(system)


def _shared_queues(systems: dict[str, System]) -> Iterator[tuple[Place, str]]:
    """Yield the queues that two systems would read: none would get all of its tasks."""
    owners: dict[str, str] = {}
    for name, system in systems.items():
        owner = owners.setdefault(system.queue, name)
        if owner != name:
            place = ("systems", name, "queue") if system.own_queue else ("systems", name)
            yield place, f'queue "{system.queue}" is that of {owner} already'


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
