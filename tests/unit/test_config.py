"""The settings: what is required, what wins, what is refused, and with which words."""

from collections.abc import Callable
from pathlib import Path

import pytest

from bridge.errors import SettingsError
from config import Settings, load_settings, misspelt_settings, secret_names

REQUIRED = {
    "CAMUNDA_BASE_URL": "http://localhost:8080/engine-rest",
    "RABBITMQ_USERNAME": "worker",
    "RABBITMQ_PASSWORD": "correct horse",
}
SECRET = "battery-staple"
Load = Callable[..., Settings]

pytestmark = pytest.mark.usefixtures("clean_environment")


@pytest.fixture
def env_file(tmp_path: Path) -> Path:
    return tmp_path / ".env"


@pytest.fixture
def load(env_file: Path) -> Load:
    """Write a `.env` with the required settings and the given ones (None: leave out), and load it."""

    def load(**given: str | None) -> Settings:
        write(env_file, REQUIRED | given)
        return load_settings(env_file)

    return load


def write(env_file: Path, settings: dict[str, str] | dict[str, str | None]) -> None:
    lines = [f"{name}={value}\n" for name, value in settings.items() if value is not None]
    env_file.write_text("".join(lines), encoding="utf-8")


def refusal(load: Load, **given: str | None) -> str:
    """Return what the operator reads."""
    with pytest.raises(SettingsError) as caught:
        load(**given)
    return str(caught.value)


def test_the_required_settings_are_enough(load: Load) -> None:
    settings = load()

    assert settings.camunda_base_url == "http://localhost:8080/engine-rest"
    assert settings.rabbitmq_username == "worker"
    assert settings.rabbitmq_password.get_secret_value() == "correct horse"


def test_the_defaults_are_those_of_the_contract(load: Load) -> None:
    settings = load()

    assert settings.model_dump(exclude={name.lower() for name in REQUIRED}) == {
        "camunda_worker_id": "universal-worker",
        "camunda_max_tasks": 10,
        "camunda_lock_duration": 600_000,
        "camunda_auth_username": None,
        "camunda_auth_password": None,
        "camunda_auth_password_file": None,
        "camunda_topics_include": ("*",),
        "camunda_topics_exclude": (),
        "camunda_tenant_ids": (),
        "camunda_accept_worker_ids": (),
        "camunda_async_response_timeout": 5000,
        "camunda_lease": "two-step",
        "camunda_lease_duration": 60_000,
        "camunda_extend_after": 1500,
        "camunda_max_in_flight": 10_000,
        "camunda_retries": 3,
        "camunda_retry_timeout": 30_000,
        "camunda_complete_timeout": 300_000,
        "rabbitmq_host": "localhost",
        "rabbitmq_port": 5672,
        "camunda_auth_token": None,
        "camunda_auth_token_file": None,
        "camunda_oauth_token_url": None,
        "camunda_oauth_client_id": None,
        "camunda_oauth_client_secret": None,
        "camunda_oauth_client_secret_file": None,
        "camunda_oauth_scope": None,
        "camunda_oauth_audience": None,
        "camunda_headers": None,
        "camunda_headers_file": None,
        "camunda_ca_file": None,
        "camunda_client_cert_file": None,
        "camunda_client_key_file": None,
        "camunda_proxy": None,
        "rabbitmq_tls": False,
        "rabbitmq_ca_file": None,
        "rabbitmq_client_cert_file": None,
        "rabbitmq_client_key_file": None,
        "rabbitmq_tls_server_name": None,
        "rabbitmq_auth": "password",
        "rabbitmq_oauth_token_url": None,
        "rabbitmq_oauth_client_id": None,
        "rabbitmq_oauth_client_secret": None,
        "rabbitmq_oauth_client_secret_file": None,
        "rabbitmq_oauth_scope": None,
        "rabbitmq_oauth_audience": None,
        "rabbitmq_virtual_host": "/",
        "rabbitmq_password_file": None,
        "rabbitmq_prefetch": 100,
        "rabbitmq_queue_high_water": 1000,
        "rabbitmq_heartbeat": 30,
        "rabbitmq_queue_type": "classic",
        "rabbitmq_topology": "declare",
        "rabbitmq_max_message_bytes": 1_048_576,
        "rabbitmq_error_queue_max": 10_000,
        "responses_require_user_id": False,
        "routing_file": None,
        "status_host": "127.0.0.1",
        "status_port": 8090,
        "otel_exporter_otlp_endpoint": None,
        "otel_service_name": "universal-camunda-worker",
        "log_level": "INFO",
        "log_format": "text",
        "log_dir": Path("logs"),
    }


