"""What answers carry to the engine, and what is said of what they cannot."""

import gzip
import json
from typing import Any

import pytest

from bridge.answers.calls import AnswerCalls
from bridge.contract import Response
from bridge.engine import Reply, Verdict
from bridge.leases import LeaseRules, LeaseTable
from bridge.routing import Routing, System
from tests.unit import fakes
from tests.unit.fakes import FakeEngine, delivery, task_row
from tests.unit.test_answer_policy import BITRIX, Desk, complete, failure, heartbeat

NO_SUCH_TASK = fakes.refusal(404, "External task with id universal-camunda-worker-asks does not exist")
NO_SUCH_CALL = fakes.refusal(404, "HTTP 404 Not Found", kind="NotFoundException")


@pytest.fixture
def desk() -> Desk:
    return Desk()


def bpmn_error(**fields: Any) -> dict[str, Any]:
    return {"task_id": "t1", "response_type": "bpmn_error", "error_code": "NO", **fields}


def refused(words: str, kind: str = "ProcessEngineException", code: int | None = 0) -> Reply:
    return fakes.refusal(500, words, kind=kind, code=code)


PERSISTENCE = "An exception occurred in the persistence layer. Please check the server logs"
REFUSALS = {
    "a file without a name": (
        {"type": "File", "value": "YWJj"},
        refused("Cannot create file without valueInfo.", "IllegalArgumentException", None),
    ),
    "no file": (
        {"type": "File", "value": None, "valueInfo": {"filename": "a"}},
        refused("Provided value is not of File, InputStream or byte[] type.", "IllegalArgumentException", None),
    ),
    "a number of no kind": (
        {"type": "Number", "value": 5},
        refused("Cannot serialize value of abstract type number"),
    ),
    "Java": (
        {
            "type": "Object",
            "value": "rO0",
            "valueInfo": {
                "objectTypeName": "java.util.ArrayList",
                "serializationDataFormat": "application/x-java-serialized-object",
            },
        },
        refused("ENGINE-17007 Cannot set variable with name x. Java serialization format is prohibited"),
    ),
    "an object of nothing": ({"type": "Object", "value": "{}"}, refused("Cannot find serializer for value 'Obj'")),
    "XML": (
        {"type": "Xml", "value": "<a/>"},
        refused("Cannot find serializer for value 'Value 'null' of type 'xml'"),
    ),
    "a class whose name is a list": (
        {
            "type": "Object",
            "value": "{}",
            "valueInfo": {"objectTypeName": ["a"], "serializationDataFormat": "application/json"},
        },
        refused("class java.util.ArrayList cannot be cast to class java.lang.String", "ClassCastException", None),
    ),
    "a NUL on PostgreSQL": (
        {"type": "String", "value": "a\0"},
        refused(PERSISTENCE, "ProcessEnginePersistenceException"),
    ),
    "a long text on 7.14": ({"type": "String", "value": "x" * 4001}, refused(PERSISTENCE, code=None)),
}


@pytest.mark.parametrize("answer", [complete, bpmn_error, failure])
@pytest.mark.parametrize(("variable", "words"), REFUSALS.values(), ids=REFUSALS.keys())
def test_a_variable_that_the_engine_fails_at_costs_one_call_and_is_named(
    desk: Desk, answer: Any, variable: dict[str, Any], words: Reply
) -> None:
    given = answer(variables={"x": variable})
    call = {"complete": "complete", "bpmn_error": "bpmnError", "failure": "failure"}[given["response_type"]]
    desk.engine.replies["lock"] = [NO_SUCH_TASK]
    desk.engine.replies[call] = [words]

    desk.take(delivery(given))

    assert desk.dead_letter_reason == "rejected_by_engine"
    calls = [body for word, body in desk.engine.calls if word in (call, "failure")]
    assert (len(calls), calls[-1]["retries"], "variables" in calls[-1]) == (2, 0, False)
    assert f"variable 'x' ({variable['type']}, " in str(desk.publisher.published[0].headers["x-error-detail"])


