"""Settings and routing: the only reader of the environment, `.env` and the routing file."""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args
from urllib.parse import quote, urlsplit, urlunsplit

from loguru import logger
from pydantic import BeforeValidator, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from bridge.env_file import check as check_env_file
from bridge.env_file import unknown_name
from bridge.errors import SettingsError
from bridge.retry_policy import USUAL, RetryPolicy
from bridge.routing import LONGEST_LOCK_MS, Routing, System
from bridge.routing_file import LockMs, read_routing_file
from bridge.texts import Said, language_of_environment

_HOST = re.compile(r"[A-Za-z0-9._-]+")
_HEADER = re.compile(r"[!-9;-~]+: ?[\x20-\x7e]+")
_HALF_CHARACTER = re.compile("[\ud800-\udfff]")
_ODD_IN_URL = re.compile(r"[\x00-\x20\x7f\\#]")
_TOKEN = re.compile("[!-~]+")
_SAFE_IN_PATH = "/%:@!$&'()*+,;=~"
AMQPS_PORT = 5671
ENV_FILE = Path(__file__).with_name(".env")
# Where systemd puts what LoadCredential= of our unit names, and where that comes from.
CREDENTIALS, SERVICE_SETTINGS = Path("/run/credentials"), Path("/etc/camunda-worker")
PREFIXES = ("CAMUNDA_", "RABBITMQ_", "RESPONSES_", "ROUTING_", "STATUS_", "LOG_")


def _split_commas(value: object) -> object:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


CommaSeparated = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split_commas)]


