"""How the diagnostics judge what they saw; and what they make of an engine's replies."""

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from bridge import certificates
from bridge.broker import QueueState
from bridge.contract import TaskState
from bridge.engine import Http, Login, Reply, Rest
from bridge.engine.http import date_in
from bridge.errors import LoginRefused, Unavailable, Unprocessable
from config import RoutingConfig, Settings
from tools.lib.diagnosis import broker_checks, engine_checks, lost_tasks
from tools.lib.diagnosis.certificate_check import judged_certificates
from tools.lib.diagnosis.finding import Check, Level, Seen, examine, examine_all, failure_in
from tools.lib.inspection import Inspection, topics_in
from tools.lib.operations import Operations

ROUTING = RoutingConfig.built_in(600_000)
BPMN = 'xmlns="http://www.omg.org/spec/BPMN/20100524/MODEL" xmlns:c="http://camunda.org/schema/1.0/bpmn"'


def queue(name: str, ready: int, consumers: int) -> QueueState:
    return QueueState(name, ready=ready, consumers=consumers)


def task(topic: str, worker_id: str = "universal-worker") -> TaskState:
    return TaskState("t1", topic, worker_id, None, None, "i1", suspended=False, process_key="order")


def check(look: object, name: str = "engine: reachable") -> Check:
    assert callable(look)
    return Check(name, "GET /engine", look, "grant it", lambda _: "start it")


def away() -> Seen:
    raise Unavailable("no engine at CAMUNDA_BASE_URL http://x")


def refused() -> Seen:
    raise Unprocessable("rejected_by_engine", "the engine says 403: no")


def well() -> Seen:
    return Seen(Level.OK, "there")


@pytest.mark.parametrize(
    ("look", "saw", "remedy"),
    [
        (away, "no engine at CAMUNDA_BASE_URL http://x", "start it"),
        (refused, "the engine says 403: no", "grant it"),
    ],
)
def test_a_server_that_is_away_or_refuses_is_a_problem_with_its_remedy(
    look: object, saw: str, remedy: str
) -> None:
    finding = examine(check(look))

    assert finding.seen == Seen(Level.PROBLEM, saw, remedy)


def test_what_depends_on_a_failed_check_is_skipped_with_its_name() -> None:
    findings = examine_all([check(away), check(well, "second"), check(well, "third")], essential=1)

    assert [finding.seen.level for finding in findings] == [Level.PROBLEM, Level.SKIPPED, Level.SKIPPED]
    assert findings[2].seen.saw == "cannot be known: 'engine: reachable' failed"
    assert failure_in(findings) == "engine: reachable"


def test_a_problem_that_is_not_essential_stops_nothing() -> None:
    findings = examine_all([check(well), check(away, "second"), check(well, "third")], essential=1)

    assert [finding.seen.level for finding in findings] == [Level.OK, Level.PROBLEM, Level.OK]


@pytest.mark.parametrize(
    ("version", "level"),
    [
        ("7.12.0", Level.PROBLEM),
        ("7.13.0", Level.NOTE),
        ("7.20.1-ee", Level.NOTE),
        ("7.21.0", Level.OK),
        ("7.24.0", Level.OK),
        ("1.0.3", Level.OK),
        ("8", Level.WARNING),
    ],
)
def test_the_engines_version_is_judged(version: str, level: Level) -> None:
    assert engine_checks.judged_version(version).level is level


def test_features_that_an_old_engine_lacks_are_named() -> None:
    assert len(engine_checks.judged_version("7.14.0").details) == 2
    assert len(engine_checks.judged_version("7.18.0").details) == 1


@pytest.mark.parametrize(
    ("seconds", "words"), [(40.2, "40 s ahead of ours"), (-90.0, "90 s behind ours"), (-2.0, "agree")]
)
def test_the_clocks_are_compared(seconds: float, words: str) -> None:
    assert words in engine_checks.judged_skew(seconds).saw


@pytest.mark.parametrize(
    ("product", "version", "level"),
    [
        ("RabbitMQ", "3.9.29", Level.WARNING),
        ("RabbitMQ", "3.10.8", Level.OK),
        ("RabbitMQ", "4.1.0", Level.OK),
        ("LavinMQ", "2.0.0", Level.OK),
    ],
)
def test_the_brokers_version_is_judged(product: str, version: str, level: Level) -> None:
    assert broker_checks.judged_version(product, version).level is level


def test_each_topic_is_shown_with_its_way() -> None:
    processes = {"send_email": {"b", "a"}, "odd": {"c"}, "${topic}": {"d"}, "1c_old": set[str](), "theirs": {"e"}}

    seen = engine_checks.judged_topics(processes, ROUTING, lambda topic: topic != "theirs")

    assert seen.level is Level.WARNING
    assert seen.saw == "5 topics, 1 of them in no routing: odd"
    assert seen.details == (
        "${topic} -> decided while the process runs (d)",
        "1c_old -> 1c.queue (of an older version that still runs)",
        "odd -> default.queue, because no system claims it (c)",
        "send_email -> python-services.queue (a, b)",
        "theirs -> left to others (CAMUNDA_TOPICS_INCLUDE, CAMUNDA_TOPICS_EXCLUDE) (e)",
    )