@pytest.mark.parametrize(
    "url", ["collector:4318", "grpc://collector:4317", "http://me:secret@collector", "http://"]
)
def test_a_collector_is_a_url_without_a_login(load: Load, url: str) -> None:
    sentence = refusal(load, OTEL_EXPORTER_OTLP_ENDPOINT=url)

    assert sentence.startswith("OTEL_EXPORTER_OTLP_ENDPOINT:")
    assert "is not a URL without a login, such as http://localhost:4318" in sentence
    assert "secret" not in sentence


@pytest.mark.parametrize("name", REQUIRED)
def test_a_missing_required_setting_is_named(load: Load, name: str) -> None:
    sentence = refusal(load, **{name: None})

    assert sentence.startswith(f"{name} is missing: set it in the environment or in .env")


def test_a_missing_password_may_also_come_from_a_file(load: Load) -> None:
    sentence = refusal(load, RABBITMQ_PASSWORD=None)

    assert sentence.endswith("or RABBITMQ_PASSWORD_FILE")


def test_all_wrong_settings_are_named_at_once(load: Load) -> None:
    sentence = refusal(load, CAMUNDA_BASE_URL=None, RABBITMQ_PORT="rabbit", LOG_LEVEL="chatty")

    assert [part.split(" ")[0].rstrip(":") for part in sentence.split("; ")] == [
        "CAMUNDA_BASE_URL",
        "RABBITMQ_PORT",
        "LOG_LEVEL",
    ]


def test_without_any_env_file_the_environment_is_enough(
    tmp_path: Path, clean_environment: pytest.MonkeyPatch
) -> None:
    for name, value in REQUIRED.items():
        clean_environment.setenv(name, value)

    settings = load_settings(tmp_path / "no such file")

    assert settings.rabbitmq_username == "worker"


def test_the_real_environment_wins_over_the_env_file(load: Load, clean_environment: pytest.MonkeyPatch) -> None:
    clean_environment.setenv("RABBITMQ_HOST", "from-environment")

    settings = load(RABBITMQ_HOST="from-file", RABBITMQ_PORT="5673")

    assert (settings.rabbitmq_host, settings.rabbitmq_port) == ("from-environment", 5673)


def test_a_blank_value_in_the_env_file_counts_as_not_set(load: Load) -> None:
    settings = load(CAMUNDA_MAX_TASKS="", CAMUNDA_AUTH_USERNAME="", CAMUNDA_TOPICS_INCLUDE="")

    assert (settings.camunda_max_tasks, settings.camunda_auth_username) == (10, None)
    assert settings.camunda_topics_include == ("*",)


def test_a_blank_value_in_the_environment_does_not_hide_the_env_file(
    load: Load, clean_environment: pytest.MonkeyPatch
) -> None:
    clean_environment.setenv("RABBITMQ_HOST", "")

    settings = load(RABBITMQ_HOST="from-file")

    assert settings.rabbitmq_host == "from-file"


def test_a_blank_required_setting_is_missing(load: Load) -> None:
    assert refusal(load, RABBITMQ_PASSWORD="").startswith("RABBITMQ_PASSWORD is missing")


def test_an_env_file_in_another_encoding_is_named(env_file: Path) -> None:
    env_file.write_text("CAMUNDA_BASE_URL=http://localhost", encoding="utf-16")

    with pytest.raises(SettingsError, match=r"cannot read .*\.env"):
        load_settings(env_file)


def test_an_env_file_saved_by_notepad_with_a_byte_order_mark_is_read(env_file: Path) -> None:
    text = "".join(f"{name}={value}\n" for name, value in REQUIRED.items())
    env_file.write_text(text, encoding="utf-8-sig")

    assert load_settings(env_file).camunda_base_url == REQUIRED["CAMUNDA_BASE_URL"]


@pytest.mark.parametrize(
    ("name", "login"), [("RABBITMQ_PASSWORD", {}), ("CAMUNDA_AUTH_PASSWORD", {"CAMUNDA_AUTH_USERNAME": "demo"})]
)
def test_a_secret_may_come_from_a_file(load: Load, tmp_path: Path, name: str, login: dict[str, str]) -> None:
    secret_file = tmp_path / "secret"
    secret_file.write_text(f"{SECRET}\n", encoding="utf-8")

    settings = load(**login, **{name: None, f"{name}_FILE": str(secret_file)})

    assert getattr(settings, name.lower()).get_secret_value() == SECRET