class Settings(BaseSettings):
    """All settings, each named as its environment variable in lower case (see `config.env.example`)."""

    model_config = SettingsConfigDict(env_ignore_empty=True, extra="ignore", frozen=True)

    camunda_base_url: str
    camunda_worker_id: str = Field("universal-worker", pattern=r"^[!-~]{1,64}$")
    camunda_max_tasks: int = Field(10, ge=1, le=1000)
    camunda_lock_duration: LockMs = 600_000
    camunda_auth_username: str | None = None
    camunda_auth_password: SecretStr | None = None
    camunda_auth_password_file: Path | None = None
    camunda_auth_token: SecretStr | None = None
    camunda_auth_token_file: Path | None = None
    camunda_oauth_token_url: str | None = None
    camunda_oauth_client_id: str | None = None
    camunda_oauth_client_secret: SecretStr | None = None
    camunda_oauth_client_secret_file: Path | None = None
    camunda_oauth_scope: str | None = None
    camunda_oauth_audience: str | None = None
    camunda_headers: SecretStr | None = None
    camunda_headers_file: Path | None = None
    camunda_ca_file: Path | None = None
    camunda_client_cert_file: Path | None = None
    camunda_client_key_file: Path | None = None
    camunda_proxy: str | None = None
    camunda_topics_include: CommaSeparated = ("*",)
    camunda_topics_exclude: CommaSeparated = ()
    camunda_tenant_ids: CommaSeparated = ()
    camunda_accept_worker_ids: CommaSeparated = ()
    camunda_async_response_timeout: int = Field(5_000, ge=100, le=5_000)  # at most half of the shortest lock
    camunda_lease: Literal["two-step", "direct"] = "two-step"
    camunda_lease_duration: int = Field(60_000, ge=30_000, le=600_000)
    camunda_extend_after: int = Field(1_500, ge=0, le=20_000)
    camunda_max_in_flight: int = Field(10_000, ge=1)
    camunda_retries: int = Field(3, ge=0, le=1000)
    camunda_retry_timeout: int = Field(30_000, ge=0, le=LONGEST_LOCK_MS)
    camunda_complete_timeout: int = Field(300_000, ge=30_000, le=600_000)

    rabbitmq_host: str = "localhost"
    rabbitmq_port: int = Field(5672, ge=1, le=65535)
    rabbitmq_tls: bool = False
    rabbitmq_ca_file: Path | None = None
    rabbitmq_client_cert_file: Path | None = None
    rabbitmq_client_key_file: Path | None = None
    rabbitmq_tls_server_name: str | None = None
    rabbitmq_virtual_host: str = "/"
    rabbitmq_auth: Literal["password", "external", "oauth"] = "password"
    rabbitmq_username: str
    rabbitmq_password: SecretStr
    rabbitmq_password_file: Path | None = None
    rabbitmq_oauth_token_url: str | None = None
    rabbitmq_oauth_client_id: str | None = None
    rabbitmq_oauth_client_secret: SecretStr | None = None
    rabbitmq_oauth_client_secret_file: Path | None = None
    rabbitmq_oauth_scope: str | None = None
    rabbitmq_oauth_audience: str | None = None
    rabbitmq_prefetch: int = Field(100, ge=1, le=10_000)
    rabbitmq_queue_high_water: int = Field(1_000, ge=1)
    rabbitmq_heartbeat: int = Field(30, ge=5, le=600)
    rabbitmq_queue_type: Literal["classic", "quorum"] = "classic"
    rabbitmq_topology: Literal["declare", "passive"] = "declare"
    rabbitmq_max_message_bytes: int = Field(1_048_576, ge=1024, le=100_000_000)
    rabbitmq_error_queue_max: int = Field(10_000, ge=1)

    responses_require_user_id: bool = False

    routing_file: Path | None = None

    status_host: str = "127.0.0.1"
    status_port: int = Field(8090, ge=0, le=65535)

    otel_exporter_otlp_endpoint: str | None = None
    otel_service_name: str = "universal-camunda-worker"

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["text", "json"] = "text"
    log_dir: Path = Path("logs")

    @model_validator(mode="before")
    @classmethod
    def _refuse_odd_bytes(cls, values: dict[str, Any]) -> dict[str, Any]:
        for name, value in values.items():
            if isinstance(value, str) and (problem := _odd_bytes(value)):
                raise ValueError(f"{name.upper()}: {problem}")
        return values

    @model_validator(mode="before")
    @classmethod
    def _need_no_password(cls, values: dict[str, Any]) -> dict[str, Any]:
        if values.get("rabbitmq_auth") in ("external", "oauth"):  # a certificate or a token is the login
            values.setdefault("rabbitmq_password", "")
            values.setdefault("rabbitmq_username", values.get("rabbitmq_oauth_client_id") or "")
        return values

    @model_validator(mode="before")
    @classmethod
    def _read_secret_files(cls, values: dict[str, Any]) -> dict[str, Any]:
        for name in secret_names():
            path = values.get(f"{name}_file")
            if values.get(name):
                if values.pop(f"{name}_file", None):  # the file that is left is where the secret came from
                    logger.warning("{0} is set and wins, {0}_FILE is not read", name.upper())
            elif path:
                values[name] = _read_secret(f"{name}_file", path)
        return values

    def routing(self) -> "RoutingConfig":
        """Return the routing of ROUTING_FILE, or the built-in one. Raises SettingsError."""
        usual = RetryPolicy(self.camunda_retries, (self.camunda_retry_timeout,))
        return RoutingConfig.load(self.routing_file, self.camunda_lock_duration, usual)

    @property
    def log_folder(self) -> Path:
        """Where the log files are; a relative LOG_DIR lies beside the code."""
        return ENV_FILE.parent / self.log_dir

    @property
    def notify_socket(self) -> str | None:
        """Where systemd wants to be told how we are, if it has started us; no setting of the operator's."""
        return os.environ.get("NOTIFY_SOCKET")

    def described(self) -> str:
        """Return all settings that have a value as `NAME=value`; a secret is a row of stars."""
        shown = ((name, ",".join(value) if isinstance(value, tuple) else value) for name, value in self)
        return ", ".join(f"{name.upper()}={value}" for name, value in shown if value not in (None, ""))

    def secret_now(self, name: str) -> str:
        """Return a secret, read again where it came from a file: it may have been exchanged since."""
        known: SecretStr | None = getattr(self, name)
        path = getattr(self, f"{name}_file")
        if path:
            try:
                return _read_secret(f"{name}_file", path)
            except SettingsError as error:
                logger.warning("{}; the last one is used", error)
        return known.get_secret_value() if known else ""

    def place_of(self, name: str) -> str:
        """Return where a person corrects a secret; what systemd hands over is a copy from the service's start."""
        path: Path | None = getattr(self, f"{name}_file")
        if path is None:
            return name.upper()
        if path.is_relative_to(CREDENTIALS):
            file = SERVICE_SETTINGS / path.name
            return Said("{file}, then run: sudo systemctl restart camunda-worker", file=file)
        return f"{name.upper()}_FILE {path}"

    @field_validator("camunda_base_url")
    @classmethod
    def _check_urls(cls, urls: str) -> str:
        return ",".join(_checked_url(url.strip()) for url in urls.split(","))

    @field_validator("camunda_oauth_token_url", "rabbitmq_oauth_token_url")
    @classmethod
    def _check_token_url(cls, url: str | None) -> str | None:
        return url and _url_in_ascii(url, "https://login.example/token")

    @field_validator("otel_exporter_otlp_endpoint")
    @classmethod
    def _check_collector(cls, url: str | None) -> str | None:
        return url and _url_in_ascii(url, "http://localhost:4318").rstrip("/")

    @field_validator("camunda_proxy")
    @classmethod
    def _check_proxy(cls, proxy: str | None) -> str | None:
        if proxy in (None, "none"):
            return proxy
        return _url_in_ascii(
            str(proxy), "http://proxy.example:3128, or none", ("http", "https", "socks5", "socks5h")
        )

    @field_validator("camunda_auth_token")
    @classmethod
    def _check_token(cls, token: SecretStr | None) -> SecretStr | None:
        if token and (problem := _odd_token(token.get_secret_value())):
            raise ValueError(problem)
        return token

    @field_validator("rabbitmq_tls_server_name")
    @classmethod
    def _check_server_name(cls, name: str | None) -> str | None:
        return name and _ascii_host(name, is_address=":" in name)

    @field_validator("rabbitmq_host")
    @classmethod
    def _check_hosts(cls, hosts: str) -> str:
        if "@" in hosts or "/" in hosts:
            raise ValueError("must be a host name alone; login, port and virtual host have their own settings")
        _hosts_in(hosts, 0)
        return hosts

    @property
    def rabbitmq_hosts(self) -> list[tuple[str, int]]:
        """The nodes of the broker, each with its port; 5671 by default with TLS."""
        is_default = "rabbitmq_port" not in self.model_fields_set
        return _hosts_in(
            self.rabbitmq_host, AMQPS_PORT if self.rabbitmq_tls and is_default else self.rabbitmq_port
        )

    @field_validator("log_level", mode="before")
    @classmethod
    def _upper(cls, value: object) -> object:
        return value.upper() if isinstance(value, str) else value

    @model_validator(mode="after")
    def _check_login(self) -> Self:
        if (self.camunda_auth_username is None) != (self.camunda_auth_password is None):
            raise ValueError("CAMUNDA_AUTH_USERNAME and CAMUNDA_AUTH_PASSWORD go together: set both or neither")
        if self.camunda_auth_username and self.camunda_auth_token:
            raise ValueError("CAMUNDA_AUTH_TOKEN and CAMUNDA_AUTH_USERNAME are two logins: set one of them")
        if _has_client_credentials(self, "camunda") and (self.camunda_auth_username or self.camunda_auth_token):
            raise ValueError("CAMUNDA_OAUTH_TOKEN_URL is a login of its own: set no other")
        if self.camunda_client_key_file and not self.camunda_client_cert_file:
            raise ValueError("CAMUNDA_CLIENT_KEY_FILE needs CAMUNDA_CLIENT_CERT_FILE")
        _check_files(self, "camunda_ca_file", "camunda_client_cert_file", "camunda_client_key_file")
        _header_lines(self.camunda_headers)
        return self

    @property
    def camunda_header_lines(self) -> tuple[str, ...]:
        """The lines of CAMUNDA_HEADERS, each `Name: value`."""
        return _header_lines(self.camunda_headers)

    @model_validator(mode="after")
    def _check_tls(self) -> Self:
        files = ("rabbitmq_ca_file", "rabbitmq_client_cert_file", "rabbitmq_client_key_file")
        given = [name for name in (*files, "rabbitmq_tls_server_name") if getattr(self, name)]
        if given and not self.rabbitmq_tls:
            raise ValueError(f"{given[0].upper()} is of no use without RABBITMQ_TLS=true")
        if self.rabbitmq_client_key_file and not self.rabbitmq_client_cert_file:
            raise ValueError("RABBITMQ_CLIENT_KEY_FILE needs RABBITMQ_CLIENT_CERT_FILE")
        if self.rabbitmq_auth == "external" and not self.rabbitmq_client_cert_file:
            raise ValueError("RABBITMQ_AUTH=external needs RABBITMQ_TLS=true and RABBITMQ_CLIENT_CERT_FILE")
        if _has_client_credentials(self, "rabbitmq") != (self.rabbitmq_auth == "oauth"):
            raise ValueError("RABBITMQ_AUTH=oauth and RABBITMQ_OAUTH_TOKEN_URL go together: set both or neither")
        _check_files(self, *files)
        return self

    def found(self, name: str) -> Path | None:
        """Return the file that a setting names, if any; a relative one may lie beside the code."""
        path: Path | None = getattr(self, name)
        return _found(path) if path else None


