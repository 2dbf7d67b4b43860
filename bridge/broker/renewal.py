"""A login that ends is renewed on the open connection, before its end."""

import threading
from typing import Protocol

from loguru import logger
from pika.connection import Connection

from bridge import clock
from bridge.errors import Unavailable

PAUSE_SECONDS = 2.0  # after a renewal that failed: a fifth of the token's life is left for more attempts


class Tokens(Protocol):
    """Passwords that end, and are renewed before."""

    def __call__(self) -> str:
        """Return one that is valid for a while. Raises Unavailable where none can be had."""

    def known(self) -> str | None:
        """Return it if it need not be renewed yet; waits for nobody."""

    def forget(self) -> None:
        """Get another one the next time: it was refused."""


class LoginRenewal:
    """Tells the broker each new token on one connection; all on its thread, but for the fetching.

    The broker refuses what it has to look up anew once the token has ended (RabbitMQ 3.10: each declare, while
    publishing goes on), and closes the connection in later versions.
    """

    def __init__(self, tokens: Tokens | None, *, name: str) -> None:
        self._tokens = tokens
        self._name = name
        self._told = ""
        self._fetching: threading.Thread | None = None
        self._not_before = 0.0

    def begin(self, connection: Connection) -> None:
        """Begin with the token that a new connection was made with."""
        if self._tokens is not None:
            self._told = getattr(connection.params.credentials, "password", "")

    def tick(self, connection: Connection) -> None:
        """Tell the broker a new token; fetch one, on a thread of its own, where that is due."""
        if self._tokens is None:
            return
        token = self._tokens.known()
        if token is None:
            self._fetch_soon(self._tokens)
        elif token != self._told:
            self._told = token
            connection.update_secret(token, "the token was renewed")
            logger.debug("{}: the broker was told a new token", self._name)

    def _fetch_soon(self, tokens: Tokens) -> None:
        is_fetching = self._fetching is not None and self._fetching.is_alive()
        if is_fetching or clock.now() < self._not_before:
            return
        self._not_before = clock.now() + PAUSE_SECONDS
        self._fetching = threading.Thread(target=self._fetch, args=(tokens,), name="token", daemon=True)
        self._fetching.start()

    def _fetch(self, tokens: Tokens) -> None:
        try:
            tokens()
        except Unavailable as error:
            logger.warning("{}: {}", self._name, error)
