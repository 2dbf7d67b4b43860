"""The tools speak the language of the terminal: what people read is Russian, what is copied or parsed stays."""

import argparse
import importlib
import io
import json
import re
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pycurl
import pytest
from pika.adapters.utils.connection_workflow import AMQPConnectorStackTimeout
from pika.exceptions import ProbableAccessDeniedError, ProbableAuthenticationError
from pika.spec import BasicProperties

from bridge.broker import QueueState
from bridge.broker.tls import Tls
from bridge.engine import Http, Login, Reply, Rest
from bridge.engine.replies import usable
from bridge.engine.transport import reason_of
from bridge.errors import LoginRefused, SettingsError, Unavailable
from bridge.process.shared import broker_of, topology_of
from bridge.texts import Said, in_language, language, translated
from config import RoutingConfig, Settings
from tests.unit.test_dead_letters import Browser
from tests.unit.test_dead_letters import run as run_dead_letters
from tests.unit.test_tool_layout import INCIDENT, QUEUE, TASK, WIDTH, assert_fits
from tests.unit.test_tools import LOCKED, NOW, ROOT, TOOLS, open_task, statistics
from tools import camunda_processes, check_queues, dead_letters, retry_incidents, routing, unlock_task
from tools import worker_diagnostics as diagnostics
from tools.lib import toolbox
from tools.lib.browser import Found
from tools.lib.diagnosis import broker_checks, engine_checks, lost_tasks, remedies
from tools.lib.diagnosis.broker_checks import BrokerChecks
from tools.lib.diagnosis.engine_checks import EngineChecks
from tools.lib.diagnosis.finding import Check, Finding, Level, Seen, examine, examine_all
from tools.lib.headings import HEADINGS
from tools.lib.inspection import Inspection
from tools.lib.layout import console
from tools.lib.operations import Operations

WORDS = "the|and|or|of|to|is|are|not?|with|only|by|in|for|has|have|each|ready|listening|held|yes"
ENGLISH = re.compile(rf"(?<![\w./=-])({WORDS})(?![\w./:-])")
ROUTING = RoutingConfig.built_in(600_000)
NEEDED = {"CAMUNDA_BASE_URL": "http://engine", "RABBITMQ_USERNAME": "worker", "RABBITMQ_PASSWORD": "p"}
SETTINGS = Settings.model_validate({name.lower(): value for name, value in NEEDED.items()})
LETTER = Found(1, b'{"task_id": "t7"}', {"x-error-reason": "invalid"}, BasicProperties(app_id="client"))


@pytest.fixture(autouse=True)
def russian(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("COLUMNS", str(WIDTH))
    monkeypatch.setattr("tools.lib.layout.UNKNOWN_WIDTH", 0)  # 80 columns is what this terminal says
    with in_language("ru"):
        yield


def expired(words: str) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, words)
    error.verify_message = words
    return error


def assert_russian(shown: str, *whole: str) -> None:
    assert_fits(shown, *whole)
    assert re.search("[а-я]{4}", shown)
    assert [line for line in shown.splitlines() if ENGLISH.search(line)] == []


