"""TLS, certificates, tokens, headers and proxies on the way to the engine, with real sockets."""

import gzip
import shutil
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY

from bridge import certificates
from bridge.engine import Cached, CamundaClient, Http, Login, Transport
from bridge.errors import Unavailable
from tests.authority import Authority
from tests.unit.conftest import Clock

METRIC = "camunda_worker_certificate_ends_timestamp_seconds"
YESTERDAY = datetime.now(UTC) - timedelta(days=1)


class Server:
    """An engine that answers `[]`, and remembers the headers that came."""

    def __init__(self) -> None:
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.encoding = ""
        self.redirect = ""
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                outer.headers.append(dict(self.headers))
                outer.paths.append(self.path)
                body = gzip.compress(b"[]") if outer.encoding else b"[]"
                self.send_response(302 if outer.redirect else 200)
                if outer.redirect:
                    self.send_header("Location", outer.redirect)
                if outer.encoding:
                    self.send_header("Content-Encoding", outer.encoding)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = int(self.http.server_address[1])

    def secure(self, certificate: Path, key: Path, *, ca: Path | None = None) -> None:
        """Speak TLS; with `ca` only to who has a certificate of that CA."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate, key)
        if ca:
            context.load_verify_locations(ca)
            context.verify_mode = ssl.CERT_REQUIRED
        self.http.socket = context.wrap_socket(self.http.socket, server_side=True, do_handshake_on_connect=False)

    @contextmanager
    def running(self) -> Iterator[None]:
        self.http.handle_error = lambda *_: None  # type: ignore[method-assign]  # clients that break off
        threading.Thread(target=self.http.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield
        finally:
            self.http.shutdown()
            self.http.server_close()


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"), "ours")


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"), "theirs")


def ask(url: str, transport: Transport | None = None) -> list[str]:
    return CamundaClient(Http(url, Login(None), transport), "w").topic_names()


def trouble_with(url: str, transport: Transport | None = None) -> str:
    with pytest.raises(Unavailable) as caught:
        ask(url, transport)
    return str(caught.value)


def test_an_engine_behind_a_private_ca_is_reached(server: Server, ca: Authority) -> None:
    server.secure(*ca.give("localhost"))

    with server.running():
        assert ask(f"https://localhost:{server.port}", Transport(ca.file)) == []


def test_a_certificate_of_ours_is_shown_where_it_is_wanted(server: Server, ca: Authority) -> None:
    server.secure(*ca.give("localhost"), ca=ca.file)

    with server.running():
        assert ask(f"https://localhost:{server.port}", Transport(ca.file, *ca.give("worker"))) == []
        assert "CAMUNDA_CLIENT_CERT_FILE" in trouble_with(f"https://localhost:{server.port}", Transport(ca.file))


def test_certificates_may_lie_in_a_folder_with_a_name_beyond_ascii(
    server: Server, ca: Authority, tmp_path: Path
) -> None:
    server.secure(*ca.give("localhost"), ca=ca.file)
    folder = tmp_path / "сертификаты"
    folder.mkdir()
    ca_file, cert_file, key_file = (Path(shutil.copy(file, folder)) for file in (ca.file, *ca.give("worker")))

    with server.running():
        assert ask(f"https://localhost:{server.port}", Transport(ca_file, cert_file, key_file)) == []


def test_an_unknown_ca_and_another_name_are_named(server: Server, ca: Authority, stranger: Authority) -> None:
    server.secure(*ca.give("localhost"))

    with server.running():
        unknown = trouble_with(f"https://localhost:{server.port}", Transport(stranger.file))
        default = trouble_with(f"https://localhost:{server.port}")
        name = trouble_with(f"https://127.0.0.1:{server.port}", Transport(ca.file))

    assert "set CAMUNDA_CA_FILE" in unknown
    assert "set CAMUNDA_CA_FILE" in default
    assert "for another name than '127.0.0.1'" in name


def test_an_expired_certificate_is_named(server: Server, ca: Authority) -> None:
    server.secure(*ca.give("localhost", not_after=YESTERDAY))

    with server.running():
        assert "has expired" in trouble_with(f"https://localhost:{server.port}", Transport(ca.file))


def test_tls_where_none_is_spoken_is_named(server: Server, ca: Authority) -> None:
    with server.running():
        assert "is it http://" in trouble_with(f"https://localhost:{server.port}", Transport(ca.file))


def test_no_tls_where_it_is_spoken_is_named(server: Server, ca: Authority) -> None:
    server.secure(*ca.give("localhost"))

    with server.running():
        assert "begins with https://" in trouble_with(f"http://localhost:{server.port}", Transport(ca.file))


def test_a_ca_that_was_exchanged_is_used_without_a_restart(
    server: Server, ca: Authority, stranger: Authority, tmp_path: Path
) -> None:
    server.secure(*ca.give("localhost"))
    file = tmp_path / "ca.pem"
    shutil.copy(stranger.file, file)
    http = Http(f"https://localhost:{server.port}", Login(None), Transport(file))

    with server.running():
        with pytest.raises(Unavailable):
            http.send("GET", "/", timeout_seconds=5)
        shutil.copy(ca.file, file)
        assert http.send("GET", "/", timeout_seconds=5).status == 200


def test_headers_and_a_token_that_is_renewed_go_with_each_request(server: Server, clock: Clock) -> None:
    tokens = ["first", "second"]
    transport = Transport(headers=("X-Api-Key: secret",), token=Cached(lambda: tokens.pop(0)))
    http = Http(f"http://localhost:{server.port}", Login(None), transport)

    with server.running():
        for _ in range(2):
            http.send("GET", "/", timeout_seconds=5)
            clock.advance(1)
        clock.advance(5)
        http.send("GET", "/", timeout_seconds=5)

    assert [headers["Authorization"] for headers in server.headers] == ["Bearer first"] * 2 + ["Bearer second"]
    assert {headers["X-Api-Key"] for headers in server.headers} == {"secret"}


def test_a_reply_that_was_compressed_unasked_is_read(server: Server) -> None:
    server.encoding = "gzip"

    with server.running():
        assert ask(f"http://localhost:{server.port}") == []

    assert "Accept-Encoding" not in server.headers[0]


def test_the_next_node_of_an_engine_is_called_where_one_takes_no_call(server: Server, unused_port: int) -> None:
    http = Http(f"http://127.0.0.1:{unused_port}, http://127.0.0.1:{server.port}/engine-rest", Login(None))

    with server.running():
        for _ in range(3):
            assert http.send("GET", "/x", timeout_seconds=5).status == 200

    assert server.paths == ["/engine-rest/x"] * 3
    assert http.base_url == f"http://127.0.0.1:{server.port}/engine-rest"


def test_where_no_node_takes_a_call_each_is_tried_once(logged: list[str], unused_port: int) -> None:
    http = Http(f"http://127.0.0.1:{unused_port}/a,http://127.0.0.1:{unused_port}/b", Login(None))

    with pytest.raises(Unavailable):
        http.send("GET", "/x", timeout_seconds=5)

    assert len([line for line in logged if "going on with" in line]) == 1


def test_a_redirect_is_named_with_its_target(server: Server) -> None:
    server.redirect = "https://engine.example/engine-rest"

    with server.running():
        assert "redirected to https://engine.example/engine-rest" in trouble_with(
            f"http://localhost:{server.port}"
        )


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "all_proxy"])
def test_the_environments_proxy_never_sees_what_is_meant_for_this_machine(
    server: Server, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "http://127.0.0.1:9")

    with server.running():
        assert ask(f"http://127.0.0.1:{server.port}") == []


def test_a_proxy_is_used_where_it_is_set_and_named_where_it_fails(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.port}")

    with server.running():
        assert ask("http://engine.invalid/engine-rest") == []
        assert ask("http://engine.invalid/x", Transport(proxy=f"http://127.0.0.1:{server.port}")) == []
        without = trouble_with("http://engine.invalid/y", Transport(proxy="none"))
        broken = trouble_with("http://engine.invalid/z", Transport(proxy="http://proxy.invalid:3128"))

    assert server.paths[0].startswith("http://engine.invalid/engine-rest")
    assert len(server.paths) == 2
    assert "resolve host" in without
    assert "CAMUNDA_PROXY" in broken


@pytest.mark.parametrize(
    ("setting", "environment", "url", "proxy"),
    [
        (None, {}, "http://engine.example/rest", ""),
        (None, {"http_proxy": "http://u:pw@proxy:3128"}, "http://engine.example/rest", "proxy:3128"),
        (None, {"http_proxy": "http://proxy:3128"}, "https://engine.example/rest", ""),
        (None, {"https_proxy": "http://proxy:3128"}, "https://engine.example/rest", "http://proxy:3128"),
        (None, {"http_proxy": "http://proxy:3128", "no_proxy": "example"}, "http://engine.example/rest", ""),
        (None, {"http_proxy": "http://proxy:3128"}, "http://127.0.0.1:8080/rest", ""),
        ("none", {"http_proxy": "http://proxy:3128"}, "http://engine.example/rest", ""),
        ("http://other:1", {"http_proxy": "http://proxy:3128"}, "http://engine.example/rest", "http://other:1"),
    ],
)
def test_the_proxy_in_use_is_told_without_its_login(
    setting: str | None, environment: dict[str, str], url: str, proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    assert Http(url, Login(None), Transport(proxy=setting)).proxy == proxy


def test_certificates_that_end_soon_are_warned_of_and_told_as_a_metric(
    server: Server, ca: Authority, logged: list[str]
) -> None:
    certificates.forget()
    soon = datetime.now(UTC) + timedelta(days=9)
    server.secure(*ca.give("localhost", not_after=soon), ca=ca.file)
    certificate, key = ca.give("us")
    url = f"https://localhost:{server.port}"

    with server.running():
        for _ in range(3):
            ask(url, Transport(ca_file=ca.file, cert_file=certificate, key_file=key))

    ends = certificates.known()
    assert abs(ends["engine"] - soon) < timedelta(seconds=2)
    assert ends["engine_client"] > soon
    assert REGISTRY.get_sample_value(METRIC, {"whose": "engine"}) == ends["engine"].timestamp()
    assert [line for line in logged if "ends at" in line] == [
        f"WARNING the certificate of the engine at {url} ends at {soon:%Y-%m-%d %H:%M} UTC: renew it\n"
    ]
    certificates.forget()
