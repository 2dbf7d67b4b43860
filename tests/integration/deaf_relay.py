"""A way to the broker that falls silent in the middle of a conversation."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from sandbox.broker import Broker


@contextmanager
def deaf_relay(node: Broker, word: bytes) -> Iterator[int]:
    """Yield a port before the broker; the first connection on which `word` is sent gets no answer to it."""
    listener = socket.create_server((node.host, 0))
    relay = _Relay(listener, node, word)
    thread = threading.Thread(target=relay.accept)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        relay.close()
        thread.join()


class _Relay:
    def __init__(self, listener: socket.socket, node: Broker, word: bytes) -> None:
        self._listener = listener
        self._node = node
        self._word = word
        self._has_been_deaf = False
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []

    def accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection((self._node.host, self._node.port))
                self._sockets += (client, server)
                for source, target in ((client, server), (server, client)):
                    self._threads.append(threading.Thread(target=self._carry, args=(source, target)))
                    self._threads[-1].start()

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while content := source.recv(65536):
                if self._word in content and not self._has_been_deaf:
                    self._has_been_deaf = True
                    return
                target.sendall(content)
            target.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for one in self._sockets:
            with suppress(OSError):  # its other end is gone
                one.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for one in self._sockets:
            one.close()
