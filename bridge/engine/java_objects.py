"""Lists and maps that the engine keeps as serialised Java: it can give them as JSON, one by one.

A fetch cannot (`deserializeValues`): one object whose class the engine lacks would fail all tasks of it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from bridge import clock
from bridge.contract import ExternalTask
from bridge.engine.http import Http
from bridge.errors import Unavailable

JAVA = "application/x-java-serialized-object"
COLLECTIONS = "java.util."  # every engine has these classes; of others it would log an error for each task
LONGEST_OBJECT = 100_000  # letters of base64; the message has to hold both forms
MOST_OBJECTS = 20
READ_SECONDS = 2.0  # the tasks are locked meanwhile


def with_object_values(http: Http, tasks: Sequence[ExternalTask]) -> list[ExternalTask]:
    """Return the tasks of one fetch with their lists and maps of Java as JSON.

    The leases of all of them go on meanwhile: what cannot be read in READ_SECONDS is left out.
    """
    ends = clock.now() + READ_SECONDS
    return [
        replace(task, object_values=values)
        if clock.now() < ends and (values := object_values(http, task))
        else task
        for task in tasks
    ]


def object_values(http: Http, task: ExternalTask) -> dict[str, Any]:
    """Return the task's lists and maps of Java by name, as JSON; what cannot be read is left out."""
    names = [name for name, variable in task.variables.items() if _is_collection(variable)]
    if not names:
        return {}
    try:
        read = {name: _read(http, str(task.fields.get("executionId")), name) for name in names[:MOST_OBJECTS]}
    except Unavailable:
        return {}
    return {name: value for name, value in read.items() if isinstance(value, list | dict)}


def _is_collection(variable: Mapping[str, Any]) -> bool:
    info, value = variable.get("valueInfo"), variable.get("value")
    return (
        isinstance(info, dict)
        and info.get("serializationDataFormat") == JAVA
        and str(info.get("objectTypeName")).startswith(COLLECTIONS)
        and isinstance(value, str)
        and len(value) <= LONGEST_OBJECT
    )


def _read(http: Http, execution_id: str, name: str) -> Any:
    """Return the value of a variable that is in sight of an execution, as a fetch sees it; None for none."""
    path = (
        f"/process-instance/{quote(execution_id, safe='')}/variables/{quote(name, safe='')}?deserializeValue=true"
    )
    reply = http.send("GET", path, timeout_seconds=READ_SECONDS)
    try:
        row = json.loads(reply.body) if reply.status == 200 else None
    except (ValueError, RecursionError):
        return None
    return row.get("value") if isinstance(row, dict) else None