@pytest.mark.parametrize("words", [PERSISTENCE, "Cannot find serializer for value of the process's own"])
def test_an_error_that_no_variable_explains_is_tried_again(desk: Desk, words: str) -> None:
    desk.engine.replies["complete"] = [refused(words)]

    desk.take(delivery(complete(variables={"x": "fine"})))

    assert desk.publisher.published[0].routing_key == "camunda.responses.retry.5s"


def test_an_error_of_the_process_is_tried_again_whatever_the_variables(desk: Desk) -> None:
    desk.engine.replies["complete"] = [fakes.TROUBLE]

    desk.take(delivery(complete(variables={"x": "y" * 5000})))

    assert desk.publisher.published[0].routing_key == "camunda.responses.retry.5s"


def test_what_the_engine_takes_is_not_refused(desk: Desk) -> None:
    long = {"name" * 100: {"type": "String", "value": "x" * 5000 + "\0"}, "": {"type": "Foo", "value": 1}}

    desk.take(delivery(complete(variables=long)))

    assert desk.engine.body_of("complete")["variables"] == long
    assert desk.publisher.published == []


def test_a_date_reaches_the_engine_in_its_own_spelling(desk: Desk) -> None:
    due = {"due": {"type": "Date", "value": "2026-05-17T09:02:58+03:00"}}
    desk.engine.replies["lock"] = [NO_SUCH_TASK]
    desk.engine.tasks["t1"]["lockExpirationTime"] = "2026-11-23T20:31:00.000+0000"

    desk.take(delivery(complete(variables=due, local_variables=due)))
    desk.take(delivery(bpmn_error(variables=due)))
    desk.take(delivery(failure(variables=due)))

    sent = [body for word, body in desk.engine.calls if word in ("complete", "bpmnError", "failure")]
    assert [body["variables"]["due"]["value"] for body in sent] == ["2026-05-17T09:02:58.000+0300"] * 3
    assert sent[0]["localVariables"]["due"]["value"] == "2026-05-17T09:02:58.000+0300"


def test_a_date_without_a_zone_fails_its_task_with_the_reason(desk: Desk) -> None:
    desk.take(delivery(complete(variables={"due": {"type": "Date", "value": "2026-05-17T09:02:58"}})))

    assert desk.dead_letter_reason == "invalid"
    assert desk.engine.words().count("complete") == 0
    assert "'due' (Date, 19 characters): the moment has no zone" in desk.engine.body_of("failure")["errorMessage"]


@pytest.mark.parametrize("scope", ["variables", "local_variables"])
def test_a_failure_takes_its_variables_along(desk: Desk, scope: str) -> None:
    desk.engine.replies["lock"] = [NO_SUCH_TASK]

    desk.take(delivery(failure(**{scope: {"tried": 1}})))
    desk.take(delivery(failure(**{scope: {"tried": 2}})))

    name = {"variables": "variables", "local_variables": "localVariables"}[scope]
    sent = [body[name] for word, body in desk.engine.calls if word == "failure"]
    assert sent == [{"tried": {"value": 1, "type": "Integer"}}, {"tried": {"value": 2, "type": "Integer"}}]
    assert desk.engine.words().count("lock") == 1


def test_an_engine_that_would_drop_the_variables_of_a_failure_gets_none_which_is_said_once(
    desk: Desk, logged: list[str]
) -> None:
    desk.engine.replies["lock"] = [NO_SUCH_CALL]

    for _ in range(3):
        desk.take(delivery(failure(variables={"tried": 1})))

    failures = [body for word, body in desk.engine.calls if word == "failure"]
    assert (len(failures), any("variables" in body for body in failures)) == (3, False)
    assert [line for line in logged if "older than 7.15" in line] == [
        "WARNING the engine is older than 7.15: variables of a failure are left out, such as bitrix24's\n"
    ]


def test_a_failure_waits_until_the_engine_can_say_whether_it_takes_variables(desk: Desk) -> None:
    desk.engine.replies["lock"] = [fakes.AWAY, NO_SUCH_TASK]
    desk.engine.replies["topic-names"] = [fakes.AWAY]

    desk.take(delivery(failure(variables={"tried": 1})))

    assert desk.engine.body_of("failure")["variables"]["tried"]["value"] == 1


