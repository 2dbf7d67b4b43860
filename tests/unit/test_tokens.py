"""Tokens of an identity provider: fetched once, renewed in time, and waited for where it is unavailable."""

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

import pytest

from bridge.engine import Client, ClientCredentials, Http, Login, Transport
from bridge.errors import Unavailable
from tests.unit.conftest import Clock


class Provider:
    """An identity provider and an engine in one; both are as the test says."""

    def __init__(self) -> None:
        self.forms: list[dict[str, list[str]]] = []
        self.seen: list[str] = []
        self.broken, self.seconds = False, 0.0
        self.reply: dict[str, Any] = {"expires_in": 100}
        self.accepted: str | None = None
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                form = self.rfile.read(int(self.headers["Content-Length"])).decode()
                outer.forms.append(parse_qs(form))
                time.sleep(outer.seconds)
                token = {"access_token": f"token-{len(outer.forms)}", **outer.reply}
                self.answer(503 if outer.broken else 200, json.dumps(token).encode())

            def do_GET(self) -> None:
                outer.seen.append(self.headers["Authorization"])
                good = outer.accepted is None or outer.accepted in self.headers["Authorization"]
                self.answer(200 if good else 401, b"[]")

            def answer(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"

    def client(self) -> Http:
        client = Client(
            "CAMUNDA_OAUTH_TOKEN_URL",
            f"{self.url}/token",
            "worker",
            lambda: "s&cret",
            scope="engine",
            audience="camunda",
        )
        return Http(self.url, Login(None), Transport(token=ClientCredentials(client, Transport().prepare)))


@pytest.fixture
def provider() -> Iterator[Provider]:
    provider = Provider()
    threading.Thread(target=provider.http.serve_forever, args=(0.05,), daemon=True).start()
    yield provider
    provider.http.shutdown()
    provider.http.server_close()


def get(http: Http) -> int:
    return http.send("GET", "/topics", timeout_seconds=5).status


def test_a_token_is_fetched_once_and_renewed_before_its_end(provider: Provider, clock: Clock) -> None:
    http = provider.client()

    for seconds in (0, 79, 2, 1):
        clock.advance(seconds)
        assert get(http) == 200

    assert provider.seen == ["Bearer token-1", "Bearer token-1", "Bearer token-2", "Bearer token-2"]
    assert provider.forms[0] == {
        "grant_type": ["client_credentials"],
        "client_id": ["worker"],
        "client_secret": ["s&cret"],
        "scope": ["engine"],
        "audience": ["camunda"],
    }


def test_many_threads_cause_one_renewal(provider: Provider) -> None:
    http = provider.client()
    threads = [threading.Thread(target=get, args=(http,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert (len(provider.forms), provider.seen) == (1, ["Bearer token-1"] * 8)


def test_many_threads_wait_for_one_failure(provider: Provider) -> None:
    http, failures = provider.client(), list[str]()
    provider.broken, provider.seconds = True, 0.3

    def try_once() -> None:
        try:
            get(http)
        except Unavailable as error:
            failures.append(str(error))

    threads = [threading.Thread(target=try_once) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert (len(provider.forms), len(failures)) == (1, 8)


def test_a_token_that_is_refused_is_fetched_once_more(provider: Provider) -> None:
    http = provider.client()
    provider.accepted = "token-2"

    assert get(http) == 200
    provider.accepted = "nobody"
    assert get(http) == 401

    assert len(provider.forms) == 3


def test_while_the_provider_is_unavailable_calls_wait_and_no_login_counts_as_refused(provider: Provider) -> None:
    http = provider.client()
    provider.broken = True
    for _ in range(5):
        with pytest.raises(Unavailable) as caught:
            get(http)
    provider.broken = False

    assert get(http) == 200
    assert "CAMUNDA_OAUTH_TOKEN_URL" in str(caught.value)
    assert "s&cret" not in str(caught.value)


@pytest.mark.parametrize("odd", [{"access_token": 5}, {"access_token": "a\nb"}, {"access_token": "\u00e9"}])
def test_what_is_no_token_is_not_sent(provider: Provider, odd: dict[str, Any]) -> None:
    provider.reply = odd

    with pytest.raises(Unavailable):
        get(provider.client())

    assert provider.seen == []


def test_a_token_whose_end_nobody_tells_is_kept_for_a_few_seconds(provider: Provider, clock: Clock) -> None:
    provider.reply = {"expires_in": None}
    http = provider.client()

    for seconds in (0, 7, 2):
        clock.advance(seconds)
        get(http)

    assert len(provider.forms) == 2
