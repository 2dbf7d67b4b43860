"""How long a reply is waited for, and what a server says of that."""

import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from bridge.engine import CamundaClient, Http, Login, Reply
from bridge.engine import http as http_module
from bridge.errors import Unanswered, Unavailable
from tests.unit.fakes import ACCEPTED, OURS, FakeEngine


class Server(ThreadingHTTPServer):
    """Answers `/engine` at once while it is `alive`, and anything else when it is told to."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Slow)
        self.alive = True
        self.headers: dict[str, str] = {}
        self.status = 204
        self.seconds = 0.0
        self.silent_after = math.inf  # so many calls; it takes the next ones, and hangs up
        self.calls = 0
        self.closing = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Slow(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.calls += 1
        if self.server.calls > self.server.silent_after:
            self.close_connection = True
            return
        if self.path != "/engine":
            self.server.closing.wait(self.server.seconds)
        elif not self.server.alive:
            self.server.closing.wait(30)
        self.send_response(self.server.status)
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        if self.server.status != 204:
            self.send_header("Content-Length", "0")
        self.end_headers()

    do_POST = do_GET  # noqa: N815  # the name is the library's

    def log_message(self, *_: object) -> None:
        """Prints nothing."""


@contextmanager
def serving() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.closing.set()
            server.shutdown()
            thread.join()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(http_module, "SILENCE_SECONDS", 0.5)
    monkeypatch.setattr(http_module, "SIGN_OF_LIFE_TIMEOUT_SECONDS", 1)
    with serving() as one:
        yield one


def ask(server: Server, *, timeout_seconds: float = 60.0) -> Reply:
    return Http(server.url, Login(None)).send("POST", "/x", b"{}", timeout_seconds=timeout_seconds)


def test_a_long_call_is_waited_for_while_the_server_answers_others(server: Server) -> None:
    server.seconds = 3.0

    reply = ask(server)

    assert reply.status == 204
    assert 2.9 < reply.seconds < 10


def test_a_long_call_ends_when_the_server_answers_nobody(server: Server) -> None:
    server.seconds, server.alive = 30.0, False
    began = time.monotonic()

    with pytest.raises(Unanswered) as caught:
        ask(server)

    assert time.monotonic() - began < 10
    assert not caught.value.timed_out


def test_a_call_that_is_out_for_too_long_says_so(server: Server) -> None:
    server.seconds = 30.0

    with pytest.raises(Unanswered) as caught:
        ask(server, timeout_seconds=0.5)

    assert caught.value.timed_out
    assert caught.value.seconds > 0.4


def test_a_call_whose_reply_is_lost_is_not_made_again_behind_our_back(server: Server) -> None:
    http = Http(server.url, Login(None))
    server.silent_after = 1
    http.send("POST", "/failure", b"{}", timeout_seconds=5)

    with pytest.raises(Unanswered, match="without a reply"):
        http.send("POST", "/failure", b"{}", timeout_seconds=5)

    assert server.calls == 2


def test_a_stop_ends_a_long_wait(server: Server) -> None:
    server.seconds = 30.0
    http = Http(server.url, Login(None))
    threading.Timer(0.3, http.give_up_after, [0.0]).start()
    began = time.monotonic()

    with pytest.raises(Unanswered):
        http.send("POST", "/x", b"{}", timeout_seconds=60.0)

    assert time.monotonic() - began < 10


def test_a_server_that_is_not_there_is_not_at_work_on_a_call(unused_port: int) -> None:
    with pytest.raises(Unavailable) as caught:
        Http(f"http://127.0.0.1:{unused_port}", Login(None)).send("GET", "/x", timeout_seconds=1.0)

    assert not isinstance(caught.value, Unanswered)


@pytest.mark.parametrize(("value", "seconds"), [("7", 7.0), ("86400", 600.0), ("soon", 0.0)])
def test_a_reply_says_how_long_the_server_wants_to_be_left_alone(
    server: Server, value: str, seconds: float
) -> None:
    server.status, server.headers = 429, {"Retry-After": value}

    assert ask(server).wait_seconds == seconds


class Timed(FakeEngine):
    """Writes down how long each call may take."""

    def __init__(self) -> None:
        super().__init__()
        self.timeouts: dict[str, float] = {}

    def send(self, method: str, path: str, body: bytes | None = None, *, timeout_seconds: float) -> Reply:
        self.timeouts[path.rpartition("/")[2]] = timeout_seconds
        return ACCEPTED


def test_only_the_calls_in_which_the_process_goes_on_may_take_long() -> None:
    engine = Timed()
    client = CamundaClient(engine, OURS, complete_timeout_seconds=120.0)

    client.complete("t1", OURS, {})
    client.bpmn_error("t1", OURS, "NO", None, None)
    client.failure("t1", OURS, "no", retries=1, retry_timeout_ms=0)
    client.extend_lock("t1", OURS, 1000)

    assert engine.timeouts == {"complete": 120.0, "bpmnError": 120.0, "failure": 30.0, "extendLock": 30.0}
