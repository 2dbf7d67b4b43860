"""A small HTTP server for operators and their machines: /metrics, /livez, /readyz."""

import logging
import socket
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from bottle import Bottle, response
from loguru import logger
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from waitress.server import create_server

from status.collector import StateCollector
from status.health import reasons_not_ready, stuck_loops
from status.snapshot import Snapshot

THREADS = 2
UNAVAILABLE = 503
HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


class StatusServer:
    """Serves until `stop`. A port that is taken is a warning: no task waits for somebody who watches."""

    def __init__(self, host: str, port: int, snapshot: Callable[[], Snapshot], loops: Sequence[str]) -> None:
        self._host = host
        self._port = port
        self._snapshot = snapshot
        self._loops = loops
        self._server: Any = None
        self._stopped = False
        self._changing = threading.Lock()
        self._begun = time.monotonic()

    def run(self) -> None:
        """Serve; the body of the server's thread. Binds here, when a predecessor has let the port go."""
        logging.getLogger("waitress").setLevel(logging.ERROR)  # a scrape that waits for another is no news
        self._begun = time.monotonic()
        try:
            self._open()
        except OSError as error:
            logger.warning("STATUS_HOST {}, STATUS_PORT {}: {}; no status page", self._host, self._port, error)
        if self._server is not None:
            self._server.run()
            self._server.task_dispatcher.shutdown(timeout=1)

    def _open(self) -> None:
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        with self._changing:
            if self._stopped:
                return
            door = socket.create_server((self._host, self._port), family=family)
            self._server = create_server(
                self.app(), sockets=[door], threads=THREADS, ident=None, clear_untrusted_proxy_headers=True
            )
        place = f"[{self._host}]" if family is socket.AF_INET6 else self._host
        logger.info("status page at http://{}:{}/", place, self._port)

    def stop(self) -> None:
        """Close all connections and let `run` return, the port free again."""
        with self._changing:
            self._stopped = True
            if self._server is not None:
                self._server.trigger.pull_trigger(self._close)

    def _close(self) -> None:
        # On the server's own thread: its loop ends when it has no socket left.
        for channel in list(self._server.active_channels.values()):
            channel.handle_close()
        self._server.close()

    def app(self) -> Any:
        """Return the WSGI application."""
        app = Bottle()
        registry = CollectorRegistry()
        registry.register(REGISTRY)
        registry.register(StateCollector(self._snapshot))
        app.get("/metrics", callback=lambda: _reply(generate_latest(registry), CONTENT_TYPE_LATEST))
        app.get("/livez", callback=lambda: _verdict(stuck_loops(self._loops, self._begun)))
        app.get("/readyz", callback=lambda: _verdict(list(reasons_not_ready(self._snapshot()))))
        return app


def _verdict(reasons: Sequence[str]) -> bytes:
    response.status = UNAVAILABLE if reasons else 200
    return _reply("".join(f"{line}\n" for line in reasons or ["ok"]).encode(), "text/plain; charset=utf-8")


def _reply(body: bytes, content_type: str) -> bytes:
    response.headers.update({**HEADERS, "Content-Type": content_type})
    return body
