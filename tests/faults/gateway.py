"""What may stand between the worker and the engine: passes requests on, or answers in the engine's place."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import requests

from sandbox.engine import Engine
from sandbox.ports import LOOPBACK

UPSTREAM_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Request:
    """A request on its way to the engine; `word` is the last part of its path.

    `patience_seconds`: after so long the gateway leaves it to itself and says 504. `loses_reply`: once the engine
    has answered, the connection ends without a word.
    """

    method: str
    path: str
    body: bytes
    patience_seconds: float = UPSTREAM_SECONDS
    loses_reply: bool = False

    @property
    def word(self) -> str:
        """Which call it is, such as `complete`."""
        return self.path.partition("?")[0].rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer in the engine's place, after some seconds."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    after_seconds: float = 0.0


Rule = Callable[[Request], Reply | Request]


def pass_on(request: Request) -> Request:
    """Leave all to the engine."""
    return request


@dataclass(frozen=True, slots=True)
class Seen:
    """A request that came, when (monotonic), and the status that it got."""

    word: str
    moment: float
    status: int


class Gateway(ThreadingHTTPServer):
    """Follows `rule`, which may change while it runs, and writes down what it has seen."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, engine: Engine) -> None:
        super().__init__((LOOPBACK, 0), _Handler)
        self.rule: Rule = pass_on
        self.seen: list[Seen] = []
        self.root = engine.url.removesuffix("/engine-rest")
        self.closing = threading.Event()

    @property
    def url(self) -> str:
        """Where a worker finds the engine behind it."""
        return f"http://{LOOPBACK}:{self.server_port}/engine-rest"

    def since(self, moment: float, word: str = "") -> list[Seen]:
        """Return the requests that came after that moment, only those of one call if it is named."""
        return [one for one in self.seen[:] if one.moment >= moment and word in ("", one.word)]


class _Handler(BaseHTTPRequestHandler):
    server: Gateway
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def setup(self) -> None:
        super().setup()
        self._session = requests.Session()
        self._session.trust_env = False

    def finish(self) -> None:
        self._session.close()
        super().finish()

    def do_GET(self) -> None:
        moment = time.monotonic()
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        request = Request(self.command, self.path, body)
        verdict = self.server.rule(request)
        reply = self._ask_engine(verdict) if isinstance(verdict, Request) else verdict
        self.server.seen.append(Seen(request.word, moment, reply.status))
        if isinstance(verdict, Request) and verdict.loses_reply:
            self.close_connection = True
            return
        self.server.closing.wait(reply.after_seconds)
        self._send(reply)

    do_POST = do_GET  # noqa: N815  # the name is the library's

    def _ask_engine(self, request: Request) -> Reply:
        url, headers = self.server.root + request.path, {"Content-Type": "application/json"}
        try:
            reply = self._session.request(
                request.method, url, data=request.body, headers=headers, timeout=request.patience_seconds
            )
        except requests.Timeout:
            return Reply(504, b"<html>Gateway Timeout</html>")
        except requests.RequestException:
            return Reply(502, b"<html>Bad Gateway</html>")
        return Reply(reply.status_code, reply.content, {"Content-Type": reply.headers.get("Content-Type", "")})

    def _send(self, reply: Reply) -> None:
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        if reply.status != 204:
            self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        self.wfile.write(reply.body)

    def log_message(self, *_: object) -> None:
        """Prints nothing."""


@contextmanager
def before(engine: Engine) -> Iterator[Gateway]:
    """Let a gateway stand before the engine while the block runs."""
    with Gateway(engine) as gateway:
        thread = threading.Thread(target=gateway.serve_forever)
        thread.start()
        try:
            yield gateway
        finally:
            gateway.closing.set()
            gateway.shutdown()
            thread.join()


def engine_error(status: int, kind: str, message: str | None) -> Reply:
    """Return the engine's own error object."""
    body = json.dumps({"type": kind, "message": message, "code": None}).encode()
    return Reply(status, body, {"Content-Type": "application/json"})
