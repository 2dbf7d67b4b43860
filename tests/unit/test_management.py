"""The management API: what may be given as its URL, and what it may answer."""

import argparse
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import cast

import pytest

from bridge.broker import Broker
from bridge.errors import SettingsError, Unavailable
from config import Settings
from tools.lib.management import Admin, admin_of, give_rights, http_url, queue_totals


class _Stranger(BaseHTTPRequestHandler):
    """Answers each request with JSON, and is no broker."""

    def do_GET(self) -> None:
        body = {"/object": b'{"error": "log in first"}', "/rows": b'[{"error": 1}]', "/deep": b"[" * 100_000}
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body[self.path[: self.path.index("/api/")]])

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture
def stranger() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Stranger) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_url_of_http_is_taken_as_it_is() -> None:
    assert http_url("https://broker.example:15671/rabbit") == "https://broker.example:15671/rabbit"


@pytest.mark.parametrize("text", ["file:///etc/passwd", "localhost:15672", "ftp://x/", "http://", "http://u:p@x"])
def test_other_urls_are_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        http_url(text)


@pytest.mark.parametrize("path", ["/object", "/rows", "/deep"])
def test_json_of_somebody_else_is_no_management_api(stranger: str, path: str) -> None:
    with pytest.raises(Unavailable, match="no management API at"):
        queue_totals(stranger + path, Broker("127.0.0.1", 1, "/", "worker", str))


@pytest.mark.parametrize("url", ["http://exämple.invalid:1", "http://127.0.0.1:1/ü", "http://a b"])
def test_an_odd_url_for_an_administrator_is_one_line(url: str) -> None:
    with pytest.raises(Unavailable, match="no management API at"):
        give_rights(url, Admin("admin", ""), "/", "worker", {})


@pytest.mark.parametrize("content", [None, b"\xff"])
def test_an_administrators_password_that_cannot_be_read_is_one_line(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "password"
    if content:
        file.write_bytes(content)
    arguments = argparse.Namespace(admin="admin", admin_password_file=file)

    with pytest.raises(SettingsError, match=str(file)):
        admin_of(arguments, cast(Settings, None))
