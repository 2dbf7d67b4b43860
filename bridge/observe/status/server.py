"""The small HTTP server that operators and their machines look at."""

import logging
import socket
import threading
from typing import Any

from loguru import logger
from waitress.server import create_server

THREADS = 2


class StatusServer:
    """Serves until `stop`. A port that is taken is a warning: no task waits for somebody who watches."""

    def __init__(self, host: str, port: int, app: Any) -> None:
        self._host = host
        self._port = port
        self._app = app
        self._server: Any = None
        self._stopped = False
        self._changing = threading.Lock()

    def run(self) -> None:
        """Serve; the body of the server's thread. Binds here, when a predecessor has let the port go."""
        logging.getLogger("waitress").setLevel(logging.ERROR)  # a scrape that waits for another is no news
        try:
            self._open()
        except OSError as error:
            logger.warning("STATUS_HOST {}, STATUS_PORT {}: {}; no status page", self._host, self._port, error)
        if self._server is not None:
            self._server.run()

    def _open(self) -> None:
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        with self._changing:
            if self._stopped:
                return
            listener = socket.create_server((self._host, self._port), family=family)
            self._server = create_server(
                self._app, sockets=[listener], threads=THREADS, ident=None, clear_untrusted_proxy_headers=True
            )
        host = f"[{self._host}]" if family is socket.AF_INET6 else self._host
        logger.info("status page at http://{}:{}/", host, self._port)

    def stop(self) -> None:
        """Close all connections and let `run` return, the port free again."""
        with self._changing:
            if self._server is not None and not self._stopped:
                self._server.trigger.pull_trigger(self._close)
            self._stopped = True

    def _close(self) -> None:
        """Close all on the server's own thread, whose loop ends when no socket is left.

        The trigger goes last: whoever still wrote to it could hit another file with the same number.
        """
        self._server.task_dispatcher.shutdown(timeout=5)
        for channel in list(self._server.active_channels.values()):
            channel.handle_close()
        with self._changing:
            self._server.close()