def _has_client_credentials(settings: Settings, side: str) -> bool:
    """Whether tokens are fetched for this side. Raises ValueError where only some settings for that are set."""
    names = [f"{side}_oauth_{part}" for part in ("token_url", "client_id", "client_secret")]
    given = [bool(getattr(settings, name)) for name in names]
    if any(given) and not all(given):
        url, client_id, secret = (name.upper() for name in names)
        raise ValueError(f"{url}, {client_id} and {secret} go together: set all or none")
    return all(given)


def _check_files(settings: Settings, *names: str) -> None:
    """Raise ValueError where a setting names a file that does not exist."""
    for name in names:
        path = getattr(settings, name)
        if path and not _found(path).is_file():
            raise ValueError(f"{name.upper()}: there is no file {path}")


def _header_lines(headers: SecretStr | None) -> tuple[str, ...]:
    """Return the header lines of a list with commas. Raises ValueError, with no value in it."""
    lines = [line.strip() for line in headers.get_secret_value().split(",")] if headers else []
    for number, line in enumerate(lines, 1):
        if not _HEADER.fullmatch(line):
            raise ValueError(f"CAMUNDA_HEADERS: entry {number} is no header such as X-Api-Key: secret")
    return tuple(lines)


def _hosts_in(text: str, port: int) -> list[tuple[str, int]]:
    """Return the hosts of a list with commas, each with its port, `port` by default. Raises ValueError."""
    hosts = [_host_and_port(part.strip(), port) for part in text.split(",") if part.strip()]
    if not hosts:
        raise ValueError("names no host")
    return hosts


