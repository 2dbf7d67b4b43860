"""Stand-ins of the APIs that the examples call: each checks what it is asked as its documentation says."""

import base64
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
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


Api = Callable[[Call], Reply]


class RemoteApi(ThreadingHTTPServer):
    """Answers with what an API's function returns; keeps each call with the status of its answer."""

    daemon_threads = True

    def __init__(self, api: Api) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.api = api
        self.calls: list[tuple[Call, int]] = []
        self.lock = threading.Lock()

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
        content = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
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
        if (call.method, call.path) != ("POST", f"{self.WEBHOOK}/tasks.task.add"):
            return _bitrix_error(404, "ERROR_METHOD_NOT_FOUND", "Method not found!")
        fields = call.body["fields"] if isinstance(call.body, dict) else {}
        title = fields.get("TITLE")
        if not title or not isinstance(fields.get("RESPONSIBLE_ID"), int):
            return _bitrix_error(400, "ERROR_CORE", "Не указано название задачи.")
        if title.endswith("0") and title not in self.limited:
            self.limited.add(title)
            return _bitrix_error(503, "QUERY_LIMIT_EXCEEDED", "Too many requests")
        self.titles.append(title)
        return 200, {"result": {"task": {"id": str(len(self.titles)), "title": title}}, "time": {}}


def _bitrix_error(status: int, code: str, description: str) -> Reply:
    return status, {"error": code, "error_description": description}


class OpenProject:
    """Projects and work packages of API v3; identifiers are unique."""

    LOGIN = "apikey:key"

    def __init__(self) -> None:
        self.identifiers: list[str] = []
        self.subjects: list[str] = []

    def __call__(self, call: Call) -> Reply:
        if call.login != self.LOGIN:
            return _hal_error(401, "Unauthenticated", "You need to be authenticated to access this resource.")
        if (call.method, call.path) == ("POST", "/api/v3/projects"):
            return self._project(call.body)
        number = call.path.removeprefix("/api/v3/projects/").removesuffix("/work_packages")
        if call.method == "POST" and number in map(str, range(1, len(self.identifiers) + 1)):
            return self._work_package(call.body)
        return _hal_error(404, "NotFound", "The requested resource could not be found.")

    def _project(self, body: Any) -> Reply:
        if not body.get("name") or body["identifier"] in self.identifiers:
            return _hal_error(422, "PropertyConstraintViolation", "Identifier has already been taken.")
        self.identifiers.append(body["identifier"])
        return 201, {"_type": "Project", "id": len(self.identifiers), **body}

    def _work_package(self, body: Any) -> Reply:
        if not body.get("subject") or body["_links"]["type"]["href"] != "/api/v3/types/1":
            return _hal_error(422, "PropertyConstraintViolation", "Subject can't be blank.")
        self.subjects.append(body["subject"])
        return 201, {"_type": "WorkPackage", "id": len(self.subjects), **body}


def _hal_error(status: int, code: str, message: str) -> Reply:
    identifier = f"urn:openproject-org:api:v3:errors:{code}"
    return status, {"_type": "Error", "errorIdentifier": identifier, "message": message}


class OneC:
    """The OData service of a 1C base; the answer to some calls is lost after the work was done."""

    LOGIN = "Администратор:пароль"
    PATH = "/base/odata/standard.odata/Catalog_Контрагенты"

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, Any]] = {}

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
