"""What the tools print fits a terminal of 80 columns, and nothing that somebody copies is cut or broken."""

import subprocess
from types import SimpleNamespace
from typing import Any

import pytest
from pika.spec import BasicProperties
from rich.cells import cell_len

from bridge.counted import counted
from bridge.errors import LoginRefused, Unavailable
from bridge.routing import Routing, System
from tools import check_queues, worker_diagnostics
from tools.camunda_processes import Row
from tools.dead_letters import COMMANDS, Desk
from tools.lib.browser import Found
from tools.lib.diagnosis import remedies
from tools.lib.diagnosis.finding import Finding, Level, Seen
from tools.lib.layout import block_of, console, folded, folded_command, plain
from tools.lib.toolbox import _described, show

WIDTH = 80
ID = "3f2504e0-4f89-11d3-9a0c-0305e82c3301"
TOPIC = "a_topic_of_a_department_with_a_name_of_sixty_characters_long"
RUSSIAN = "согласование_договора_поставки_оборудования_для_филиала"
ERROR = "RestException: SMTP [down]: 550 mailbox unavailable, try again later or tell that domain's postmaster"
COMMAND = "python tools/retry_incidents.py --topic send_email --retries 3"

TASK: Row = {
    "task": ID,
    "topic": TOPIC,
    "state": "locked by universal-worker",
    "lock_ends": "2026-11-27 21:00:03+00:00",
    "retries": 3,
    "process": RUSSIAN,
    "instance": ID[::-1],
    "error": ERROR,
}
INCIDENT: Row = {"since": "2026-11-27 21:00:03+00:00", "type": "failedExternalTask", "message": ERROR, "task": ID}
QUEUE: Row = {
    "queue": f"{TOPIC}.queue",
    "ready": 100_000,
    "unacked": None,
    "consumers": 0,
    "oldest": "10 min",
    "problem": "messages wait and nobody listens",
}


@pytest.fixture(autouse=True)
def narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(WIDTH))
    monkeypatch.setattr("tools.lib.layout.UNKNOWN_WIDTH", 0)  # 80 columns is what this terminal says


def assert_fits(shown: str, *whole: str) -> None:
    lines = shown.splitlines()
    assert [line for line in lines if cell_len(line) > WIDTH] == []
    for text in whole:
        assert any(text in line for line in lines), f"{text!r} stands in no line"
    assert "…" not in shown


@pytest.mark.parametrize("row", [TASK, INCIDENT, QUEUE])
def test_rows_fit_and_keep_what_is_copied(row: Row, capsys: pytest.CaptureFixture[str]) -> None:
    show([row, row], as_json=False, title="what there is")

    copied = [str(row[name]) for name in ("task", "topic", "instance", "queue", "process") if name in row]
    assert_fits(capsys.readouterr().out, *copied)


def test_what_fits_is_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    show([{"task": ID, "retries": 3, "message": ERROR}], as_json=False)

    shown = capsys.readouterr().out
    assert "│" in shown
    assert_fits(shown, ID)


def test_where_there_is_little_room_what_nobody_has_takes_no_column(capsys: pytest.CaptureFixture[str]) -> None:
    show([{"process": RUSSIAN, "tenant": None, "started": "2026-11-27"}], as_json=False)

    shown = capsys.readouterr().out
    assert "tenant" not in shown
    assert "│" in shown


def test_a_value_longer_than_a_line_is_not_broken() -> None:
    long = "x" * 100

    assert [line.strip() for line in block_of({"topic": long}, WIDTH)] == ["topic", long]


def test_a_command_is_never_broken_into_two_lines() -> None:
    lines = folded(f"give them new retries once their reason is mended: {COMMAND}; or look at them first", 60)

    assert any(COMMAND in line for line in lines)


@pytest.mark.parametrize("width", [20, 40, WIDTH])
def test_a_shell_reads_a_folded_command_as_the_whole_one(width: int) -> None:
    pattern = "^(" + "|".join(["1c\\.queue", "it's", RUSSIAN] * 4) + ")$"
    words = ["printf", "%s\\n", "a b", pattern, "", '{"a": 1}']

    lines = folded_command(words, width)

    assert max(map(cell_len, lines)) <= width
    assert width < WIDTH or sum(RUSSIAN in line for line in lines) == 4
    done = subprocess.run(["/bin/sh", "-c", "\n".join(lines)], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:-1] == words[2:]


def test_what_others_wrote_does_not_command_the_terminal() -> None:
    assert plain("[bold]red\x1b[31m\u202e\ta\nb") == "[bold]red\\x1b[31m\\u202e a\nb"


def test_help_is_folded_and_its_examples_are_not() -> None:
    example = f"Examples:\n  {COMMAND} --and more than fits"

    assert _described(f"{'some words ' * 9}\n\n{example}\n", 40).split("\n\n") == [
        "some words some words some words some\nwords some words some words some words\nsome words some words",
        example,
    ]


def test_findings_fit(capsys: pytest.CaptureFixture[str]) -> None:
    seen = Seen(Level.PROBLEM, f"{ERROR}: {ERROR}", f"mend it, then {COMMAND}", (f"task {ID} of topic {TOPIC}",))

    worker_diagnostics._print([Finding("tasks: failed", "tasks with no retries left", seen)])

    assert_fits(capsys.readouterr().out, ID, TOPIC)