def _host_and_port(text: str, port: int) -> tuple[str, int]:
    """Read `name`, `name:port`, `10.0.0.5`, `fd00::5` or `[fd00::5]:5672`. Raises ValueError."""
    match = re.fullmatch(r"\[(?P<number>[^]]*)\](:(?P<port>\d+))?", text) if text.startswith("[") else None
    if text.startswith("[") and match is None:
        raise ValueError(f"{text!r:.80} is no address; write an IPv6 address as [fd00::5]:5672")
    if match is None and text.count(":") == 1:
        match = re.fullmatch(r"(?P<number>[^:]*):(?P<port>\d+)", text)
        if match is None:
            raise ValueError(f"{text!r:.80} is no host and port")
    host, own_port = (match["number"], match["port"]) if match else (text, None)
    _ascii_host(host, is_address=text.startswith("[") or ":" in host)
    if own_port and not 0 < int(own_port) < 65536:
        raise ValueError(f"{text!r:.80}: a port is 1 to 65535")
    return host, int(own_port) if own_port else port


def _checked_url(url: str) -> str:
    """Return a URL as it is called. Raises ValueError."""
    if "@" in url:  # before urlsplit, whose errors quote parts of a password
        raise ValueError("must not contain a login; use CAMUNDA_AUTH_USERNAME and CAMUNDA_AUTH_PASSWORD")
    if "?" in url:
        raise ValueError("must not contain a query; other paths are put behind it")
    return _url_in_ascii(url, "http://localhost:8080/engine-rest").rstrip("/")


