"""The engine's variable instances, and the scopes that they are in."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

from bridge.contract import encode_json
from bridge.contract.fields import text
from bridge.engine.http import Http, Reply
from bridge.engine.replies import usable
from bridge.engine.rows import readable
from bridge.engine.verdict import Verdict, judge
from bridge.errors import Unprocessable

CALL_TIMEOUT_SECONDS = 10.0  # a lease runs meanwhile
MOST_ROWS = 1000
REFUSALS = (400, 403)


@dataclass(frozen=True, slots=True)
class StoredVariable:
    """A variable of that name in one scope of a process instance; a scope is named by its activity instance."""

    id: str
    process_instance_id: str
    scope: str

    @classmethod
    def from_engine(cls, row: dict[str, Any]) -> Self:
        """Build it from the engine's JSON object. Raises KeyError or ValueError where it is none."""
        return cls(text(row, "id"), text(row, "processInstanceId"), text(row, "activityInstanceId"))


class StoredVariables:
    """Finds variables at the engine.

    Raises Unavailable where no engine answers, and Unprocessable with the engine's own words where it refuses.
    """

    def __init__(self, http: Http) -> None:
        self._http = http

    def named(self, name: str, process_instance_ids: Sequence[str]) -> list[StoredVariable]:
        """Return the variables of that name in these process instances, whatever their scope."""
        query = {"variableName": name, "processInstanceIdIn": list(process_instance_ids)}
        path = f"/variable-instance?deserializeValues=false&maxResults={MOST_ROWS}"
        rows = self._usable(self._send("POST", path, encode_json(query)), list)
        if len(rows) == MOST_ROWS:
            raise Unprocessable("invalid", f"more than {MOST_ROWS} variables have the name {name!r:.80}")
        return readable("variable-instance", StoredVariable.from_engine, rows)

    def parents(self, process_instance_id: str) -> dict[str, str]:
        """Return by each scope of a process instance the one around it."""
        path = f"/process-instance/{process_instance_id}/activity-instances"
        return dict(_parents(self._usable(self._send("GET", path), dict)))

    def _send(self, method: str, path: str, body: bytes | None = None) -> Reply:
        return self._http.send(method, path, body, timeout_seconds=CALL_TIMEOUT_SECONDS)

    def _usable(self, reply: Reply, wanted: Any) -> Any:
        answer = judge(reply.status, reply.body)
        if reply.status in REFUSALS and answer.verdict is not Verdict.AWAY:
            raise Unprocessable("rejected_by_engine", answer.detail)
        return usable(self._http.base_url, reply, wanted)


def _parents(tree: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield each activity instance of a tree with the one around it."""
    waiting = [tree]
    while waiting:
        instance = waiting.pop()
        children = instance.get("childActivityInstances") or []
        yield from ((child["id"], instance["id"]) for child in children)
        waiting += children