def test_a_secret_given_directly_wins_over_its_file(load: Load, tmp_path: Path) -> None:
    settings = load(RABBITMQ_PASSWORD=SECRET, RABBITMQ_PASSWORD_FILE=str(tmp_path / "no such file"))

    assert settings.rabbitmq_password.get_secret_value() == SECRET


@pytest.mark.parametrize(
    ("file", "place"),
    [
        (None, "RABBITMQ_PASSWORD"),
        ("/srv/secret", "RABBITMQ_PASSWORD_FILE /srv/secret"),
        (
            "/run/credentials/camunda-worker.service/rabbitmq_password",
            "/etc/camunda-worker/rabbitmq_password, then run: sudo systemctl restart camunda-worker",
        ),
    ],
)
def test_a_person_is_told_where_to_correct_a_password(load: Load, file: str | None, place: str) -> None:
    settings = load().model_copy(update={"rabbitmq_password_file": file and Path(file)})

    assert settings.place_of("rabbitmq_password") == place


def test_every_secret_has_a_file_setting() -> None:
    assert secret_names() == [
        "camunda_auth_password",
        "camunda_auth_token",
        "camunda_oauth_client_secret",
        "camunda_headers",
        "rabbitmq_password",
        "rabbitmq_oauth_client_secret",
    ]
    assert all(f"{name}_file" in Settings.model_fields for name in secret_names())


def test_a_secret_file_that_is_not_there_is_named(load: Load, tmp_path: Path) -> None:
    path = tmp_path / "no such file"

    sentence = refusal(load, RABBITMQ_PASSWORD=None, RABBITMQ_PASSWORD_FILE=str(path))

    assert sentence.startswith(f"RABBITMQ_PASSWORD_FILE: cannot read {path}: ")


def test_an_empty_secret_file_is_named(load: Load, tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("\n", encoding="utf-8")

    sentence = refusal(load, RABBITMQ_PASSWORD=None, RABBITMQ_PASSWORD_FILE=str(path))

    assert sentence == f"RABBITMQ_PASSWORD_FILE: {path} is empty"


def test_a_secret_file_of_other_bytes_does_not_show_them(load: Load, tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_bytes(SECRET.encode() + b"\xff")

    sentence = refusal(load, RABBITMQ_PASSWORD=None, RABBITMQ_PASSWORD_FILE=str(path))

    assert sentence.startswith("RABBITMQ_PASSWORD_FILE: cannot read ")
    assert SECRET not in sentence


@pytest.mark.parametrize("milliseconds", [10_000, 49 * 24 * 3600 * 1000])
def test_a_lock_of_10_seconds_to_49_days_is_taken(load: Load, milliseconds: int) -> None:
    assert load(CAMUNDA_LOCK_DURATION=str(milliseconds)).camunda_lock_duration == milliseconds


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CAMUNDA_LOCK_DURATION", "9999"),
        ("CAMUNDA_LOCK_DURATION", str(49 * 24 * 3600 * 1000 + 1)),
        ("CAMUNDA_LOCK_DURATION", "10 min"),
        ("CAMUNDA_MAX_TASKS", "0"),
        ("CAMUNDA_MAX_TASKS", "1001"),
        ("CAMUNDA_ASYNC_RESPONSE_TIMEOUT", "99"),
        ("CAMUNDA_ASYNC_RESPONSE_TIMEOUT", "20001"),
        ("CAMUNDA_RETRIES", "-1"),
        ("CAMUNDA_RETRY_TIMEOUT", "-1"),
        ("CAMUNDA_COMPLETE_TIMEOUT", "29999"),
        ("CAMUNDA_COMPLETE_TIMEOUT", "600001"),
        ("CAMUNDA_WORKER_ID", "two words"),
        ("CAMUNDA_WORKER_ID", "w" * 65),
        ("RABBITMQ_PORT", "0"),
        ("RABBITMQ_PORT", "65536"),
        ("RABBITMQ_PORT", "tcp://10.0.0.1:5672"),
        ("RABBITMQ_PREFETCH", "0"),
        ("RABBITMQ_HEARTBEAT", "4"),
        ("RABBITMQ_HEARTBEAT", "601"),
        ("RABBITMQ_QUEUE_TYPE", "stream"),
        ("RABBITMQ_TOPOLOGY", "no"),
        ("RABBITMQ_MAX_MESSAGE_BYTES", "1023"),
        ("LOG_LEVEL", "CHATTY"),
        ("LOG_FORMAT", "xml"),
    ],
)
def test_a_value_out_of_range_is_named_and_shown(load: Load, name: str, value: str) -> None:
    sentence = refusal(load, **{name: value})

    assert sentence.startswith(f"{name}: {value!r}: ")