def test_a_gateway_that_lets_no_lock_pass_keeps_no_failure(desk: Desk) -> None:
    desk.engine.replies["lock"] = [Reply(403, b"<html>blocked</html>")] * 2

    for _ in range(2):
        desk.take(delivery(failure(variables={"tried": 1})))

    assert [word for word in desk.engine.words() if word != "t1"] == ["lock", "failure", "lock", "failure"]


def test_a_failure_without_variables_asks_the_engine_nothing_more(desk: Desk) -> None:
    desk.take(delivery(failure()))

    assert desk.engine.words() == ["t1", "failure"]


@pytest.mark.parametrize(
    ("answer", "field", "kind"),
    [
        (bpmn_error(local_variables={"x": 1}), "local_variables", "bpmn_error"),
        (heartbeat(variables={"x": 1}), "variables", "extend_lock"),
        (heartbeat(local_variables={"x": 1}), "local_variables", "extend_lock"),
        (complete(error_message="no"), "error_message", "complete"),
    ],
)
def test_what_a_type_of_answer_cannot_carry_is_said_once_per_system(
    desk: Desk, logged: list[str], answer: dict[str, Any], field: str, kind: str
) -> None:
    desk.engine.tasks["t2"] = task_row("t2", topic="1c_sync_data")

    for task in ("t1", "t1", "t2"):
        desk.take(delivery({**answer, "task_id": task}))

    assert [line for line in logged if "cannot carry" in line] == [
        f"WARNING answers of {system} have {field} with {kind}, which it cannot carry: ignored\n"
        for system in ("bitrix24", "1c")
    ]
    assert desk.publisher.published == []


def test_a_lock_that_was_probably_meant_in_seconds_is_said_once_per_system(desk: Desk, logged: list[str]) -> None:
    for lock_duration in (600, 600, 10_000, None):
        desk.take(delivery(heartbeat(lock_duration=lock_duration)))

    (line,) = [line for line in logged if "asks for a lock" in line]
    assert "an extend_lock of bitrix24 asks for a lock of 600 ms; lock_duration counts milliseconds" in line


def test_fields_that_are_empty_are_nothing_to_say(desk: Desk, logged: list[str]) -> None:
    desk.take(delivery(complete(error_message="", error_code=None, retries=0, lock_duration=None)))
    desk.take(delivery(heartbeat(variables={}, local_variables=None)))

    assert [line for line in logged if "cannot carry" in line] == []


@pytest.mark.parametrize("answer", [complete(), bpmn_error(), failure(), heartbeat()])
def test_an_answer_of_an_earlier_attempt_changes_nothing(desk: Desk, answer: dict[str, Any]) -> None:
    desk.engine.tasks["t1"] = task_row(retries=2)

    desk.take(delivery({**answer, "attempt": "3"}))

    assert desk.engine.words() == ["t1"]
    assert desk.publisher.published == []


@pytest.mark.parametrize("answer", [complete(), bpmn_error()])
@pytest.mark.parametrize("attempt", ["2", None])
def test_an_answer_of_this_attempt_or_of_none_counts(
    desk: Desk, answer: dict[str, Any], attempt: str | None
) -> None:
    desk.engine.tasks["t1"] = task_row(retries=2)

    desk.take(delivery({**answer, "attempt": attempt}))

    assert desk.engine.words()[-1] in ("complete", "bpmnError")


def test_an_answer_to_a_task_that_is_known_to_be_at_its_attempt_costs_no_further_call(desk: Desk) -> None:
    desk.leases.add(fakes.external_task(), BITRIX, 0.0)

    desk.take(delivery(complete(attempt="first")))

    assert desk.engine.words() == ["complete"]


def test_an_answer_of_an_earlier_attempt_takes_no_task_back_that_nobody_holds(desk: Desk) -> None:
    desk.leases.add(fakes.external_task(), BITRIX, 0.0)
    desk.engine.tasks["t1"] = task_row(retries=2)
    desk.engine.replies["complete"] = [fakes.LOCKED_BY_NOBODY]

    desk.take(delivery(complete(attempt="first")))

    assert desk.engine.words() == ["complete", "t1"]
    assert desk.publisher.published == []