def test_queues_fit_as_people_see_them(capsys: pytest.CaptureFixture[str]) -> None:
    row = check_queues.row_of("1c.queue", None, check_queues.UNKNOWN, expects_reader=True, now=0)

    console().print(check_queues.layout([row, {**row, "queue": f"{TOPIC}.queue"}], WIDTH))

    assert_fits(capsys.readouterr().out, "1c.queue", f"{TOPIC}.queue", check_queues.MISSING)


def test_failed_tasks_fit(capsys: pytest.CaptureFixture[str]) -> None:
    show([{"topic": TOPIC, "failed": 3, "message": ERROR, "for_example": ID}], as_json=False)

    assert_fits(capsys.readouterr().out, TOPIC, ID)


def listed(body: bytes, headers: dict[str, Any], capsys: pytest.CaptureFixture[str], **properties: Any) -> str:
    routing = Routing([System("bitrix24", 600_000, (TOPIC,))], System("default", 600_000))
    desk: Any = Desk(None, routing, type("Arguments", (), {"json": False}))  # type: ignore[arg-type]
    COMMANDS["list"](desk, [Found(1, body, headers, BasicProperties(**properties))])
    return capsys.readouterr().out


def test_a_dead_letter_is_shown_with_its_task_its_sender_and_its_beginning(
    capsys: pytest.CaptureFixture[str],
) -> None:
    headers = {
        "x-error-reason": "invalid",
        "x-topic": TOPIC,
        "x-error-detail": ERROR,
        "x-sender-user-id": "bitrix",
    }
    body = b'{"task_id": "%s", "response_type": "complet", "variables": {"a": 1}}' % ID.encode()

    shown = listed(body, headers, capsys, app_id="bitrix-client 1.2", correlation_id="order 7")

    assert_fits(shown, ID, TOPIC, "bitrix24", "bitrix-client 1.2", "order 7", body[:60].decode())
    assert "bitrix\n" in shown


def test_a_letter_of_an_unknown_topic_is_of_the_system_whose_user_sent_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    sent = {"x-error-reason": "invalid", "x-sender-user-id": "bitrix24"}

    assert "system   bitrix24" in listed(b"?", sent, capsys)
    assert "system" not in listed(b"?", {**sent, "x-sender-user-id": "guest"}, capsys)
    assert "system" not in listed(b"?", {"x-error-reason": "invalid"}, capsys, user_id="bitrix24")
    assert "system   bitrix24" in listed(b"?", {}, capsys, user_id="bitrix24")


def test_of_a_letter_that_is_no_json_all_is_shown_that_can_be_read(capsys: pytest.CaptureFixture[str]) -> None:
    shown = listed(b"\xff\x00<xml>\n" * 20, {"x-error-reason": "invalid"}, capsys, correlation_id=ID)

    assert_fits(shown, ID, "\\xff <xml>")


@pytest.mark.parametrize(
    ("error", "remedy", "not_remedy"),
    [
        (
            Unavailable("RabbitMQ at h (RABBITMQ_HOST) is away"),
            "start RabbitMQ",
            "PASSWORD",
        ),
        (
            LoginRefused("RabbitMQ at h refuses the login: RABBITMQ_USERNAME"),
            "change_password u",
            "start",
        ),
        (LoginRefused("RabbitMQ at h refuses RABBITMQ_VIRTUAL_HOST 'v': no"), "add_vhost v", "PASSWORD"),
        (
            Unavailable("RabbitMQ at h has a certificate: RABBITMQ_CA_FILE"),
            "openssl s_client",
            "start",
        ),
        (Unavailable("RabbitMQ at h speaks TLS there: set RABBITMQ_TLS=true"), "openssl s_client", "start"),
        (Unavailable("no token from RABBITMQ_OAUTH_TOKEN_URL x"), "identity provider", "start"),
    ],
)
def test_the_remedy_fits_the_error_of_the_broker(error: Unavailable, remedy: str, not_remedy: str) -> None:
    names = {"host": "h", "port": 5671, "username": "u", "virtual_host": "v", "auth": "password"}
    settings: Any = SimpleNamespace(**{f"rabbitmq_{name}": value for name, value in names.items()})

    said = remedies.for_broker(error, settings)

    assert remedy in said
    assert not_remedy not in said


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("no engine at CAMUNDA_BASE_URL http://e: Connection refused", "start the engine"),
        ("its certificate is of a CA that we do not trust, set CAMUNDA_CA_FILE", "openssl s_client"),
        ("the proxy (CAMUNDA_PROXY, http_proxy) does not lead there", "CAMUNDA_PROXY=none"),
        ("no token from CAMUNDA_OAUTH_TOKEN_URL http://x", "identity provider"),
    ],
)
def test_the_remedy_fits_the_error_of_the_engine(text: str, remedy: str) -> None:
    assert remedy in remedies.for_engine(Unavailable(text))


def test_a_login_that_the_engine_refuses_has_a_remedy_of_its_own() -> None:
    refused = LoginRefused("CAMUNDA_BASE_URL http://e wants a login: check CAMUNDA_AUTH_USERNAME")

    assert "CAMUNDA_AUTH_PASSWORD; after a wrong one" in remedies.for_engine(refused)


def test_numbers_have_their_nouns() -> None:
    assert [counted(number, "retry", "retries") for number in (0, 1, 2)] == ["0 retries", "1 retry", "2 retries"]
    assert counted(1, "task") == "1 task"