def test_the_log_level_may_be_in_lower_case(load: Load) -> None:
    assert load(LOG_LEVEL="debug").log_level == "DEBUG"


@pytest.mark.parametrize("url", ["https://camunda.example.com/engine-rest", "http://[::1]:8080/engine-rest"])
def test_a_url_is_kept_without_its_last_slash(load: Load, url: str) -> None:
    assert load(CAMUNDA_BASE_URL=f"{url}/").camunda_base_url == url


@pytest.mark.parametrize(
    "url",
    ["localhost:8080/engine-rest", "ftp://localhost/engine-rest", "http://", "http://:8080/x", "/engine-rest",
     "http://localhost:port/x", "http://localhost:99999/x", "http://localhost:0/x", "http://[::1/x"],
)  # fmt: skip
def test_what_is_no_url_is_named_and_shown(load: Load, url: str) -> None:
    sentence = refusal(load, CAMUNDA_BASE_URL=url)

    assert sentence.startswith(f"CAMUNDA_BASE_URL: {url!r}: ")


@pytest.mark.parametrize(
    "url",
    [f"http://demo:{SECRET}@localhost/x", f"demo:{SECRET}@localhost/x", f"http://demo:{SECRET}/@localhost/x",
     f"http://demo:@{SECRET}@localhost/x", f"http://demo:{SECRET}@localhost:port/x"],
)  # fmt: skip
def test_a_login_in_the_url_is_refused_and_not_shown(load: Load, url: str) -> None:
    sentence = refusal(load, CAMUNDA_BASE_URL=url)

    assert sentence == (
        "CAMUNDA_BASE_URL: must not contain a login; use CAMUNDA_AUTH_USERNAME and CAMUNDA_AUTH_PASSWORD"
    )


def test_a_login_is_a_username_and_a_password(load: Load) -> None:
    settings = load(CAMUNDA_AUTH_USERNAME="demo", CAMUNDA_AUTH_PASSWORD=SECRET)

    assert settings.camunda_auth_username == "demo"
    assert settings.camunda_auth_password is not None
    assert settings.camunda_auth_password.get_secret_value() == SECRET


@pytest.mark.parametrize("half", [{"CAMUNDA_AUTH_USERNAME": "demo"}, {"CAMUNDA_AUTH_PASSWORD": SECRET}])
def test_half_a_login_is_refused_and_the_password_not_shown(load: Load, half: dict[str, str]) -> None:
    sentence = refusal(load, **half)

    assert sentence == "CAMUNDA_AUTH_USERNAME and CAMUNDA_AUTH_PASSWORD go together: set both or neither"


def test_settings_print_without_their_secrets(load: Load) -> None:
    settings = load(RABBITMQ_PASSWORD=SECRET, CAMUNDA_AUTH_USERNAME="demo", CAMUNDA_AUTH_PASSWORD=SECRET)

    assert SECRET not in f"{settings!r} {settings} {settings.model_dump_json()}"


def test_comma_lists_lose_spaces_and_empty_parts(load: Load) -> None:
    settings = load(CAMUNDA_TOPICS_INCLUDE=" bitrix_*, send_email ,,", CAMUNDA_TENANT_IDS="one")

    assert settings.camunda_topics_include == ("bitrix_*", "send_email")
    assert settings.camunda_tenant_ids == ("one",)


