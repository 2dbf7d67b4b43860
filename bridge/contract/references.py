"""Variables whose value no message carries: what is sent instead, and where the engine serves it."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from bridge.contract.variables import BY_REFERENCE, Variables, is_reference
from bridge.contract.wire import encode_json

LARGE_CHARACTERS = 4000  # what is shorter is not worth a call of the system's at the engine
ENVELOPE_BYTES = 100  # of a reference, beside its URL and its name


def has_path(name: str) -> bool:
    """Whether the path of a URL can hold a variable's name: servers refuse slashes there, also encoded ones."""
    return "/" not in name and "\\" not in name and name not in ("", ".", "..")


def variable_url(name: str, base_url: str, execution_id: str, ids: Mapping[str, str]) -> str | None:
    """Return the URL of a variable as a task sees it, None where its name needs an id that is not known.

    Below `/process-instance` the engine takes the id of any execution, and looks from there outwards, as it does
    for a fetch: what it finds is the value that the task sees, in whatever scope it is.
    """
    if has_path(name):
        return f"{base_url}/process-instance/{execution_id}/variables/{quote(name, safe='')}"
    return f"{base_url}/variable-instance/{ids[name]}" if name in ids else None


def large(variables: Variables) -> list[str]:
    """Return the names of the variables that are worth a reference: their value is a long text of any type."""
    values = ((name, variable.get("value")) for name, variable in variables.items())
    return [name for name, value in values if isinstance(value, str) and len(value) >= LARGE_CHARACTERS]


def with_references(variables: Variables, urls: Mapping[str, str], excess_bytes: int) -> Variables:
    """Return the variables with references in place of the largest that have a URL, to save so many bytes."""
    sizes = {name: len(encode_json(variables[name]["value"])) for name in urls}
    replaced = {}
    for name in sorted(urls, key=sizes.__getitem__, reverse=True):
        if excess_bytes <= 0:
            break
        replaced[name] = _reference(variables[name])
        excess_bytes -= sizes[name] - len(urls[name]) - 2 * len(encode_json(name)) - ENVELOPE_BYTES
    return variables | replaced


def references(variables: Variables) -> list[str]:
    """Return the names of the variables of which a message holds the reference only."""
    return [
        name for name, variable in variables.items() if variable.get("value") is None and is_reference(variable)
    ]


def _reference(variable: dict[str, Any]) -> dict[str, Any]:
    return variable | {"value": None, "valueInfo": {**(variable.get("valueInfo") or {}), BY_REFERENCE: True}}