def test_topics_that_all_have_a_system_are_well() -> None:
    assert engine_checks.judged_topics({"send_email": {"a"}}, ROUTING, lambda _: True).level is Level.OK


def test_holders_of_our_topics_are_counted() -> None:
    seen = engine_checks.judged_others([task("b", "w2"), task("a", "w1"), task("b", "w2")])

    assert seen.details == ("a: 1 held by w1", "b: 2 held by w2")
    assert "CAMUNDA_TOPICS_EXCLUDE" in seen.remedy


@pytest.mark.parametrize(
    ("missing", "different", "passive", "level", "remedy"),
    [
        ((), (), False, Level.OK, ""),
        (("a",), (), False, Level.WARNING, "start the worker"),
        (("a",), (), True, Level.PROBLEM, "RABBITMQ_TOPOLOGY=passive"),
        (("a",), ("b: PRECONDITION_FAILED - inequivalent arg",), False, Level.PROBLEM, "RABBITMQ_QUEUE_TYPE"),
        ((), ("b: ACCESS_REFUSED - no",), False, Level.PROBLEM, "set_permissions"),
    ],
)
def test_the_topology_is_judged(
    missing: tuple[str, ...], different: tuple[str, ...], passive: bool, level: Level, remedy: str
) -> None:
    seen = broker_checks.judged_topology(missing, different, passive=passive, user="worker")

    assert seen.level is level
    assert remedy in seen.remedy


@pytest.mark.parametrize(
    ("queues", "level"),
    [
        ({}, Level.SKIPPED),
        ({"a": queue("a", 0, 1), "b": queue("b", 9, 1)}, Level.OK),
        ({"a": queue("a", 0, 1), "b": queue("b", 0, 0)}, Level.WARNING),
        ({"a": queue("a", 0, 0), "b": queue("b", 1, 0)}, Level.PROBLEM),
    ],
)
def test_queues_without_listeners_are_judged(queues: dict[str, QueueState], level: Level) -> None:
    assert broker_checks.judged_listeners(queues).level is level


@pytest.mark.parametrize(
    ("ready", "consumers", "answers", "lost"),
    [(2, 0, 0, 0), (1, 0, 0, 1), (0, 0, 1, 1), (0, 1, 0, 0), (0, 0, 5, 0)],
)
def test_held_tasks_are_compared_with_messages(ready: int, consumers: int, answers: int, lost: int) -> None:
    queues = {
        "1c.queue": queue("1c.queue", ready, consumers),
        "camunda.responses.queue": queue("camunda.responses.queue", answers, 0),
    }

    seen = lost_tasks.judged([task("1c_a"), task("1c_b")], queues, ROUTING)

    assert seen.level is (Level.PROBLEM if lost else Level.OK)
    assert seen.saw.startswith(f"{lost} of 2" if lost else "held: 2 tasks")


def test_held_tasks_are_lost_where_the_queue_is_not_there() -> None:
    assert lost_tasks.judged([task("1c_a")], {"1c.queue": None}, ROUTING).level is Level.PROBLEM


def test_topics_are_read_from_a_process() -> None:
    xml = (
        f'<definitions {BPMN}><process id="p">'
        '<serviceTask id="a" c:type="external" c:topic="one" /><sendTask id="b" c:type="external" c:topic="two" />'
        '<serviceTask id="c" c:class="x.Y" c:topic="none" /></process></definitions>'
    )

    assert topics_in(xml) == {"one", "two"}


def test_topics_are_read_in_operatons_own_namespace() -> None:
    xml = '<a xmlns:o="http://operaton.org/schema/1.0/bpmn"><b o:type="external" o:topic="one" /></a>'

    assert topics_in(xml) == {"one"}


def test_a_process_that_is_no_xml_has_no_topics() -> None:
    assert topics_in("<definitions") == set()


def test_the_time_is_read_from_the_header() -> None:
    moment = date_in([b"HTTP/1.1 200 \r\n", b"Server: x\r\n", b"Date: Tue, 24 Nov 2026 14:57:32 GMT\r\n", b"\r\n"])

    assert moment is not None
    assert moment.isoformat() == "2026-11-24T14:57:32+00:00"


@pytest.mark.parametrize("zone", [b"", b" -0000", b" +0000"])
def test_a_time_without_a_zone_is_one_of_utc_as_all_in_http_are(zone: bytes) -> None:
    moment = date_in([b"Date: Tue, 24 Nov 2026 14:57:32" + zone])

    assert moment is not None
    assert moment.isoformat() == "2026-11-24T14:57:32+00:00"


@pytest.mark.parametrize("line", [b"Server: x\r\n", b"Date: soon\r\n"])
def test_a_time_that_cannot_be_read_is_none(line: bytes) -> None:
    assert date_in([line]) is None


