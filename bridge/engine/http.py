"""HTTP over keep-alive connections, one per thread (pycurl: the cheapest client measured)."""

import math
import threading
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from io import BytesIO

import pycurl
from loguru import logger

from bridge import clock, heartbeats
from bridge.engine.login import UNAUTHORIZED, Login
from bridge.engine.transport import Transport, reason_of
from bridge.errors import LoginRefused, Unanswered, Unavailable
from bridge.texts import Said

CONNECT_TIMEOUT_SECONDS = 5
CLOCK_TIMEOUT_SECONDS = 10
LONGEST_WAIT_SECONDS = 600.0  # a server that asks for more is asked again all the same
LONG_SECONDS = 30.0
SILENCE_SECONDS = 15.0
LOOK_SECONDS = 1.0
NAME_SECONDS = 0.01
SIGN_OF_LIFE_TIMEOUT_SECONDS = 10
# The engine wants Accept: */* (errorDetails is text); an empty Expect spares a round trip on big bodies.
HEADERS = ("Content-Type: application/json", "Accept: */*", "Accept-Encoding:", "Expect:")
REDIRECTS = range(300, 400)
UNTRUSTED = (pycurl.E_PEER_FAILED_VERIFICATION, pycurl.E_SSL_CACERT_BADFILE, pycurl.E_SSL_CERTPROBLEM)
NO_WORD = Said("the connection ended without a reply")


@dataclass(frozen=True, slots=True)
class Reply:
    """What a server answered. `wait_seconds`: its `Retry-After`; `seconds`: how long it took.

    `leads_to`: where a redirect leads.
    """

    status: int
    body: bytes
    wait_seconds: float = 0.0
    seconds: float = 0.0
    leads_to: str = ""


