"""Stand-ins of the APIs that the examples call: each checks what it is asked as its documentation says."""

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol
from urllib.parse import parse_qs, unquote, urlsplit

Reply = tuple[int, dict[str, Any]]


@dataclass(frozen=True)
class Call:
    """One request as it came, unquoted."""

    method: str
    path: str
    query: dict[str, str]
    login: str  # `user:password` of basic authentication, or empty
    body: Any


class Api(Protocol):
    """A stand-in: replies to a call, and knows by name all that was made here."""

    def __call__(self, call: Call) -> Reply: ...

    def made(self) -> list[str]: ...


class RemoteApi(ThreadingHTTPServer):
    """Answers with what an API's function returns; keeps each call with the status of its answer."""

    daemon_threads = True

    def __init__(self, api: Api) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.api = api
        self.calls: list[tuple[Call, int]] = []
        self.lock = threading.Lock()
        self.withheld, self.go_on = threading.Event(), threading.Event()
        self._withhold_at = 0

    def withhold_reply_to(self, number: int) -> None:
        """The thing of this number, from 1, is made, and its reply waits for `go_on`: nobody knows of it yet."""
        self._withhold_at = number

    def before_reply(self) -> None:
        if self._withhold_at and len(self.api.made()) >= self._withhold_at and not self.withheld.is_set():
            self.withheld.set()
            self.go_on.wait(60)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def bodies(self, status: int) -> list[Any]:
        """Returns the bodies of the writing calls that got this status."""
        return [call.body for call, code in self.calls if code == status and call.method == "POST"]


