"""An engine behind a counter of refused logins."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import requests

from sandbox.engine import Engine


class CountedEngine(ThreadingHTTPServer):
    """Passes every request on to an engine, and notes when a login was refused."""

    daemon_threads = True

    def __init__(self, engine: Engine) -> None:
        super().__init__(("127.0.0.1", 0), _PassOn)
        self.target = engine.url.removesuffix("/engine-rest")
        self.refused_at: list[float] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/engine-rest"


class _PassOn(BaseHTTPRequestHandler):
    server: CountedEngine
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name: self.headers[name] for name in ("Authorization", "Content-Type") if self.headers[name]}
        with requests.Session() as session:
            session.trust_env = False
            url = self.server.target + self.path
            reply = session.request(self.command, url, data=content, headers=headers, timeout=30)
        if reply.status_code == 401:
            self.server.refused_at.append(time.monotonic())
        self.send_response(reply.status_code)
        self.send_header("Content-Type", reply.headers.get("Content-Type", "application/json"))
        self.send_header("Content-Length", str(len(reply.content)))
        self.end_headers()
        self.wfile.write(reply.content)

    do_POST = do_GET  # noqa: N815  # the name is the library's

    def log_message(self, *_: object) -> None:
        """Prints nothing."""


@contextmanager
def passing_on(engine: Engine) -> Iterator[CountedEngine]:
    with CountedEngine(engine) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