def test_settings_cannot_be_changed(load: Load) -> None:
    settings = load()

    with pytest.raises(ValueError, match="frozen"):
        settings.rabbitmq_host = "elsewhere"


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("CAMUNDA_TOPIC_INCLUDE", "CAMUNDA_TOPICS_INCLUDE"),
        ("CAMUNDA_MAX_TASK", "CAMUNDA_MAX_TASKS"),
        ("RABBITMQ_PASWORD", "RABBITMQ_PASSWORD"),
        ("CAMUDNA_BASE_URL", "CAMUNDA_BASE_URL"),
        ("camunda_base_ur1".upper(), "CAMUNDA_BASE_URL"),
        ("LOG_LVL", "LOG_LEVEL"),
    ],
)
def test_a_misspelt_name_in_the_env_file_ends_the_start_and_names_the_right_one(
    env_file: Path, name: str, meant: str
) -> None:
    write(env_file, {**REQUIRED, name: SECRET})

    with pytest.raises(SettingsError) as caught:
        load_settings(env_file)

    line = len(REQUIRED) + 1
    assert str(caught.value) == (
        f"{env_file}, line {line}: {name} is not a setting of this worker; did you mean {meant}?"
    )


def test_a_misspelt_name_in_the_environment_is_a_warning(clean_environment: pytest.MonkeyPatch) -> None:
    clean_environment.setenv("RABBITMQ_HOSTS", "a")

    assert misspelt_settings() == [
        "RABBITMQ_HOSTS is not a setting of this worker; did you mean RABBITMQ_HOST? (in the environment; ignored)"
    ]


def test_a_name_like_none_of_ours_gets_no_suggestion(env_file: Path) -> None:
    write(env_file, {**REQUIRED, "LOG_0123456789_ABCDEF": "1"})

    with pytest.raises(SettingsError, match=r"LOG_0123456789_ABCDEF is not a setting of this worker$"):
        load_settings(env_file)


def test_known_names_and_names_of_others_are_no_mistake(
    env_file: Path, clean_environment: pytest.MonkeyPatch
) -> None:
    write(env_file, {**REQUIRED, "PATH_TO_SOMETHING": "x", "TZ": "Europe/Moscow"})
    clean_environment.setenv("CAMUNDA_MAX_TASKS", "5")

    assert misspelt_settings() == []
    assert load_settings(env_file).camunda_max_tasks == 5


@pytest.mark.parametrize("line", ["RABBITMQ_PASSWORD='secret", 'LOG_LEVEL="INFO', "NAME WITHOUT VALUE"])
def test_a_line_that_cannot_be_read_is_named_and_not_quoted(env_file: Path, line: str) -> None:
    env_file.write_text(f"CAMUNDA_BASE_URL=http://localhost\n{line}\nSTATUS_PORT=0\n", encoding="utf-8")

    with pytest.raises(SettingsError) as caught:
        load_settings(env_file)

    assert str(caught.value) == f"{env_file}, line 2: it cannot be read; is a quote missing?"


def test_values_of_the_example_file_are_named(env_file: Path) -> None:
    example = Path(__file__).resolve().parents[2] / "config.env.example"
    env_file.write_text(example.read_text(encoding="utf-8"), encoding="utf-8")

    with pytest.raises(SettingsError) as caught:
        load_settings(env_file)

    for name in ("CAMUNDA_BASE_URL", "RABBITMQ_USERNAME", "RABBITMQ_PASSWORD"):
        assert f"{name} still has the value of the example" in str(caught.value)