def _url_in_ascii(url: str, example: str, schemes: Sequence[str] = ("http", "https")) -> str:
    """Return a URL without a login as it is called. Raises ValueError."""
    # The login first: the errors of urlsplit quote parts of a password.
    parts = urlsplit("" if "@" in url or _ODD_IN_URL.search(url) else url)
    if parts.scheme not in schemes or not parts.hostname or parts.port == 0:
        raise ValueError(f"is not a URL without a login, such as {example}")
    host = _ascii_host(parts.hostname, is_address="[" in parts.netloc)
    if url.isascii():
        return url
    place = parts.netloc.lower().replace(parts.hostname, host)
    path, query = quote(parts.path, safe=_SAFE_IN_PATH), quote(parts.query, safe=_SAFE_IN_PATH)
    return urlunsplit((parts.scheme, place, path, query, ""))


def secret_names() -> list[str]:
    """Return the names of the fields that hold secrets, in lower case."""
    return [name for name, field in Settings.model_fields.items() if _is_secret(field.annotation)]


def _is_secret(annotation: object) -> bool:
    return SecretStr in (annotation, *get_args(annotation))  # SecretStr, or SecretStr | None


def _found(path: Path) -> Path:
    """Return a file of the operator's: a relative one may lie beside the code, as `.env` and the logs do."""
    return path if path.exists() else ENV_FILE.parent / path


def _read_secret(name: str, given: object) -> str:
    path = _found(Path(str(given)))
    try:
        secret = path.read_text(encoding="utf-8-sig").strip()  # an editor may begin it with a mark
    except (OSError, ValueError) as error:
        raise SettingsError(f"{name.upper()}: cannot read {path}: {error}") from error
    if not secret:
        raise SettingsError(f"{name.upper()}: {path} is empty")
    if "\0" in secret or "\n" in secret:
        raise SettingsError(
            f"{name.upper()}: {path} must hold one line of UTF-8 text, and holds a NUL or more lines"
        )
    if name == "camunda_auth_token_file" and (problem := _odd_token(secret)):
        raise SettingsError(f"{name.upper()}: {path} {problem}")
    return secret


def _odd_token(token: str) -> str:
    """Return why a text is no bearer token, which a line of HTTP has to hold; empty where it is one."""
    return "" if _TOKEN.fullmatch(token) else "is no token: it holds a space, or what is not ASCII"


def _odd_bytes(value: str) -> str:
    """Return what makes a value no text; the environment hands over bytes that are no UTF-8 as half characters."""
    if "\0" in value:
        return "holds a NUL"
    return "holds bytes that are no UTF-8; write it as UTF-8" if _HALF_CHARACTER.search(value) else ""


def _ascii_host(host: str, *, is_address: bool) -> str:
    """Return a host as it is looked up. Raises ValueError for a name that none can have."""
    if is_address:
        return str(ip_address(host.partition("%")[0]))
    try:
        name = host.encode("idna").decode()
    except UnicodeError:
        raise ValueError(f"{host!r:.80} is no name of a host") from None
    if not _HOST.fullmatch(name):
        raise ValueError(f"{host!r:.80} is no name of a host")
    return name


def load_settings(env_file: Path = ENV_FILE) -> Settings:
    """Read the settings; the real environment wins over `env_file`.

    Raises SettingsError with one sentence per wrong setting; a secret's value is never in it.
    """
    check_env_file(env_file, _known_names(), PREFIXES)
    try:
        return Settings(_env_file=env_file)  # type: ignore[call-arg]  # required fields come from outside
    except ValidationError as error:
        raise SettingsError("; ".join([*_sentences(error), *_hint_at_example(error, env_file)])) from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"cannot read {env_file}: {error}") from error