class _Handler(BaseHTTPRequestHandler):
    server: RemoteApi

    def do_GET(self) -> None:
        self._answer(None)

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        is_json = self.headers["Content-Type"].startswith("application/json")
        self._answer(json.loads(content) if is_json else content)

    def _answer(self, body: Any) -> None:
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        call = Call(self.command, unquote(parts.path), query, self._login(), body)
        with self.server.lock:
            status, answer = self.server.api(call)
            self.server.calls.append((call, status))
        if status < 300:
            self.server.before_reply()
        self._reply(status, json.dumps(answer).encode())

    def _reply(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        with suppress(ConnectionError):  # the caller was killed while its reply was withheld
            self.wfile.write(content)

    def _login(self) -> str:
        kind, _, value = self.headers.get("Authorization", "").partition(" ")
        return base64.b64decode(value).decode() if kind == "Basic" else ""

    def log_message(self, *_: object) -> None:
        """Prints nothing."""


@contextmanager
def remote_api(api: Api) -> Iterator[RemoteApi]:
    with RemoteApi(api) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


class Bitrix24:
    """`tasks.task.add` by an inbound webhook; a title that ends in 0 meets the limit of requests first."""

    WEBHOOK = "/rest/1/secret"

    def __init__(self) -> None:
        self.titles: list[str] = []
        self.limited: set[str] = set()

    def __call__(self, call: Call) -> Reply:
        if not call.path.startswith(f"{self.WEBHOOK}/"):
            return _bitrix_error(401, "INVALID_CREDENTIALS", "Invalid request credentials")
        if (call.method, call.path) == ("POST", f"{self.WEBHOOK}/tasks.task.list"):
            return self._list(call.body)
        if (call.method, call.path) != ("POST", f"{self.WEBHOOK}/tasks.task.add"):
            return _bitrix_error(404, "ERROR_METHOD_NOT_FOUND", "Method not found!")
        fields = call.body["fields"] if isinstance(call.body, dict) else {}
        title = fields.get("TITLE")
        if not title or not isinstance(fields.get("RESPONSIBLE_ID"), int):
            return _bitrix_error(400, "ERROR_CORE", "Не указано название задачи.")
        if name_of(title).endswith("0") and title not in self.limited:
            self.limited.add(title)
            return _bitrix_error(503, "QUERY_LIMIT_EXCEEDED", "Too many requests")
        self.titles.append(title)
        return 200, {"result": {"task": {"id": str(len(self.titles)), "title": title}}, "time": {}}

    def made(self) -> list[str]:
        return [name_of(title) for title in self.titles]

    def _list(self, body: Any) -> Reply:
        if body.keys() != {"filter", "select"} or body["filter"].keys() != {"TITLE"}:
            return _bitrix_error(400, "ERROR_ARGUMENT", "Unknown filter")
        wanted = body["filter"]["TITLE"]
        found = [{"id": str(number)} for number, title in enumerate(self.titles, 1) if title == wanted]
        return 200, {"result": {"tasks": found}, "total": len(found), "time": {}}


def name_of(title: str) -> str:
    """Returns a title without the engine's id in brackets."""
    return title.partition(" [")[0]


def _bitrix_error(status: int, code: str, description: str) -> Reply:
    return status, {"error": code, "error_description": description}


class OpenProject:
    """Projects and work packages of API v3; identifiers are unique."""

    LOGIN = "apikey:key"

    def __init__(self) -> None:
        self.projects: list[dict[str, Any]] = []
        self.packages: list[dict[str, Any]] = []

    def made(self) -> list[str]:
        return [project["identifier"] for project in self.projects] + [one["subject"] for one in self.packages]

    def __call__(self, call: Call) -> Reply:
        if call.login != self.LOGIN:
            return _hal_error(401, "Unauthenticated", "You need to be authenticated to access this resource.")
        if call.path == "/api/v3/projects":
            return self._project(call.body) if call.method == "POST" else _listed(self.projects, call)
        number = call.path.removeprefix("/api/v3/projects/").removesuffix("/work_packages")
        if number not in map(str, range(1, len(self.projects) + 1)):
            return _hal_error(404, "NotFound", "The requested resource could not be found.")
        return self._work_package(call.body) if call.method == "POST" else _listed(self.packages, call)

    def _project(self, body: Any) -> Reply:
        taken = [project["identifier"] for project in self.projects]
        if not body.get("name") or body["identifier"] in taken:
            return _hal_error(422, "PropertyConstraintViolation", "Identifier has already been taken.")
        self.projects.append({"_type": "Project", "id": len(self.projects) + 1, **body})
        return 201, self.projects[-1]

    def _work_package(self, body: Any) -> Reply:
        if not body.get("subject") or body["_links"]["type"]["href"] != "/api/v3/types/1":
            return _hal_error(422, "PropertyConstraintViolation", "Subject can't be blank.")
        self.packages.append({"_type": "WorkPackage", "id": len(self.packages) + 1, **body})
        return 201, self.packages[-1]


def _listed(rows: list[dict[str, Any]], call: Call) -> Reply:
    """Filters a collection as API v3 does: `~` is "contains"."""
    [condition] = json.loads(call.query["filters"])
    [(name, test)] = condition.items()
    fields = {"name_and_identifier": ("name", "identifier"), "description": ("description",)}.get(name)
    if fields is None or test["operator"] != "~":
        return _hal_error(400, "InvalidQuery", f"Filters {name} filter does not exist.")
    found = [row for row in rows if any(test["values"][0] in str(row.get(field)) for field in fields)]
    return 200, {"_type": "Collection", "total": len(found), "_embedded": {"elements": found}}


def _hal_error(status: int, code: str, message: str) -> Reply:
    identifier = f"urn:openproject-org:api:v3:errors:{code}"
    return status, {"_type": "Error", "errorIdentifier": identifier, "message": message}


class OneC:
    """The OData service of a 1C base; the answer to some calls is lost after the work was done."""

    LOGIN = "Администратор:пароль"
    PATH = "/base/odata/standard.odata/Catalog_Контрагенты"

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, Any]] = {}

    def made(self) -> list[str]:
        return [row["Code"] for row in self.rows.values()]

    def __call__(self, call: Call) -> Reply:
        if call.login != self.LOGIN:
            return 401, {}
        if call.path != self.PATH or call.query.get("$format") != "json":
            return _odata_error(404, 8, "Сущность не найдена")
        if call.method == "GET":
            code = call.query["$filter"].removeprefix("Code eq '").removesuffix("'").replace("''", "'")
            return 200, {"value": [row for row in self.rows.values() if row["Code"] == code]}
        return self._create(call.body)

    def _create(self, body: Any) -> Reply:
        if not body.get("Description"):
            return _odata_error(400, 14, "Поле Наименование не заполнено")
        row = {"Ref_Key": f"00000000-0000-0000-0000-{len(self.rows):012}", **body}
        self.rows[row["Ref_Key"]] = row
        if body["Code"].endswith("0"):
            return _odata_error(500, -1, "Ошибка при выполнении операции")
        return 201, row


def _odata_error(status: int, code: int, message: str) -> Reply:
    return status, {"odata.error": {"code": str(code), "message": {"lang": "ru", "value": message}}}