@pytest.mark.parametrize(
    ("written", "level"),
    [
        ("2026-11-26T21:00:00.000+0000", Level.OK),
        ("2026-11-26T21:00:00", Level.NOTE),
        ("26.11.2026 21:00", Level.NOTE),
        (None, Level.SKIPPED),
    ],
)
def test_how_the_engine_writes_dates_is_judged(written: str | None, level: Level) -> None:
    assert engine_checks.judged_date(written).level is level


def test_certificates_that_end_soon_are_a_warning() -> None:
    certificates.forget()
    assert judged_certificates().saw == "no connection has one"
    certificates.note("engine", "of the engine", datetime.now(UTC) + timedelta(days=90))
    assert judged_certificates().level is Level.OK
    certificates.note("broker", "of RabbitMQ", datetime.now(UTC) + timedelta(days=3))

    seen = judged_certificates()

    assert (seen.level, len(seen.details)) == (Level.WARNING, 2)
    assert "that of RabbitMQ" in seen.saw
    certificates.forget()


@pytest.mark.parametrize("text", ["Nov 26 21:00:00 2027 GMT", "2027-11-26 21:00:00 GMT"])
def test_the_end_of_a_certificate_is_read_as_openssl_and_curl_write_it(text: str) -> None:
    assert certificates.end_in(text) == datetime(2027, 11, 26, 21, tzinfo=UTC)
    assert certificates.end_in("never") is None


@dataclass
class CannedHttp(Http):
    """Answers from a list of path beginnings; the first that fits wins."""

    replies: dict[str, Reply] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__init__("http://engine", Login(None))

    def send(self, method: str, path: str, body: bytes | None = None, *, timeout_seconds: float) -> Reply:
        return next(reply for beginning, reply in self.replies.items() if path.startswith(beginning))


def answering(status: int, document: object, path: str = "/") -> Inspection:
    return Inspection(Rest(CannedHttp({path: Reply(status, json.dumps(document).encode())})))


def test_rights_that_are_missing_are_named() -> None:
    assert answering(200, {"authorized": False}).missing_rights() == ["fetch tasks", "answer for tasks"]
    assert answering(200, {"authorized": True}).missing_rights() == []


@pytest.mark.parametrize(
    ("status", "message", "known"),
    [
        (500, "Object values cannot be used to query", True),
        (400, "Cannot correlate message 'x': No process definition or execution matches the parameters", True),
        (400, "Cannot deliver message: Unsupported value type 'Json'", False),
        (500, "Cannot find serializer for value", False),
        (500, "UTILS-02001 Parameter 'format' is null", False),
    ],
)
def test_an_engine_without_spin_is_told_by_its_refusal(status: int, message: str, known: bool) -> None:
    assert answering(status, {"type": "RestException", "message": message}).knows_json() is known


def test_a_refusal_in_the_engines_words_is_unprocessable() -> None:
    with pytest.raises(Unprocessable, match="the engine says 403: no"):
        answering(403, {"type": "AuthorizationException", "message": "no"}).version()


@pytest.mark.parametrize(
    ("status", "words", "wanted"),
    [
        (500, "ENGINE-03040 No serializer defined", "the engine says 500: ENGINE-03040 No serializer defined"),
        (404, "execution e1 doesn't exist", ""),
    ],
)
def test_a_task_that_the_engine_cannot_read_is_told_by_what_it_says(status: int, words: str, wanted: str) -> None:
    assert answering(status, {"type": "ProcessEngineException", "message": words}).why_unreadable("e1") == wanted


def test_tasks_that_the_engine_cannot_give_out_are_named() -> None:
    seen = engine_checks.judged_given_out({task("send"): "the engine says 500: ENGINE-03040"}, 7)

    assert seen.level is Level.PROBLEM
    assert seen.details == ("task t1 of topic send: the engine says 500: ENGINE-03040",)
    assert engine_checks.judged_given_out({}, 7).level is Level.OK


@dataclass
class Engines(CannedHttp):
    """A place with engines, asked below the URL of one of them."""

    base: str = "http://engine/engine-rest/engine/prod"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.base_url = self.base


def test_a_named_engine_that_is_not_there_is_told_with_those_that_are() -> None:
    http = Engines({"/../../engine": Reply(200, b'[{"name": "default"}]')})
    settings = Settings.model_construct(camunda_base_url=http.base_url, camunda_auth_username=None)
    rest = Rest(http)

    checks = engine_checks.EngineChecks(Inspection(rest), Operations(rest), settings, ROUTING).checks()

    assert examine(checks[0]).seen.saw == "answers, but there is no engine 'prod', only: default"


@pytest.mark.parametrize("document", [{"version": None}, {}])
def test_an_engine_that_does_not_know_its_version_is_an_engine(document: object) -> None:
    assert answering(200, document).version() == "unknown"


@pytest.mark.parametrize("status", [200, 302, 404, 502])
def test_what_is_no_engine_is_unavailable(status: int) -> None:
    with pytest.raises(Unavailable, match="CAMUNDA_BASE_URL http://engine"):
        answering(status, "a page").version()


def test_a_login_that_is_refused_names_the_settings() -> None:
    with pytest.raises(LoginRefused, match="CAMUNDA_AUTH_USERNAME and CAMUNDA_AUTH_PASSWORD"):
        answering(401, "").version()
