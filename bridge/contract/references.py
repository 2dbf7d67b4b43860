"""Where the engine serves the value of a variable that no message carries."""

from collections.abc import Mapping
from urllib.parse import quote


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
