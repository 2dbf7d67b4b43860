"""Bearer tokens for engine and broker: from a file that somebody else renews, or from an identity provider."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlencode

import pycurl
from loguru import logger

from bridge import clock
from bridge.errors import Unavailable
from bridge.texts import Said

READ_AGAIN_SECONDS = 2.0
TIMEOUT_SECONDS = 10
SHORTEST_SECONDS = 10.0  # of a token whose end nobody tells, or that ends at once
SAFE_SHARE = 0.8  # of a token's life, after which it is renewed


class Token(Protocol):
    """A bearer token that changes."""

    def __call__(self) -> str:
        """Return it as it is now. Raises Unavailable where there is none."""

    def forget(self) -> None:
        """Get it anew the next time: it was refused."""


class Cached:
    """A secret that somebody else renews in a file: read again every few seconds; may be used from any thread."""

    def __init__(self, read: Callable[[], str]) -> None:
        self._read = read
        self._value, self._read_at = "", -math.inf

    def __call__(self) -> str:
        """Return it as it was a moment ago."""
        if clock.now() - self._read_at > READ_AGAIN_SECONDS:
            self._value, self._read_at = self._read(), clock.now()
        return self._value

    def forget(self) -> None:
        """Read it again the next time."""
        self._read_at = -math.inf


@dataclass(frozen=True, slots=True)
class Client:
    """Who asks for tokens, and for what; `read_secret` is asked anew for each.

    `setting`: the one that names the URL, for messages.
    """

    setting: str
    token_url: str
    client_id: str
    read_secret: Callable[[], str]
    scope: str = ""
    audience: str = ""


class ClientCredentials:
    """Tokens of OAuth 2 client credentials: renewed before their end, one renewal at a time; from any thread.

    `prepare` sets what a connection to that URL needs, such as CAs and proxy.
    """

    def __init__(self, client: Client, prepare: Callable[[pycurl.Curl, str], None]) -> None:
        self._client = client
        self._prepare = prepare
        self._lock = clock.Lock()
        self._value, self._renew_at = "", -math.inf
        self._failure, self._failed_at = Unavailable(), -math.inf

    def __call__(self) -> str:
        """Return a token that is valid for a while. Raises Unavailable where none can be had."""
        if (known := self.known()) is not None:
            return known
        begun = clock.now()
        with self._lock:
            if self._failed_at > begun:  # while we waited our turn: one attempt counts for all
                raise self._failure
            return self.known() or self._renewed()

    def known(self) -> str | None:
        """Return the token if it need not be renewed yet; waits for nobody."""
        return self._value if clock.now() < self._renew_at else None

    def _renewed(self) -> str:
        try:
            self._value, seconds = self._fetch()
        except Unavailable as error:
            self._failure, self._failed_at = error, clock.now()
            raise
        self._renew_at = clock.now() + SAFE_SHARE * max(seconds, SHORTEST_SECONDS)
        logger.debug("a token of {:.0f} s was fetched from {}", seconds, self._client.token_url)
        return self._value

    def forget(self) -> None:
        """Fetch another one the next time."""
        self._renew_at = -math.inf

    def _fetch(self) -> tuple[str, float]:
        """Return a new token and how many seconds it lives. Raises Unavailable."""
        handle = pycurl.Curl()
        handle.setopt(pycurl.NOSIGNAL, True)
        handle.setopt(pycurl.TIMEOUT, TIMEOUT_SECONDS)
        handle.setopt(pycurl.URL, self._client.token_url)
        handle.setopt(pycurl.HTTPHEADER, ["Accept: application/json"])
        handle.setopt(pycurl.POSTFIELDS, urlencode(self._form()))
        self._prepare(handle, self._client.token_url)
        try:
            body = handle.perform_rb()
        except pycurl.error as error:
            raise self._unavailable(str(error.args[-1])) from error
        return self._read(handle.getinfo(pycurl.RESPONSE_CODE), body)

    def _form(self) -> dict[str, str]:
        optional = {"scope": self._client.scope, "audience": self._client.audience}
        return {
            "grant_type": "client_credentials",
            "client_id": self._client.client_id,
            "client_secret": self._client.read_secret(),
            **{name: value for name, value in optional.items() if value},
        }

    def _read(self, status: int, body: bytes) -> tuple[str, float]:
        try:
            fields = json.loads(body)
            token, seconds = fields["access_token"], float(fields.get("expires_in") or 0.0)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            token, seconds = None, 0.0
        if status != 200 or not isinstance(token, str) or not token.isascii() or not token.isprintable():
            text = body[:200].decode("utf-8", "replace")
            raise self._unavailable(Said("it answers {status} {text!r}", status=status, text=text))
        return token, seconds

    def _unavailable(self, reason: str) -> Unavailable:
        setting, url = self._client.setting, self._client.token_url
        return Unavailable(
            Said("no token from {setting} {url}: {reason}", setting=setting, url=url, reason=reason)
        )
