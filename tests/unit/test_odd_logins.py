"""Logins and URLs beyond ASCII: they work as UTF-8, or one line says what is wrong."""

# ruff: noqa: F811  # fixtures of another file

import base64
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from bridge.broker import Broker
from bridge.engine import Http, Login, Rest
from bridge.errors import SettingsError, Unavailable
from config import load_settings
from tests.unit.test_config import REQUIRED, Load, env_file, load, refusal  # noqa: F401  # fixtures
from tools.lib.inspection import Inspection
from tools.lib.management import queue_totals

USER, PASSWORD = "работник", "пароль-ß-😀"
BOM = b"\xef\xbb\xbf"

pytestmark = pytest.mark.usefixtures("clean_environment")


class _Engine(BaseHTTPRequestHandler):
    seen: list[str]

    def do_GET(self) -> None:
        self.seen.append(self.headers.get("Authorization", ""))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"version": "7.24.0"}')

    def log_message(self, *_: object) -> None:
        """Prints nothing."""


@pytest.fixture
def seen() -> list[str]:
    """The Authorization headers that the engine was sent."""
    return []


@pytest.fixture
def url(seen: list[str]) -> Iterator[str]:
    handler = type("Engine", (_Engine,), {"seen": seen})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(("user", "password"), [(USER, PASSWORD), ("demo", PASSWORD), (USER, "demo"), ("a", "é")])
def test_the_engine_gets_a_login_in_utf_8(url: str, seen: list[str], user: str, password: str) -> None:
    http = Http(url, Login(user, lambda: password))

    assert Inspection(Rest(http)).version() == "7.24.0"

    (header,) = seen
    assert base64.b64decode(header.removeprefix("Basic ")).decode() == f"{user}:{password}"


def test_an_url_beyond_ascii_is_asked_for_as_it_is_written_on_the_wire(load: Load, url: str) -> None:
    settings = load(CAMUNDA_BASE_URL=f"{url}/движок")

    assert settings.camunda_base_url == f"{url}/%D0%B4%D0%B2%D0%B8%D0%B6%D0%BE%D0%BA"
    assert Inspection(Rest(Http(settings.camunda_base_url, Login(None)))).version() == "7.24.0"


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("http://exämple.org/engine-rest", "http://xn--exmple-cua.org/engine-rest"),
        ("http://движок.рф:8080/engine-rest", "http://xn--b1adhhlx.xn--p1ai:8080/engine-rest"),
        ("http://localhost:8080/engine-rest/engine/é", "http://localhost:8080/engine-rest/engine/%C3%A9"),
        ("http://localhost:8080/a%20b/", "http://localhost:8080/a%20b"),
        ("http://[::1]:8080/engine-rest", "http://[::1]:8080/engine-rest"),
        ("HTTP://LOCALHOST/engine-rest", "HTTP://LOCALHOST/engine-rest"),
    ],
)
def test_an_url_is_used_in_ascii(load: Load, given: str, used: str) -> None:
    assert load(CAMUNDA_BASE_URL=given).camunda_base_url == used


@pytest.mark.parametrize(
    "url",
    [
        "http://a..b/engine-rest",
        "http://" + "x" * 64 + ".org/engine-rest",
        "http://local host/engine-rest",
        "http://localhost/engine rest",
        "http://localhost\\engine-rest",
        "http://localhost:8080/engine-rest?x=1",
        "http://localhost:8080/engine-rest#x",
        "http://localhost:80a/engine-rest",
        "http://localhost:99999/engine-rest",
        "http://:8080/engine-rest",
        "http://[::1/engine-rest",
        "http://[v1.x]/engine-rest",
        "http://loc|host/engine-rest",
        "http:/localhost/engine-rest",
    ],
)
def test_an_odd_url_is_refused_in_one_line(load: Load, url: str) -> None:
    line = refusal(load, CAMUNDA_BASE_URL=f"'{url}'")

    assert line.startswith("CAMUNDA_BASE_URL:")
    assert len(line.splitlines()) == 1


OAUTH = {"CAMUNDA_OAUTH_CLIENT_ID": "worker", "CAMUNDA_OAUTH_CLIENT_SECRET": "secret"}


@pytest.mark.parametrize(
    ("name", "given", "used"),
    [
        ("CAMUNDA_OAUTH_TOKEN_URL", "https://exämple.org/é?p=é", "https://xn--exmple-cua.org/%C3%A9?p=%C3%A9"),
        ("CAMUNDA_OAUTH_TOKEN_URL", "https://login.example/t?p=B2C_1", "https://login.example/t?p=B2C_1"),
        ("CAMUNDA_PROXY", "http://exämple.org:3128", "http://xn--exmple-cua.org:3128"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4318/é/", "http://localhost:4318/%C3%A9"),
        ("RABBITMQ_TLS_SERVER_NAME", "exämple.org", "xn--exmple-cua.org"),
    ],
)
def test_other_urls_and_names_are_used_in_ascii_too(load: Load, name: str, given: str, used: str) -> None:
    also = OAUTH if name.startswith("CAMUNDA_OAUTH") else {"RABBITMQ_TLS": "true"}

    assert getattr(load(**also, **{name: given}), name.lower()) == used


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("CAMUNDA_OAUTH_TOKEN_URL", "http://login.example:70000/token"),
        ("CAMUNDA_OAUTH_TOKEN_URL", "http://login.example/a b"),
        ("CAMUNDA_OAUTH_TOKEN_URL", "http://a..b/token"),
        ("CAMUNDA_PROXY", "http://proxy.example:3128999"),
        ("CAMUNDA_PROXY", "http://proxy .example:3128"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:43189999"),
        ("RABBITMQ_TLS_SERVER_NAME", "x" * 64),
        ("RABBITMQ_TLS_SERVER_NAME", "."),
        ("CAMUNDA_AUTH_TOKEN", "ключ"),
        ("CAMUNDA_AUTH_TOKEN", "Bearer abc"),
    ],
)
def test_what_can_be_no_such_url_name_or_token_is_refused_in_one_line(load: Load, name: str, given: str) -> None:
    also = OAUTH if name.startswith("CAMUNDA_OAUTH") else {"RABBITMQ_TLS": "true"}

    line = refusal(load, **also, **{name: f"'{given}'"})

    assert line.startswith(f"{name}:")
    assert len(line.splitlines()) == 1