class Http:
    """Sends requests below one base URL; every thread that calls it gets a connection of its own.

    `base_urls`: with commas, the nodes of one engine. The next one is tried where one takes no call; the one that
    works is kept.
    """

    def __init__(self, base_urls: str, login: Login, transport: Transport | None = None) -> None:
        self._nodes = [url.strip() for url in base_urls.split(",")]
        self.base_url = self._nodes[0]
        self._login = login
        self._transport = transport or Transport()
        self._local = threading.local()
        self._heard_at = 0.0
        self._give_up_at = math.inf

    def send(self, method: str, path: str, body: bytes | None = None, *, timeout_seconds: float) -> Reply:
        """Send one request and return the reply, whatever its status.

        A wait of more than LONG_SECONDS ends early where the server shows no life meanwhile.
        Raises Unavailable where no reply comes, LoginRefused where the login was refused too often to try again.
        """
        for _ in self._nodes[1:]:
            url = self.base_url
            try:
                return self._send(method, path, body, timeout_seconds)
            except (LoginRefused, Unanswered):
                raise
            except Unavailable as error:  # it was not even sent
                self._take_next_node(url, error)
        return self._send(method, path, body, timeout_seconds)

    def _take_next_node(self, url: str, error: Unavailable) -> None:
        """Go on with the node behind that one, unless another thread has done so."""
        if self.base_url == url:
            self.base_url = self._nodes[(self._nodes.index(url) + 1) % len(self._nodes)]
            logger.warning("{}; going on with {}", error, self.base_url)

    def _send(self, method: str, path: str, body: bytes | None, timeout_seconds: float) -> Reply:
        with self._login.attempt() as attempt:
            reply = self._perform(method, path, body, timeout_seconds)
            if reply.status == UNAUTHORIZED and self._transport.token:
                self._transport.token.forget()  # it may have been renewed, or withdrawn
                reply = self._perform(method, path, body, timeout_seconds)
            attempt.status = reply.status
        return reply

    @property
    def proxy(self) -> str:
        """The proxy between us and the engine; empty where there is none."""
        return self._transport.proxy_before(self.base_url)

    def server_time(self) -> datetime | None:
        """Return the server's clock to the second, None where it does not tell. Raises Unavailable."""
        lines: list[bytes] = []
        handle = self._new_handle()
        handle.unsetopt(pycurl.USERNAME)  # a clock is not worth an attempt to log in
        handle.setopt(pycurl.URL, f"{self.base_url}/engine")
        handle.setopt(pycurl.TIMEOUT, CLOCK_TIMEOUT_SECONDS)
        handle.setopt(pycurl.HEADERFUNCTION, lines.append)
        try:
            handle.perform_rb()
        except pycurl.error as error:
            raise self._unavailable(handle, error) from error
        return date_in(lines)

    def give_up_after(self, seconds: float) -> None:
        """Let long waits end within that time: the process stops."""
        self._give_up_at = min(self._give_up_at, clock.now() + seconds)

    def _perform(self, method: str, path: str, body: bytes | None, timeout_seconds: float) -> Reply:
        heartbeats.beat()  # a loop that calls turns: each call ends by itself
        handle = self._handle()
        handle.setopt(pycurl.URL, self.base_url + path)
        handle.setopt(pycurl.TIMEOUT_MS, int(timeout_seconds * 1000))
        if body is None:
            handle.setopt(pycurl.HTTPGET, True)
        else:
            # Read and never rewound: else curl sends a request again, which the engine may have followed, where a
            # connection that it uses again ends without a word.
            handle.setopt(pycurl.POST, True)
            handle.setopt(pycurl.POSTFIELDSIZE, len(body))
            handle.setopt(pycurl.READDATA, BytesIO(body))
        handle.setopt(pycurl.CUSTOMREQUEST, method)
        if self._login.username is not None:
            handle.setopt(pycurl.PASSWORD, self._login.password.encode())  # as text it must be ASCII
        if self._transport.token:
            handle.setopt(pycurl.HTTPHEADER, [*HEADERS, *self._transport.header_lines()])
        sent = clock.now()
        try:
            content = self._wait(handle, sent, may_be_in_vain=timeout_seconds > LONG_SECONDS)
        except pycurl.error as error:
            raise self._unavailable(handle, error) from error
        self._heard_at = clock.now()
        if self.base_url.startswith("https:") and handle.getinfo(pycurl.NUM_CONNECTS):
            self._transport.note_certificates(handle, self.base_url)
        status = handle.getinfo(pycurl.RESPONSE_CODE)
        wait_seconds = min(handle.getinfo(pycurl.RETRY_AFTER), LONGEST_WAIT_SECONDS) if status >= 300 else 0.0
        leads_to = (handle.getinfo(pycurl.REDIRECT_URL) or "") if status in REDIRECTS else ""
        return Reply(status, content, wait_seconds, self._heard_at - sent, leads_to)

    def _unavailable(self, handle: pycurl.Curl, error: pycurl.error) -> Unavailable:
        """Return what to raise for an error of curl's."""
        code, said = int(error.args[0]), str(error.args[-1])
        reason = NO_WORD if code == pycurl.E_SEND_FAIL_REWIND else reason_of(code, said, self.base_url)
        text = Said("no engine at CAMUNDA_BASE_URL {url}: {reason}", url=self.base_url, reason=reason)
        if code in UNTRUSTED and handle is getattr(self._local, "handle", None):
            self._local.handle = self._local.multi = None  # they keep a CA's file for a day
        if not handle.getinfo(pycurl.REQUEST_SIZE):  # it was not even sent
            return Unavailable(text)
        timed_out = code == pycurl.E_OPERATION_TIMEDOUT
        return Unanswered(text, handle.getinfo(pycurl.TOTAL_TIME), timed_out=timed_out)

    def _wait(self, handle: pycurl.Curl, sent: float, *, may_be_in_vain: bool) -> bytes:
        """Perform a request, and look each second whether to go on waiting. Raises pycurl.error.

        curl has a callback for that, but calls it at every step: nine times for a short request, and each time the
        thread has to wait for the interpreter.
        """
        content, multi = BytesIO(), self._local.multi
        handle.setopt(pycurl.WRITEDATA, content)
        multi.add_handle(handle)
        try:
            while multi.perform()[1]:
                ready = multi.select(_next_look(multi))
                if ready < 0:  # it has no socket yet: it asks for the name
                    clock.Event().wait(NAME_SECONDS)
                if ready <= 0 and may_be_in_vain and self._is_in_vain(sent):
                    raise pycurl.error(pycurl.E_ABORTED_BY_CALLBACK, "no reply came, and no other sign of life")
            for _, code, said in multi.info_read()[2]:
                raise pycurl.error(code, said)
        finally:
            multi.remove_handle(handle)
        return content.getvalue()

    def _is_in_vain(self, sent: float) -> bool:
        """Whether to end the wait for the reply to a request sent then."""
        now = clock.now()
        if now >= self._give_up_at:
            return True
        return now - max(self._heard_at, sent) > SILENCE_SECONDS and not self._shows_life()

    def _shows_life(self) -> bool:
        """Whether the server answers another request, whatever it says."""
        handle = self._new_handle()
        handle.unsetopt(pycurl.USERNAME)  # no attempt to log in
        handle.setopt(pycurl.URL, f"{self.base_url}/engine")
        handle.setopt(pycurl.TIMEOUT, SIGN_OF_LIFE_TIMEOUT_SECONDS)
        try:
            handle.perform_rb()
        except pycurl.error:
            return False
        self._heard_at = clock.now()
        return True

    def _handle(self) -> pycurl.Curl:
        handle = getattr(self._local, "handle", None)
        if handle is None:
            handle = self._local.handle = self._new_handle()
            self._local.multi = pycurl.CurlMulti()  # has the connection
        return handle

    def _new_handle(self) -> pycurl.Curl:
        handle = pycurl.Curl()
        handle.setopt(pycurl.NOSIGNAL, True)  # curl's time-outs must not use signals in a threaded process
        handle.setopt(pycurl.CONNECTTIMEOUT, CONNECT_TIMEOUT_SECONDS)
        handle.setopt(pycurl.TCP_KEEPALIVE, True)
        handle.setopt(
            pycurl.ACCEPT_ENCODING, ""
        )  # a proxy may compress without being asked, which HEADERS does not
        self._transport.prepare(handle, self.base_url)
        handle.setopt(pycurl.HTTPHEADER, [*HEADERS, *self._transport.headers])
        if self._login.username is not None:
            handle.setopt(pycurl.HTTPAUTH, pycurl.HTTPAUTH_BASIC)
            handle.setopt(pycurl.USERNAME, self._login.username.encode())
        return handle


def _next_look(multi: pycurl.CurlMulti) -> float:
    """Return for how many seconds to wait: a second, or less where curl has something to do before."""
    milliseconds = multi.timeout()
    return LOOK_SECONDS if milliseconds < 0 else min(LOOK_SECONDS, milliseconds / 1000)


def date_in(header_lines: Iterable[bytes]) -> datetime | None:
    """Return the moment of the `Date` header, which is one of UTC; None where there is no readable one."""
    for line in header_lines:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"date":
            with suppress(ValueError):
                moment = parsedate_to_datetime(value.decode("latin-1").strip())
                return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return None