def calls_of(engine: FakeEngine, long_text: str | None) -> AnswerCalls:
    system = System("bitrix24", 600_000, ("bitrix_create_task",), long_text=long_text)
    rules = LeaseRules(lease_ms=60_000, extend_after_seconds=1.5)
    routing = Routing([system], System("default", 600_000))
    return AnswerCalls(engine.client(), routing, LeaseTable(rules), [])


def sent_with(long_text: str | None, **variables: Any) -> tuple[Verdict, Any, list[str]]:
    engine = FakeEngine()
    answer = delivery(complete(variables=variables))
    response = Response.decode(answer.body, None, 100_000)
    verdict = calls_of(engine, long_text).apply(response).verdict
    return verdict, engine.body_of("complete")["variables"], engine.words()


@pytest.mark.parametrize("text", ["x" * 4001, "😀" * 2001])
def test_long_bare_texts_of_a_system_that_wants_it_go_as_json(text: str) -> None:
    typed = {"type": "String", "value": text}

    verdict, sent, _ = sent_with("json", bare=text, untyped={"value": text}, typed=typed, short="x" * 4000)

    assert verdict is Verdict.ACCEPTED
    assert sent["bare"] == sent["untyped"] == {"type": "Json", "value": json.dumps(text, ensure_ascii=False)}
    assert (sent["typed"], sent["short"]["type"]) == (typed, "String")


def test_long_texts_of_other_systems_stay_texts_for_the_engine_to_judge() -> None:
    _, sent, _ = sent_with(None, bare="x" * 4001)

    assert sent["bare"]["type"] == "String"


def test_short_texts_are_worth_no_look_at_the_task() -> None:
    _, _, words = sent_with("json", bare="x" * 4000)

    assert words == ["complete"]


def test_a_packed_answer_is_applied_and_one_set_aside_is_kept_as_it_came(desk: Desk) -> None:
    good = gzip.compress(json.dumps(complete(variables={"n": 5})).encode())
    bad = gzip.compress(b'{"task_id":"t1","response_type":"explode"}')

    desk.take(delivery(good, content_encoding="gzip"))
    desk.take(delivery(bad, content_encoding="gzip"))

    assert desk.engine.body_of("complete")["variables"]["n"]["value"] == 5
    (copy,) = desk.publisher.published
    assert (copy.body, copy.properties["content_encoding"]) == (bad, "gzip")
    assert desk.engine.body_of("failure")["errorMessage"].startswith("the answer of bitrix24 cannot be used: ")


def test_a_packed_answer_that_is_tried_later_is_kept_as_it_came(desk: Desk) -> None:
    packed = gzip.compress(json.dumps(complete()).encode())
    desk.engine.replies["complete"] = [fakes.TROUBLE]

    desk.take(delivery(packed, content_encoding="gzip"))

    (copy,) = desk.publisher.published
    assert (copy.body, copy.properties["content_encoding"]) == (packed, "gzip")


@pytest.mark.parametrize("body", [b"\xcf\xf0", gzip.compress(b"{}", mtime=0)[:12], b"\xff\xfe{\0}\0"])
def test_an_answer_that_nobody_can_read_fails_the_task_of_its_correlation_id(desk: Desk, body: bytes) -> None:
    desk.take(delivery(body, correlation_id="t1", content_encoding="gzip"))

    assert desk.dead_letter_reason == "invalid"
    assert "failure" in desk.engine.words()


@pytest.mark.parametrize(
    ("message", "kept"),
    [("a\0b", "a␀b"), ("x" * 665 + "😀", "x" * 665), ("😀" * 400, "😀" * 333), ("x" * 666, "x" * 666)],
)
def test_the_message_of_a_failure_can_be_stored_everywhere(desk: Desk, message: str, kept: str) -> None:
    desk.take(delivery(failure(error_message=message)))

    assert desk.engine.body_of("failure")["errorMessage"] == kept