def test_a_token_that_becomes_odd_later_leaves_the_last_one_in_use(load: Load, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("abc.def", encoding="utf-8")
    settings = load(CAMUNDA_AUTH_TOKEN_FILE=str(file))
    file.write_text("<html>вход</html>", encoding="utf-8")

    assert settings.secret_now("camunda_auth_token") == "abc.def"


@pytest.mark.parametrize("host", ["a..b", "x" * 64, "rabbit host", "ra\\bbit"])
def test_an_odd_host_is_refused_in_one_line(load: Load, host: str) -> None:
    assert refusal(load, RABBITMQ_HOST=f"'{host}'").startswith("RABBITMQ_HOST:")


@pytest.mark.parametrize("host", ["кролик.рф", "fd00::5", "rabbit_1", "10.0.0.1"])
def test_a_host_that_can_be_looked_up_is_taken(load: Load, host: str) -> None:
    assert load(RABBITMQ_HOST=host).rabbitmq_host == host


@pytest.mark.parametrize(
    "name",
    ["RABBITMQ_PASSWORD", "RABBITMQ_USERNAME", "RABBITMQ_VIRTUAL_HOST", "CAMUNDA_BASE_URL", "CAMUNDA_TENANT_IDS"],
)
def test_bytes_in_the_environment_that_are_no_utf_8_are_one_line(
    load: Load, clean_environment: pytest.MonkeyPatch, name: str
) -> None:
    clean_environment.setenv(name, "pass\udce9word")

    line = refusal(load)

    assert line == f"{name}: holds bytes that are no UTF-8; write it as UTF-8"


@pytest.mark.parametrize("name", ["RABBITMQ_PASSWORD", "CAMUNDA_AUTH_PASSWORD"])
def test_a_byte_order_mark_before_a_secret_is_skipped(load: Load, tmp_path: Path, name: str) -> None:
    file = tmp_path / "secret"
    file.write_bytes(BOM + PASSWORD.encode() + b"\r\n")
    login = {"CAMUNDA_AUTH_USERNAME": USER} if name.startswith("CAMUNDA") else {}

    settings = load(**login, **{name: None, f"{name}_FILE": str(file)})

    assert getattr(settings, name.lower()).get_secret_value() == PASSWORD
    assert settings.secret_now(name.lower()) == PASSWORD


@pytest.mark.parametrize(
    "content",
    [
        b"se\0cret",
        b"secret\0",
        b"\0",
        "secret".encode("utf-16"),
        "secret".encode("utf-16-le"),
        BOM,
        b"\xff",
        b"se\ncret",
    ],
    ids=repr,
)
def test_a_secret_file_with_odd_bytes_is_one_line_without_the_secret(
    load: Load, tmp_path: Path, content: bytes
) -> None:
    file = tmp_path / "secret"
    file.write_bytes(content)

    line = refusal(load, RABBITMQ_PASSWORD=None, RABBITMQ_PASSWORD_FILE=str(file))

    assert line.startswith("RABBITMQ_PASSWORD_FILE: ")
    assert str(file) in line
    assert len(line.splitlines()) == 1
    assert "cret" not in line.replace(str(file), "")


def test_a_nul_in_the_env_file_is_one_line(env_file: Path) -> None:
    lines = [f"{name}={value}" for name, value in REQUIRED.items()]
    env_file.write_bytes("\n".join([*lines, "CAMUNDA_AUTH_USERNAME=a\0b"]).encode())

    with pytest.raises(SettingsError, match="CAMUNDA_AUTH_USERNAME: holds a NUL"):
        load_settings(env_file)


def test_a_secret_that_becomes_odd_later_leaves_the_last_one_in_use(
    load: Load, tmp_path: Path, logged: list[str]
) -> None:
    file = tmp_path / "secret"
    file.write_text(PASSWORD, encoding="utf-8")
    settings = load(RABBITMQ_PASSWORD=None, RABBITMQ_PASSWORD_FILE=str(file))
    file.write_bytes(b"new\0")

    assert settings.secret_now("rabbitmq_password") == PASSWORD
    assert any("the last one is used" in line for line in logged)


@pytest.mark.parametrize("url", ["http://exämple.invalid:1", "http://127.0.0.1:1/ü", "http://a b", "x"])
def test_an_odd_url_of_the_management_api_is_one_line(url: str) -> None:
    broker = Broker("127.0.0.1", 1, "/", USER, lambda: PASSWORD)

    with pytest.raises(Unavailable, match="no management API at"):
        queue_totals(url, broker)