@pytest.mark.parametrize("tool", TOOLS)
def test_the_help_is_russian_and_fits(tool: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        importlib.import_module(f"tools.{tool.removesuffix('.py')}").main(["--help"])

    shown = capsys.readouterr().out
    assert end.value.code == 0
    assert_russian(shown, "Примеры:", f"python tools/{tool}", "Код завершения", "-h, --help")
    assert shown.startswith(f"вызов: {Path(sys.argv[0]).name} ")


@pytest.mark.parametrize(
    ("locale", "words"),
    [
        ({"LANG": "ru_RU.UTF-8"}, "вызов: unlock_task.py"),
        ({"LANG": "ru_RU.UTF-8", "LC_ALL": "C.UTF-8"}, "usage: unlock_task.py"),
        ({"LANG": "en_US.UTF-8"}, "usage: unlock_task.py"),
        ({}, "usage: unlock_task.py"),
    ],
)
def test_a_tool_speaks_the_language_of_the_terminal(locale: dict[str, str], words: str) -> None:
    program = [sys.executable, str(ROOT / "tools/unlock_task.py")]

    done = subprocess.run(program, env=locale, capture_output=True, encoding="utf-8", timeout=60)

    assert done.returncode == 2
    assert done.stderr.startswith(words)


@pytest.mark.parametrize("row", [TASK, INCIDENT, QUEUE])
def test_rows_have_russian_headings_and_fit(row: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    shown = {name: value for name, value in row.items() if name not in ("error", "message", "state", "problem")}

    toolbox.show([shown, shown], as_json=False, title="задачи")

    assert_russian(capsys.readouterr().out, *(str(row[name]) for name in ("task", "queue") if name in row))


def test_what_fits_is_a_table_with_a_russian_head(capsys: pytest.CaptureFixture[str]) -> None:
    toolbox.show(retry_incidents.summary([open_task(error_message="SMTP")]), as_json=False)

    head = capsys.readouterr().out.splitlines()[1]
    names = [name.strip() for name in head.strip("┃").split("┃")]
    assert names == ["топик", "без попыток", "сообщение", "например"]


def rows() -> Iterator[dict[str, Any]]:
    """Yields a row of each table that a tool prints."""
    task = open_task(**LOCKED)
    yield from camunda_processes.process_rows([statistics("a", 1)])
    yield dict.fromkeys(camunda_processes.TASK_COUNTS)
    yield camunda_processes.task_row(task, NOW)
    yield unlock_task.row_of(task)
    yield from retry_incidents.summary([task])
    yield check_queues._figures(check_queues.row_of("q", None, check_queues.UNKNOWN, expects_reader=True, now=0))
    yield from routing.rows_of("1c_x", ROUTING, SETTINGS)
    desk: Any = dead_letters.Desk(None, ROUTING, argparse.Namespace())  # type: ignore[arg-type]
    yield dead_letters._row(desk, LETTER)
    yield dict.fromkeys(("tried", "saw", "do"))


def test_every_column_has_a_heading() -> None:
    shown = {name for row in rows() for name in row} - {"failed_at", "reason"}  # what a letter's block begins with

    assert shown - HEADINGS.keys() == set()
    assert len(shown) > 30


@pytest.mark.parametrize(
    ("fields", "state"),
    [
        ({}, "ждёт"),
        (LOCKED, "заблокирована: w1"),
        ({**LOCKED, "retries": 0}, "сбой, попыток не осталось"),
        ({"suspended": True}, "приостановлена"),
    ],
)
def test_how_a_task_stands_is_said_in_russian(fields: dict[str, Any], state: str) -> None:
    assert camunda_processes.task_row(open_task(**fields), NOW)["state"] == state


def test_what_is_wrong_with_a_queue_is_russian(capsys: pytest.CaptureFixture[str]) -> None:
    states = [None, QueueState("1c.queue", ready=5), QueueState("errors.camunda_tasks.queue", ready=1)]
    found = [
        check_queues.row_of(
            state.name if state else "a.queue", state, check_queues.UNKNOWN, expects_reader=True, now=0
        )
        for state in states
    ]

    console().print(check_queues.layout(found, WIDTH))

    shown = capsys.readouterr().out
    assert_russian(shown.replace("python tools/dead_letters.py list", ""), "сообщения ждут, а читать их некому")
    assert "python tools/dead_letters.py list" in shown


def test_why_a_topic_goes_where_it_goes_is_russian(capsys: pytest.CaptureFixture[str]) -> None:
    topics = ("1c_x", "send_email", "sap_post", "${x}")
    toolbox.show([row for topic in topics for row in routing.rows_of(topic, ROUTING, SETTINGS)], as_json=False)

    assert_russian(capsys.readouterr().out, "шаблон 1c_*", "имя", "решается при выполнении процесса")


@pytest.mark.parametrize(
    ("command", "said"),
    [("list", "10 сообщений"), ("replay", "отправляю снова: invalid t"), ("drop", "удаляю: invalid t")],
)
def test_dead_letters_are_told_in_russian(command: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    run_dead_letters(Browser(), command)

    assert_russian(capsys.readouterr().out, said)


class Keyboard(io.StringIO):
    """A terminal at which somebody types."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("spoken", ["en", "ru"])
@pytest.mark.parametrize(
    ("typed", "is_yes"),
    [("y", True), ("yes", True), ("д", True), ("Да", True), ("н", False), ("", False), ("d", False)],
)
def test_a_yes_may_be_russian(spoken: str, typed: str, is_yes: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", Keyboard(f"{typed}\n"))

    with in_language(spoken):
        assert toolbox.agreed("?", argparse.Namespace(yes=False, json=False)) is is_yes


def test_where_nobody_can_be_asked_it_is_said_in_russian() -> None:
    with pytest.raises(SettingsError, match="добавьте --yes"):
        toolbox.agreed("?", argparse.Namespace(yes=False, json=True))


def test_what_scripts_read_is_the_same_in_every_language(
    clean_environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in NEEDED.items():
        clean_environment.setenv(name, value)

    def tool(_: argparse.Namespace, settings: Settings) -> int:
        toolbox.show_json([*routing.rows_of("sap_post", ROUTING, settings), {"in": language()}])
        return toolbox.OK

    assert toolbox.run(tool, argparse.Namespace(json=True)) == 0

    row, spoken = map(json.loads, capsys.readouterr().out.splitlines())
    assert (row["why"], spoken["in"], language()) == ("no system claims it", "en", "ru")


def checks() -> list[Check]:
    rest = Rest(Http("http://engine", Login(None)))
    operations, topology = Operations(rest), topology_of(SETTINGS, ROUTING)
    broker = BrokerChecks(broker_of(SETTINGS), topology, SETTINGS)
    lost = lost_tasks.LostTasks(operations, {}, ROUTING, "universal-worker")
    return [
        *EngineChecks(Inspection(rest), operations, SETTINGS, ROUTING).checks(),
        *broker.checks(),
        lost.check(),
    ]


def printed(findings: list[Finding], capsys: pytest.CaptureFixture[str]) -> str:
    diagnostics._print(findings)
    shown = capsys.readouterr().out
    for command in (r"GET /\S+", "python tools/\\S+( --?\\w+)*( list)?", r"Process (Instance|Definition) \*"):
        shown = re.sub(command, "", shown)
    return shown


def test_each_check_is_russian_with_its_remedy(capsys: pytest.CaptureFixture[str]) -> None:
    away = Unavailable("-")
    findings = [
        Finding(check.name, check.tried, Seen(Level.PROBLEM, "-", remedy))
        for check in checks()
        for remedy in (check.remedy, check.unavailable(away))
    ]

    assert_russian(printed(findings, capsys), "движок: доступность", "проблема: 38")


@pytest.mark.parametrize(
    "error",
    [
        Unavailable("OAUTH"),
        Unavailable("CAMUNDA_PROXY"),
        Unavailable("TLS"),
        Unavailable("RABBITMQ_VIRTUAL_HOST"),
        LoginRefused("no"),
    ],
)
def test_remedies_are_russian(error: Unavailable, capsys: pytest.CaptureFixture[str]) -> None:
    said = [remedies.for_engine(error), remedies.for_broker(error, SETTINGS)]

    assert_russian(printed([Finding("-", "-", Seen(Level.PROBLEM, "-", remedy)) for remedy in said], capsys))


def unavailable(error: Unavailable, capsys: pytest.CaptureFixture[str]) -> str:
    def look() -> Seen:
        raise error

    return printed([examine(Check("-", "-", look, "-", lambda _: "-"))], capsys)


@pytest.mark.parametrize(
    "error",
    [
        ProbableAuthenticationError((403, "ACCESS_REFUSED")),
        ProbableAccessDeniedError((530, "NOT_ALLOWED")),
        ConnectionRefusedError(111, "-"),
        AMQPConnectorStackTimeout("-"),
    ],
)
def test_what_keeps_us_from_the_broker_is_russian(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    assert_russian(unavailable(broker_of(SETTINGS).trouble(error), capsys), "RabbitMQ (localhost:5672")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ssl.SSLError(1, "WRONG_VERSION_NUMBER"), ""),
        (ssl.SSLError(1, "tlsv1 ALERT"), ""),
        (ssl.SSLError(1, "else"), "else"),
        (expired("certificate has expired"), "certificate has expired"),
        (expired("Hostname mismatch"), "Hostname mismatch"),
        (expired("self-signed certificate"), "self-signed certificate"),
    ],
)
def test_what_keeps_tls_from_the_broker_is_russian(error: ssl.SSLError, words: str) -> None:
    told = translated(Tls().reason(error, "rabbit"))

    assert re.search("[а-я]{4}", told)
    assert re.findall("[a-z]+ [a-z]+", told.replace(words, "")) == []


@pytest.mark.parametrize(
    "reply",
    [Reply(401, b""), Reply(302, b"", leads_to="http://x"), Reply(200, b"-"), Reply(200, b"[]"), Reply(502, b"-")],
)
def test_what_keeps_us_from_the_engine_is_russian(reply: Reply, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Unavailable) as caught:
        usable("http://engine", reply, dict)

    assert_russian(unavailable(caught.value, capsys))


@pytest.mark.parametrize(
    ("code", "words"),
    [
        *((pycurl.E_PEER_FAILED_VERIFICATION, words) for words in ("expired", "mismatch", "unknown")),
        (pycurl.E_SSL_CACERT_BADFILE, ""),
        (pycurl.E_SSL_CERTPROBLEM, ""),
        (pycurl.E_COULDNT_RESOLVE_PROXY, ""),
        (pycurl.E_OPERATION_TIMEDOUT, "bad certificate"),
        (pycurl.E_SSL_CONNECT_ERROR, ""),
        (pycurl.E_RECV_ERROR, ""),
    ],
)
@pytest.mark.parametrize("url", ["https://engine", "http://engine"])
def test_what_curl_says_in_our_words_is_russian(code: int, words: str, url: str) -> None:
    told = translated(reason_of(code, words, url))

    assert re.findall("[a-z]+ [a-z]+", told.replace(words, "")) == []
    assert told == words or re.search("[а-я]{4}", told)


@pytest.mark.parametrize(("as_json", "told"), [(False, "ещё не подключено"), (True, "not connected yet")])
def test_a_tool_that_ends_with_an_error_says_it_in_russian(
    as_json: bool, told: str, clean_environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in NEEDED.items():
        clean_environment.setenv(name, value)

    def tool(_: argparse.Namespace, settings: Settings) -> int:
        raise Unavailable(Said("not connected yet"))

    assert toolbox.run(tool, argparse.Namespace(json=as_json)) == toolbox.PROBLEM
    assert capsys.readouterr().err.endswith(f": {told}\n")


def seen() -> Iterator[Seen]:
    """Yields what the checks may see."""
    task = open_task(**LOCKED)
    yield from map(engine_checks.judged_version, ("7.12.0", "7.13.0", "7.24.0", "1.0.3", "8"))
    yield from map(engine_checks.judged_skew, (0.0, 40.0, -40.0))
    yield from map(
        engine_checks.judged_date, ("2026-11-26T21:00:00.000+0000", "2026-11-26T21:00:00", "26.11.2026", None)
    )
    yield engine_checks.judged_given_out({}, 2)
    refused = Said("the engine says {status}: {message}", status=500, message="ENGINE-03040")
    yield engine_checks.judged_given_out({task: refused}, 5)
    yield engine_checks.judged_topics({"odd": {"c"}, "1c_old": set(), "${x}": {"d"}}, ROUTING, lambda _: True)
    yield engine_checks.judged_topics({"send_email": {"a"}}, ROUTING, lambda _: False)
    yield from map(engine_checks.judged_others, ([], [task]))
    yield engine_checks._uncaught()
    yield from map(broker_checks.judged_version, ("RabbitMQ", "RabbitMQ"), ("3.9.1", "3.10.8"))
    for passive in (False, True):
        yield broker_checks.judged_topology((), (), passive=passive, user="worker")
        yield broker_checks.judged_topology(("a",), (), passive=passive, user="worker")
    yield broker_checks.judged_topology((), ("b: PRECONDITION_FAILED",), passive=False, user="worker")
    yield broker_checks.judged_topology((), ("b: ACCESS_REFUSED",), passive=False, user="worker")
    for ready, consumers in ((0, 1), (0, 0), (5, 0)):
        states = {"a.queue": QueueState("a.queue", ready=ready, consumers=consumers)}
        yield broker_checks.judged_listeners(states)
        yield lost_tasks.judged([task, open_task(id="t2")], {"python-services.queue": states["a.queue"]}, ROUTING)
    yield broker_checks.judged_listeners({})


def test_what_the_checks_see_is_russian(capsys: pytest.CaptureFixture[str]) -> None:
    shown = printed([Finding("-", "-", one) for one in seen()], capsys)

    assert_russian(shown, "к сведению")
    assert len(shown.splitlines()) > 100


def test_a_check_that_is_skipped_says_so_in_russian(capsys: pytest.CaptureFixture[str]) -> None:
    skipped = examine_all(checks()[:1], essential=0, failed="брокер: права")

    assert_russian(printed(skipped, capsys), "нельзя узнать: не прошла проверка 'брокер: права'")