def test_where_there_is_no_env_file_the_example_is_named(env_file: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(env_file)

    assert f"there is no {env_file}: copy config.env.example to it" in str(caught.value)


def test_a_secret_of_a_file_is_read_again(load: Load, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("old\n", encoding="utf-8")
    settings = load(RABBITMQ_PASSWORD=None, RABBITMQ_PASSWORD_FILE=str(file))

    file.write_text("new\n", encoding="utf-8")

    assert settings.secret_now("rabbitmq_password") == "new"


def test_a_secret_whose_file_is_gone_stays_as_it_was(load: Load, tmp_path: Path, logged: list[str]) -> None:
    file = tmp_path / "password"
    file.write_text("old", encoding="utf-8")
    settings = load(RABBITMQ_PASSWORD=None, RABBITMQ_PASSWORD_FILE=str(file))

    file.unlink()

    assert settings.secret_now("rabbitmq_password") == "old"
    assert "RABBITMQ_PASSWORD_FILE: cannot read" in logged[-1]


def test_a_secret_that_is_given_directly_wins_over_its_file_for_good(load: Load, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("of the file", encoding="utf-8")

    settings = load(RABBITMQ_PASSWORD="direct", RABBITMQ_PASSWORD_FILE=str(file))

    assert settings.secret_now("rabbitmq_password") == "direct"


@pytest.mark.parametrize("host", [f"amqp://worker:{SECRET}@broker", "broker/vhost"])
def test_a_host_that_is_more_than_a_name_is_refused_without_its_password(load: Load, host: str) -> None:
    sentence = refusal(load, RABBITMQ_HOST=host)

    assert sentence.startswith("RABBITMQ_HOST:")
    assert "must be a host name alone" in sentence
    assert SECRET not in sentence


def test_the_settings_describe_themselves_without_secrets(load: Load) -> None:
    text = load(RABBITMQ_PASSWORD=SECRET, CAMUNDA_TOPICS_EXCLUDE="a_*, b").described()

    assert "CAMUNDA_BASE_URL=http://localhost:8080/engine-rest, " in text
    assert "CAMUNDA_TOPICS_EXCLUDE=a_*,b, " in text
    assert "RABBITMQ_PASSWORD=**********, " in text
    assert "CAMUNDA_AUTH_USERNAME" not in text
    assert SECRET not in text


@pytest.mark.parametrize(
    ("hosts", "settings", "found"),
    [
        ("a", {}, [("a", 5672)]),
        ("a, b:5673,c", {}, [("a", 5672), ("b", 5673), ("c", 5672)]),
        ("a,b", {"RABBITMQ_PORT": "5680"}, [("a", 5680), ("b", 5680)]),
        ("a,b:5672", {"RABBITMQ_TLS": "true"}, [("a", 5671), ("b", 5672)]),
        ("a", {"RABBITMQ_TLS": "true", "RABBITMQ_PORT": "5672"}, [("a", 5672)]),
        ("fd00::5", {}, [("fd00::5", 5672)]),
        ("[fd00::5]:5673, [::1]", {}, [("fd00::5", 5673), ("::1", 5672)]),
        ("10.0.0.5:1", {}, [("10.0.0.5", 1)]),
    ],
)
def test_the_nodes_of_the_broker_are_a_list(
    load: Load, hosts: str, settings: dict[str, str], found: list[tuple[str, int]]
) -> None:
    assert load(RABBITMQ_HOST=f'"{hosts}"', **settings).rabbitmq_hosts == found


@pytest.mark.parametrize("hosts", ["[fd00::5", "a:b", "a:0", "a:65536", ",", "a b", "[a]:1", "fd00::zz"])
def test_a_host_that_none_can_have_is_refused(load: Load, hosts: str) -> None:
    assert refusal(load, RABBITMQ_HOST=f'"{hosts}"').startswith("RABBITMQ_HOST:")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"RABBITMQ_CA_FILE": "x.pem"}, "RABBITMQ_CA_FILE is of no use without RABBITMQ_TLS=true"),
        ({"RABBITMQ_TLS_SERVER_NAME": "x"}, "RABBITMQ_TLS_SERVER_NAME is of no use"),
        ({"RABBITMQ_TLS": "true", "RABBITMQ_CA_FILE": "x.pem"}, "RABBITMQ_CA_FILE: there is no file x.pem"),
        ({"RABBITMQ_TLS": "true", "RABBITMQ_CLIENT_KEY_FILE": "x.pem"}, "needs RABBITMQ_CLIENT_CERT_FILE"),
        ({"RABBITMQ_AUTH": "external"}, "RABBITMQ_AUTH=external needs RABBITMQ_TLS=true"),
        ({"RABBITMQ_AUTH": "oauth"}, "RABBITMQ_AUTH=oauth and RABBITMQ_OAUTH_TOKEN_URL go together"),
        ({"RABBITMQ_OAUTH_CLIENT_ID": "us"}, "RABBITMQ_OAUTH_CLIENT_SECRET go together: set all or none"),
    ],
)
def test_what_tls_needs_is_said_at_the_start(load: Load, settings: dict[str, str], words: str) -> None:
    assert words in refusal(load, **settings)


def test_a_password_that_wins_over_its_file_is_said(load: Load, tmp_path: Path, logged: list[str]) -> None:
    file = tmp_path / "password"
    file.write_text(SECRET, encoding="utf-8")

    settings = load(RABBITMQ_PASSWORD_FILE=str(file))

    assert settings.rabbitmq_password.get_secret_value() == REQUIRED["RABBITMQ_PASSWORD"]
    assert logged == ["WARNING RABBITMQ_PASSWORD is set and wins, RABBITMQ_PASSWORD_FILE is not read\n"]