def _sentences(error: ValidationError) -> list[str]:
    return [_sentence(dict(item)) for item in error.errors()]


def _hint_at_example(error: ValidationError, env_file: Path) -> Iterable[str]:
    """Yield what to do where settings are missing and so is the file."""
    if not env_file.exists() and any(item["type"] == "missing" for item in error.errors()):
        yield f"there is no {env_file}: copy config.env.example to it and fill in the first group"


def _sentence(item: dict[str, Any]) -> str:
    if not item["loc"]:
        return str(item["msg"]).removeprefix("Value error, ")
    name = str(item["loc"][0])
    if item["type"] == "missing":
        also = f" or {name.upper()}_FILE" if name in secret_names() else ""
        return f"{name.upper()} is missing: set it in the environment or in .env{also}"
    is_secret = name in secret_names() or "@" in str(item["input"])  # a URL with a login in it
    value = "" if is_secret else f" {item['input']!r}:"
    return f"{name.upper()}:{value} {str(item['msg']).removeprefix('Value error, ')}"


def worker_settings() -> Settings:
    """Read the settings for a worker; warn of names that look like settings and are none. Raises SettingsError."""
    for warning in misspelt_settings():
        logger.warning("{}", warning)
    return load_settings()


def terminal_language() -> str:
    """Return the language in which a tool speaks to whoever started it."""
    return language_of_environment(os.environ)


def misspelt_settings() -> list[str]:
    """Return a warning for each name in the environment that looks like a setting of ours but is none."""
    known = _known_names()
    found = {name for name in os.environ if name.startswith(PREFIXES)}
    return [f"{unknown_name(name, known)} (in the environment; ignored)" for name in sorted(found - set(known))]


def _known_names() -> list[str]:
    return [name.upper() for name in Settings.model_fields]


class RoutingConfig(Routing):
    """The routing that is built in, or read from a file."""

    SYSTEMS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
        "bitrix24": (
            ("bitrix_create_task", "bitrix_update_task", "bitrix_create_deal", "bitrix_update_deal",
             "bitrix_create_lead", "bitrix_create_contact", "bitrix_send_notification"),
            ("bitrix_*", "bitrix24_*"),
        ),
        "openproject": (
            ("op_create_project", "op_update_project", "op_create_work_package", "op_update_work_package",
             "op_close_work_package"),
            ("op_*", "openproject_*"),
        ),
        "1c": (
            ("1c_sync_data", "1c_create_document", "1c_update_document", "1c_create_invoice",
             "1c_get_balance"),
            ("1c_*",),
        ),
        "python-services": (
            ("send_email", "send_notification", "generate_report", "process_file"),
            ("python_*", "py_*"),
        ),
    }  # fmt: skip
    DEFAULT_SYSTEM = "default"

    @classmethod
    def built_in(cls, lock_ms: int, retry: RetryPolicy = USUAL) -> Self:
        """Return the routing for the four systems named in SYSTEMS, all with the same lock and retry policy."""
        systems = [System(name, lock_ms, *routes, retry=retry) for name, routes in cls.SYSTEMS.items()]
        return cls(systems, System(cls.DEFAULT_SYSTEM, lock_ms, retry=retry))

    @classmethod
    def load(cls, path: Path | None, lock_ms: int, retry: RetryPolicy = USUAL) -> Self:
        """Return the routing of a TOML file, or the built-in one where `path` is None.

        A relative path is looked for in the current directory, then beside the code. Raises SettingsError that
        names the file, the line and the value.
        """
        if path is None:
            return cls.built_in(lock_ms, retry)
        usual = System(cls.DEFAULT_SYSTEM, lock_ms, retry=retry)
        systems, default_name = read_routing_file(_found(path), usual)
        default = systems.pop(default_name, replace(usual, name=default_name))
        return cls(systems.values(), default)
