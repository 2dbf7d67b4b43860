"""Reading and changing what the engine has, for the calls that only the tools need."""

from typing import Any
from urllib.parse import urlencode

from bridge.contract import encode_json
from bridge.engine.http import Http, Reply
from bridge.engine.replies import usable
from bridge.engine.verdict import engine_error
from bridge.errors import Unavailable, Unprocessable
from bridge.texts import Said

CALL_TIMEOUT_SECONDS = 30.0
PAGE = 500

Row = dict[str, Any]


class Rest:
    """Calls below the engine's base URL.

    Every call raises Unavailable where no engine answers, LoginRefused where it refuses our login, and
    Unprocessable with the engine's own words where what is asked for does not exist or is not allowed.
    """

    def __init__(self, http: Http) -> None:
        self.http = http

    def read(self, path: str, **query: object) -> Row:
        """Return the JSON object at `path`."""
        return dict(self._usable(self._send("GET", path, None, query), dict))

    def rows(self, path: str, **query: object) -> list[Row]:
        """Return the JSON array at `path`."""
        return list(self._usable(self._send("GET", path, None, query), list))

    def pages(self, path: str, body: Row | None, *, limit: int, **query: object) -> list[Row]:
        """Return up to `limit` rows, a page at a time; with a body the query is a POST."""
        rows: list[Row] = []
        while len(rows) < limit:
            size = min(PAGE, limit - len(rows))
            page = {**query, "firstResult": len(rows), "maxResults": size}
            found = self._usable(self._send("GET" if body is None else "POST", path, body, page), list)
            rows += found
            if len(found) < size:
                break
        return rows

    def count(self, path: str, body: Row) -> int:
        """Return how many rows a query has."""
        number = self._usable(self._send("POST", path, body), dict).get("count")
        if not isinstance(number, int):
            text = Said(
                "no engine at CAMUNDA_BASE_URL {url}: {path} tells no number", url=self.http.base_url, path=path
            )
            raise Unavailable(text)
        return number

    def act(self, method: str, path: str, body: Row) -> Row:
        """Do one call and return what the engine says; empty where it says nothing."""
        reply = self._send(method, path, body)
        return {} if reply.status == 204 else dict(self._usable(reply, dict))

    def _send(self, method: str, path: str, body: Row | None, query: Row | None = None) -> Reply:
        given = {name: value for name, value in (query or {}).items() if value is not None}
        target = f"{path}?{urlencode(given)}" if given else path
        content = None if body is None else encode_json(body)
        return self.http.send(method, target, content, timeout_seconds=CALL_TIMEOUT_SECONDS)

    def _usable(self, reply: Reply, wanted: Any) -> Any:
        error = engine_error(reply.body) if reply.status not in (200, 401) else {}
        if error:
            told = Said("the engine says {status}: {message}", status=reply.status, message=error["message"])
            raise Unprocessable("rejected_by_engine", told)
        return usable(self.http.base_url, reply, wanted)
