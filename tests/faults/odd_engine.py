"""An engine that says odd things: passes each request on, and puts rows that nobody can read into its lists."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import requests

from sandbox.ports import LOOPBACK

TIMEOUT_SECONDS = 60
ODD_TASKS: list[Any] = [
    None,
    "task",
    {},
    {"id": None, "topicName": "odd"},
    {"id": "odd-1", "topicName": ["odd"]},
    {"id": "odd-2", "topicName": "odd", "processInstanceId": "p", "lockExpirationTime": "287453-02-08T00:00:00Z"},
    {"id": "odd-3", "topicName": "odd", "processInstanceId": "p", "workerId": "w", "lockExpirationTime": 5},
]
ODD_TOPICS: list[Any] = [None, 5, {"topic": "odd"}, ""]
LISTS = {"external-task": ODD_TASKS, "fetchAndLock": ODD_TASKS, "topic-names": ODD_TOPICS}


class OddEngine(ThreadingHTTPServer):
    """Stands before an engine; counts the odd rows that it put in."""

    daemon_threads = True

    def __init__(self, engine_url: str) -> None:
        super().__init__((LOOPBACK, 0), _PassOn)
        self.target = engine_url.removesuffix("/engine-rest")
        self.odd_rows = 0
        self.local = threading.local()

    @property
    def url(self) -> str:
        """Where a worker finds it."""
        return f"http://{LOOPBACK}:{self.server_port}/engine-rest"

    def session(self) -> requests.Session:
        """Return the connection of this thread."""
        if not hasattr(self.local, "session"):
            self.local.session = requests.Session()
            self.local.session.trust_env = False
        session: requests.Session = self.local.session
        return session

    def spoilt(self, path: str, content: bytes) -> bytes:
        """Return a reply with odd rows before and behind the good ones, where it is a list of tasks or topics."""
        odd = LISTS.get(path.partition("?")[0].rpartition("/")[2])
        rows = json.loads(content) if odd and content.startswith(b"[") else None
        if not rows or odd is None:  # an empty page is the end of a list
            return content
        self.odd_rows += len(odd)
        return json.dumps([*odd[::2], *rows, *odd[1::2]]).encode()


class _PassOn(BaseHTTPRequestHandler):
    server: OddEngine
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Ask the engine, and spoil what it says."""
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        url, headers = self.server.target + self.path, {"Content-Type": "application/json", "Accept": "*/*"}
        reply = self.server.session().request(
            self.command, url, data=content, headers=headers, timeout=TIMEOUT_SECONDS
        )
        said = self.server.spoilt(self.path, reply.content)
        self.send_response(reply.status_code)
        self.send_header("Content-Type", reply.headers.get("Content-Type", "application/json"))
        if reply.status_code != requests.codes.no_content:
            self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    do_POST = do_GET  # noqa: N815  # the name is the library's

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@contextmanager
def odd_engine(engine_url: str, kind: type[OddEngine] = OddEngine) -> Iterator[OddEngine]:
    """Stand before an engine for the length of the block."""
    with kind(engine_url) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
