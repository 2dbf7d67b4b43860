"""The answer policy: what each verdict of the engine leads to."""

import json
import threading
import time
from typing import Any, cast

import pytest
from pika.spec import BasicProperties

from bridge.answers.calls import PAUSE_AGAIN_MS, AnswerCalls
from bridge.answers.circuit_breaker import CircuitBreaker
from bridge.answers.in_vain import MOST_WARNINGS, InVain
from bridge.answers.side_queues import ATTEMPTS, SideQueues
from bridge.broker import Delivery, Inbox, Outcome, Publisher
from bridge.contract import NamedTask
from bridge.engine import Reply, Verdict
from bridge.leases import LeaseRules, LeaseTable
from bridge.routing import System
from bridge.tracing import Tracing
from config import RoutingConfig
from response_handler import HEARTBEAT_POLICY, POLICY, AnswerRules, ResponseHandler
from tests.unit import fakes
from tests.unit.conftest import Clock, Rise
from tests.unit.fakes import FakeEngine, FakePublisher, delivery, external_task, task_row

US = "bridge"
BITRIX = System("bitrix24", 600_000)


class Desk:
    """A handler with everything around it."""

    def __init__(self, *, require_user_id: bool = False, tracing: Tracing | None = None) -> None:
        self.engine = FakeEngine()
        self.publisher = FakePublisher()
        self.acknowledged: list[Delivery] = []
        self.parked: list[Delivery] = []
        self.inbox = Inbox(is_read=True, prefetch=10)
        self.stopping = threading.Event()
        self.paused = 0
        rules = LeaseRules(lease_ms=60_000, extend_after_seconds=1.5)
        camunda = self.engine.client()
        self.leases = LeaseTable(rules)
        self.handler = ResponseHandler(
            self.inbox,
            AnswerCalls(camunda, RoutingConfig.built_in(600_000), self.leases, ["w-*"]),
            CircuitBreaker(camunda.probe, self.stopping, width=8, on_close=self._pause, on_open=lambda: None),
            self.leases,
            SideQueues(cast(Publisher, self.publisher), self, lambda: US),
            AnswerRules(max_message_bytes=10_000, require_user_id=require_user_id, tracing=tracing),
        )

    def _pause(self) -> None:
        self.paused += 1

    def ack(self, given: Delivery) -> None:
        self.acknowledged.append(given)

    def deliver_again(self, given: Delivery, _seconds: float) -> None:
        self.parked.append(given)

    def take(self, given: Delivery) -> None:
        """Hand a response in, again each time that it has to wait."""
        self.handler.handle(given)
        while self.parked:
            self.handler.handle(self.parked.pop())
        assert self.acknowledged[-1] is given

    @property
    def dead_letter_reason(self) -> object:
        (copy,) = self.publisher.published
        assert copy.exchange == "camunda.errors"
        return copy.headers["x-error-reason"]


@pytest.fixture
def desk() -> Desk:
    return Desk()


def complete(**fields: Any) -> dict[str, Any]:
    return {"task_id": "t1", "response_type": "complete", **fields}


def failure(**fields: Any) -> dict[str, Any]:
    return {"task_id": "t1", "response_type": "failure", **fields}


def heartbeat(**fields: Any) -> dict[str, Any]:
    return {"task_id": "t1", "response_type": "extend_lock", **fields}


def test_a_sender_whose_task_cannot_be_read_is_asked_again_later() -> None:
    strict = Desk(require_user_id=True)
    strict.engine.replies["t1"] = [fakes.TROUBLE] * 3

    strict.take(delivery(complete(), user_id="bitrix24"))

    assert strict.publisher.published[0].routing_key == "camunda.responses.retry.5s"


def test_every_verdict_has_a_step() -> None:
    assert set(POLICY) == set(HEARTBEAT_POLICY) == set(Verdict)


def test_an_accepted_answer_is_acknowledged_and_leaves_the_table(desk: Desk) -> None:
    desk.leases.add(fakes.external_task(), RoutingConfig.built_in(600_000).systems_of("bitrix_x")[0], 0.0)

    desk.take(delivery(complete(variables={"n": 5})))

    assert desk.engine.body_of("complete")["variables"] == {"n": {"value": 5, "type": "Integer"}}
    assert desk.leases.all() == []
    assert desk.publisher.published == []


def test_an_answer_for_a_task_that_is_gone_is_acknowledged(desk: Desk) -> None:
    desk.engine.replies["complete"] = [fakes.GONE]

    desk.take(delivery(complete()))

    assert desk.publisher.published == []


@pytest.mark.parametrize(("given", "used"), [("w-7", "w-7"), ("stranger", fakes.OURS), (None, fakes.OURS)])
def test_only_accepted_worker_ids_are_used(desk: Desk, given: str | None, used: str) -> None:
    desk.take(delivery(complete(worker_id=given)))

    assert desk.engine.body_of("complete")["workerId"] == used


def test_a_task_that_our_own_id_holds_is_answered_with_our_own_id(desk: Desk) -> None:
    held_by_us = fakes.refusal(400, f"It is locked by worker '{fakes.OURS}'.")
    desk.engine.replies["complete"] = [held_by_us]

    desk.take(delivery(complete(worker_id="w-7")))

    assert [body["workerId"] for word, body in desk.engine.calls if word == "complete"] == ["w-7", fakes.OURS]


def test_a_task_that_nobody_holds_is_locked_again_and_the_answer_repeated(desk: Desk) -> None:
    desk.engine.replies["complete"] = [fakes.LOCKED_BY_NOBODY]

    desk.take(delivery(complete()))

    assert desk.engine.words() == ["complete", "t1", "lock", "complete"]


@pytest.mark.parametrize("refusal", [fakes.COLLISION, fakes.AWAY])
def test_a_lock_that_fails_for_the_moment_is_tried_again(desk: Desk, refusal: Any) -> None:
    desk.engine.replies["complete"] = [fakes.LOCKED_BY_NOBODY, fakes.LOCKED_BY_NOBODY]
    desk.engine.replies["lock"] = [refusal]

    desk.take(delivery(complete()))

    assert desk.publisher.published == []
    assert desk.engine.words().count("complete") == 3


def test_a_task_that_is_gone_when_it_is_locked_again_is_done_with(desk: Desk) -> None:
    desk.engine.replies["complete"] = [fakes.LOCKED_BY_NOBODY]
    desk.engine.replies["lock"] = [fakes.GONE]

    desk.take(delivery(complete()))

    assert desk.publisher.published == []


def test_a_correlation_id_that_is_no_text_counts_as_missing(desk: Desk) -> None:
    desk.take(delivery({"response_type": "complete"}, correlation_id=b"\xcf\xf0"))

    assert desk.dead_letter_reason == "invalid"


def test_a_header_whose_name_is_no_text_is_left_out_of_the_copy(desk: Desk) -> None:
    desk.engine.replies["complete"] = [fakes.TROUBLE]

    desk.take(delivery(complete(), headers={b"\xcf": 1, "of": "partner"}))

    (copy,) = desk.publisher.published
    assert copy.headers == {"of": "partner", ATTEMPTS: 1}


def test_a_proxy_that_answers_everything_with_an_object_is_no_engine(desk: Desk) -> None:
    maintenance = Reply(200, b'{"status": "maintenance"}')
    desk.engine.replies["complete"] = [maintenance]
    desk.engine.replies["topic-names"] = [maintenance]
    desk.engine.replies["t1"] = [maintenance]

    desk.take(delivery(complete()))

    assert desk.paused == 1
    assert desk.engine.words().count("complete") == 2


def test_an_answer_for_a_task_of_another_worker_is_set_aside(desk: Desk) -> None:
    desk.engine.replies["complete"] = [fakes.LOCKED_BY_OTHER]

    desk.take(delivery(complete()))

    assert desk.dead_letter_reason == "foreign_lock"
    assert "failure" not in desk.engine.words()


def test_a_rejected_answer_is_set_aside_and_its_task_gets_an_incident(desk: Desk) -> None:
    desk.engine.replies["complete"] = [fakes.BAD_TYPE]

    desk.take(delivery(complete(variables={"x": {"value": 1, "type": "Foo"}})))

    assert desk.dead_letter_reason == "rejected_by_engine"
    assert desk.engine.body_of("failure")["retries"] == 0
    assert "Unsupported value type" in desk.engine.body_of("failure")["errorMessage"]


def test_an_answer_for_a_suspended_instance_waits_as_long_as_it_takes(desk: Desk) -> None:
    desk.engine.replies["complete"] = [fakes.SUSPENDED]

    desk.take(delivery(complete(), user_id=US, headers={ATTEMPTS: 2}))

    (copy,) = desk.publisher.published
    assert copy.routing_key == "camunda.responses.retry.5m"
    assert copy.headers[ATTEMPTS] == 2


NO_JSON = fakes.refusal(500, "UTILS-02001 Parameter 'format' is null", kind="IllegalArgumentException")
HAS_JSON = fakes.refusal(500, "Object values cannot be used to query", kind="ProcessEngineException", code=0)
OPERATONS = "Cannot find serializer for value 'Value 'null' of type 'json', isTransient=false'."


@pytest.mark.parametrize(
    "words", [fakes.NO_SPIN, fakes.refusal(500, OPERATONS, kind="ProcessEngineException", code=0), fakes.TROUBLE]
)
def test_an_engine_without_spin_gets_untyped_objects_as_text(desk: Desk, words: Reply) -> None:
    desk.engine.replies["complete"] = [words]
    desk.engine.replies["message"] = [NO_JSON]

    desk.take(delivery(complete(variables={"order": {"lines": [1]}})))
    desk.take(delivery(complete(variables={"order": []})))

    assert desk.publisher.published == []
    sent = [body["variables"]["order"] for word, body in desk.engine.calls if word == "complete"]
    assert sent == [
        {"value": '{"lines":[1]}', "type": "Json"},
        {"value": '{"lines":[1]}', "type": "String"},
        {"value": "[]", "type": "String"},
    ]


def test_a_bpmn_error_with_an_untyped_object_reaches_an_engine_without_spin(desk: Desk) -> None:
    operatons = fakes.refusal(500, "ENGINE-13033 Propagation of bpmn error NO failed. ", code=0)
    desk.engine.replies["bpmnError"] = [operatons]
    desk.engine.replies["message"] = [NO_JSON]

    answer = {"task_id": "t1", "response_type": "bpmn_error", "error_code": "NO"}
    desk.take(delivery({**answer, "variables": {"order": []}}))

    assert desk.engine.words() == ["bpmnError", "message", "bpmnError"]
    assert desk.publisher.published == []


def test_an_engine_that_knows_json_gets_json_also_after_a_refusal(desk: Desk) -> None:
    desk.engine.replies["complete"] = [fakes.TROUBLE]
    desk.engine.replies["message"] = [HAS_JSON]

    desk.take(delivery(complete(variables={"order": []})))
    desk.take(delivery(complete(variables={"order": []})))

    sent = [body["variables"]["order"]["type"] for word, body in desk.engine.calls if word == "complete"]
    assert sent == ["Json", "Json"]


def test_no_json_is_given_up_for_an_answer_that_fails_as_text_too(desk: Desk) -> None:
    desk.engine.replies["complete"] = [fakes.NO_SPIN, fakes.TROUBLE]

    desk.take(delivery(complete(variables={"order": []})))
    desk.take(delivery(complete(variables={"order": []})))

    sent = [body["variables"]["order"]["type"] for word, body in desk.engine.calls if word == "complete"]
    assert sent == ["Json", "String", "Json"]


def test_a_variable_that_is_json_by_its_own_words_is_not_turned_into_text(desk: Desk) -> None:
    desk.engine.replies["complete"] = [fakes.NO_SPIN, fakes.NO_SPIN]

    desk.take(delivery(complete(variables={"order": {"value": "[]", "type": "Json"}})))

    assert desk.dead_letter_reason == "rejected_by_engine"


NOT_THE_ENGINES_WORD = {
    "too many requests": Reply(429, b"", wait_seconds=20),
    "maintenance": Reply(503, b"<html>back soon</html>"),
    "a gateway that speaks JSON": fakes.refusal(503, "no healthy upstream"),
    "bad gateway": Reply(502, b""),
    "gateway timeout": Reply(504, b""),
    "login page": fakes.LOGIN_PAGE,
    "a firewall": Reply(403, b"<html>blocked</html>"),
    "a page of its own": Reply(500, b"<html>oops</html>"),
    "too large for the gateway": Reply(413, b"<html>too large</html>"),
    "wants a login": Reply(401, b""),
    "a redirect": Reply(302, b""),
    "not found by the gateway": Reply(404, b"<html>nothing here</html>"),
    "bad request by the gateway": Reply(400, b"<html>bad request</html>"),
    "nothing at all": fakes.AWAY,
}


@pytest.mark.parametrize("reply", NOT_THE_ENGINES_WORD.values(), ids=NOT_THE_ENGINES_WORD.keys())
@pytest.mark.parametrize("attempts", [0, 3])
def test_what_is_not_the_engines_word_costs_an_answer_nothing_but_time(
    desk: Desk, reply: Reply | None, attempts: int
) -> None:
    desk.engine.replies["complete"] = [reply]

    desk.take(delivery(complete(), user_id=US, headers={ATTEMPTS: attempts}))

    (copy,) = desk.publisher.published
    assert copy.routing_key == "camunda.responses.retry.30s"
    assert copy.headers[ATTEMPTS] == attempts
    assert "failure" not in desk.engine.words()


@pytest.mark.parametrize(("wait_seconds", "tier"), [(0, "5s"), (4, "5s"), (6, "30s"), (31, "5m"), (600, "5m")])
def test_an_answer_waits_as_long_as_a_gateway_asks_for(desk: Desk, wait_seconds: float, tier: str) -> None:
    desk.engine.replies["complete"] = [Reply(429, b"", wait_seconds=wait_seconds)]

    desk.take(delivery(complete()))

    assert desk.publisher.published[0].routing_key == f"camunda.responses.retry.{tier}"


def test_no_other_answer_knocks_while_a_gateway_wants_to_be_left_alone(desk: Desk) -> None:
    desk.engine.replies["complete"] = [Reply(429, b"", wait_seconds=1.5)]
    desk.take(delivery(complete()))
    began = time.monotonic()

    desk.take(delivery(complete(task_id="t2")))

    assert time.monotonic() - began > 1.4


def test_a_complete_that_a_gateway_cut_off_is_not_called_again_soon(desk: Desk) -> None:
    desk.engine.replies["complete"] = [Reply(504, b"", seconds=60.0)]

    desk.take(delivery(complete()))

    assert desk.publisher.published[0].routing_key == "camunda.responses.retry.5m"


@pytest.mark.parametrize("refusal", [fakes.NULL_POINTER, fakes.TOO_LONG])
def test_the_task_is_read_before_an_error_of_the_engines_own_is_held_against_an_answer(
    desk: Desk, refusal: Reply
) -> None:
    desk.engine.tasks.clear()
    desk.engine.replies["complete"] = [refusal]

    desk.take(delivery(complete()))

    assert desk.engine.words() == ["complete", "t1"]
    assert desk.publisher.published == []


def test_a_null_pointer_exception_is_this_answers_own_trouble_where_the_task_is_still_there(desk: Desk) -> None:
    desk.engine.replies["complete"] = [fakes.NULL_POINTER]

    desk.take(delivery(complete()))

    assert desk.publisher.published[0].routing_key == "camunda.responses.retry.5s"


@pytest.mark.parametrize("refusal", [fakes.NULL_POINTER, fakes.NO_ENGINE])
def test_a_named_engine_that_is_missing_or_redeployed_is_an_engine_that_is_away(
    desk: Desk, refusal: Reply
) -> None:
    for word in ("complete", "t1", "topic-names"):
        desk.engine.replies[word] = [refusal]

    desk.take(delivery(complete(), user_id=US, headers={ATTEMPTS: 3}))

    assert desk.paused == 1
    assert desk.publisher.published == []
    assert desk.engine.words()[-1] == "complete"


def test_an_answer_that_was_tried_in_vain_is_no_dead_letter_where_its_task_is_gone(desk: Desk) -> None:
    desk.engine.replies["complete"] = [fakes.TROUBLE]
    desk.engine.replies["failure"] = [fakes.GONE]

    desk.take(delivery(complete(), user_id=US, headers={ATTEMPTS: 3}))

    assert desk.publisher.published == []


def test_a_collision_is_repeated_at_once(desk: Desk) -> None:
    desk.engine.replies["complete"] = [fakes.COLLISION, fakes.COLLISION]

    desk.take(delivery(complete()))

    assert desk.engine.words() == ["complete"] * 3
    assert desk.publisher.published == []


def test_an_answer_in_trouble_goes_through_the_tiers_with_a_lock_that_outlasts_them(desk: Desk) -> None:
    desk.engine.replies["complete"] = [fakes.TROUBLE]

    desk.take(delivery(complete(), user_id="bitrix", expiration="1000"))

    (copy,) = desk.publisher.published
    assert copy.routing_key == "camunda.responses.retry.5s"
    assert copy.headers[ATTEMPTS] == 1
    assert copy.headers["x-sender-user-id"] == "bitrix"
    assert copy.properties["user_id"] == US
    assert "expiration" not in copy.properties
    assert desk.engine.body_of("extendLock")["newDuration"] == 600_000


def test_a_copy_does_not_carry_what_the_broker_wrote_on_the_last_one(desk: Desk) -> None:
    desk.engine.replies["complete"] = [fakes.TROUBLE]
    deaths = {"x-death": [{"queue": "camunda.responses.retry.5s"}], "x-first-death-reason": "expired"}

    desk.take(delivery(complete(), user_id=US, headers={ATTEMPTS: 1, "of": "partner", **deaths}))

    (copy,) = desk.publisher.published
    assert copy.headers == {"of": "partner", ATTEMPTS: 2}


def test_after_the_last_tier_an_answer_is_set_aside_with_an_incident(desk: Desk) -> None:
    desk.engine.replies["complete"] = [fakes.TROUBLE]

    desk.take(delivery(complete(), user_id=US, headers={ATTEMPTS: 3}))

    assert desk.dead_letter_reason == "retries_exhausted"
    assert "some listener failed" in desk.engine.body_of("failure")["errorMessage"]


def test_a_task_that_cannot_even_be_read_holds_no_thread(desk: Desk) -> None:
    desk.engine.replies["complete"] = [fakes.TROUBLE]
    desk.engine.replies["t1"] = [fakes.TROUBLE] * 3

    desk.take(delivery(complete()))

    assert desk.publisher.published[0].routing_key == "camunda.responses.retry.5s"
    assert len(desk.engine.calls) < 6


def test_an_answer_is_given_up_even_where_its_task_takes_no_incident(desk: Desk) -> None:
    desk.engine.replies["complete"] = [fakes.TROUBLE]
    desk.engine.replies["failure"] = [fakes.TROUBLE, fakes.AWAY]

    desk.take(delivery(complete(), user_id=US, headers={ATTEMPTS: 3}))

    assert desk.dead_letter_reason == "retries_exhausted"


def test_an_incident_that_collides_is_reported_again(desk: Desk) -> None:
    desk.engine.replies["complete"] = [fakes.BAD_TYPE, fakes.BAD_TYPE]
    desk.engine.replies["failure"] = [fakes.COLLISION]

    desk.take(delivery(complete()))

    assert desk.engine.words().count("failure") == 2
    assert desk.dead_letter_reason == "rejected_by_engine"


def test_a_forged_attempt_count_is_not_believed(desk: Desk) -> None:
    desk.engine.replies["complete"] = [fakes.TROUBLE]

    desk.take(delivery(complete(), user_id="bitrix", headers={ATTEMPTS: 3}))

    (copy,) = desk.publisher.published
    assert copy.headers[ATTEMPTS] == 1


@pytest.mark.parametrize("count", [-5, True, 10**9, 0.5, "3", [3]])
def test_an_attempt_count_that_is_none_counts_as_the_first(desk: Desk, count: object) -> None:
    desk.engine.replies["complete"] = [fakes.TROUBLE]

    desk.take(delivery(complete(), user_id=US, headers={ATTEMPTS: count}))

    assert desk.publisher.published[0].routing_key == "camunda.responses.retry.5s"


@pytest.mark.parametrize("body", [complete(), b"garbage"], ids=["to a delay tier", "to the error queue"])
def test_a_copy_carries_what_can_be_sent_and_nothing_that_was_altered(desk: Desk, body: object) -> None:
    desk.engine.replies["complete"] = [fakes.TROUBLE]
    odd = {"huge": 10**19, "half": 0.75, "nested": [{"a": [1.5]}], "fat": "x" * 100_000, "surrogate": "\ud800"}

    desk.take(delivery(body, headers=odd))

    (copy,) = desk.publisher.published
    encoded = b"".join(BasicProperties(headers=copy.headers, **copy.properties).encode())
    sent = BasicProperties().decode(encoded).headers
    assert sent is not None
    assert len(encoded) < 100_000
    assert {name: sent[name] for name in odd if name in sent} == {"half": 0.75, "nested": [{"a": [1.5]}]}


def test_the_engines_words_may_hold_half_a_character(desk: Desk) -> None:
    desk.engine.replies["complete"] = [fakes.refusal(400, "Cannot convert value '\ud83d'")]

    desk.take(delivery(complete()))

    (copy,) = desk.publisher.published
    assert "Cannot convert" in copy.headers["x-error-detail"].encode().decode()
    assert "Cannot convert" in desk.engine.body_of("failure")["errorMessage"]


def test_a_call_without_answer_is_its_own_trouble_where_the_engine_answers(desk: Desk) -> None:
    desk.engine.replies["complete"] = [fakes.AWAY]

    desk.take(delivery(complete()))

    assert desk.engine.words()[:2] == ["complete", "topic-names"]
    assert desk.publisher.published[0].routing_key == "camunda.responses.retry.5s"


def test_an_engine_that_is_away_stops_the_consumer_until_it_is_back(desk: Desk) -> None:
    desk.engine.replies["complete"] = [fakes.AWAY]
    desk.engine.replies["topic-names"] = [fakes.AWAY]

    desk.take(delivery(complete()))

    assert desk.paused == 1
    assert desk.engine.words() == ["complete", "topic-names", "topic-names", "complete"]
    assert desk.publisher.published == []


def test_a_login_page_with_status_200_is_no_success(desk: Desk) -> None:
    desk.engine.replies["complete"] = [fakes.LOGIN_PAGE]
    desk.engine.replies["topic-names"] = [fakes.LOGIN_PAGE]

    desk.take(delivery(complete()))

    assert desk.engine.words() == ["complete", "topic-names", "topic-names", "complete"]


@pytest.mark.parametrize(("retries", "sent"), [(None, 3), (3, 2), (1, 0), (0, 0)])
def test_a_failure_without_retries_counts_down(desk: Desk, retries: int | None, sent: int) -> None:
    desk.engine.tasks["t1"] = task_row(retries=retries)

    desk.take(delivery(failure(error_message="no such deal")))

    assert desk.engine.body_of("failure")["retries"] == sent
    assert desk.engine.body_of("failure")["retryTimeout"] == 30_000


def test_a_failure_of_an_earlier_attempt_is_stale(desk: Desk) -> None:
    desk.engine.tasks["t1"] = task_row(retries=2)

    desk.take(delivery(failure(attempt="first")))

    assert desk.engine.words() == ["t1"]


def test_a_heartbeat_moves_the_lock_and_keeps_the_task_in_the_table(desk: Desk) -> None:
    desk.leases.add(fakes.external_task(), RoutingConfig.built_in(600_000).systems_of("bitrix_x")[0], 0.0)
    desk.leases.published(["t1"])

    desk.take(delivery(heartbeat()))

    assert desk.engine.body_of("extendLock")["newDuration"] == 600_000
    assert [lease.extended for lease in desk.leases.all()] == [True]


def test_a_heartbeat_on_an_expired_lock_locks_again(desk: Desk) -> None:
    desk.engine.replies["extendLock"] = [fakes.EXPIRED]

    desk.take(delivery(heartbeat(lock_duration=90_000)))

    assert desk.engine.body_of("lock")["lockDuration"] == 90_000


@pytest.mark.parametrize("refusal", [fakes.LOCKED_BY_OTHER, fakes.GONE, fakes.TROUBLE, fakes.BAD_TYPE])
def test_a_heartbeat_never_becomes_a_failure_or_a_dead_letter(desk: Desk, refusal: Any) -> None:
    desk.engine.replies["extendLock"] = [refusal]

    desk.take(delivery(heartbeat()))

    assert "failure" not in desk.engine.words()
    assert desk.publisher.published == []


def test_an_unreadable_answer_is_set_aside_as_it_came(desk: Desk) -> None:
    desk.take(delivery(b"\xff not json", headers={"from": "1c"}))

    (copy,) = desk.publisher.published
    assert desk.dead_letter_reason == "invalid"
    assert copy.body == b"\xff not json"
    assert copy.headers["from"] == "1c"
    assert desk.engine.calls == []


TRUE_REASON = "the answer of bitrix24 cannot be used: "


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        pytest.param({"task_id": "t1"}, "response_type: Field required", id="no type"),
        pytest.param({"task_id": "t1", "response_type": "finish"}, "response_type: ", id="an unknown type"),
        pytest.param({"task_id": "t1", "response_type": "bpmn_error"}, "error_code is missing", id="no code"),
        pytest.param(complete(variables=[1]), "variables: ", id="variables a list"),
        pytest.param(failure(retry_timeout=2**53), "retry_timeout: ", id="a pause of millennia"),
        pytest.param(failure(retries=True), "retries: ", id="retries a boolean"),
        pytest.param(complete(variables={"n": 2**64}), "variable 'n': ", id="a number of no type"),
        pytest.param(complete(local_variables={"n": {"value": 1, "type": 5}}), "variable 'n': ", id="type 5"),
        pytest.param(
            {"task_id": "t1", "response_type": "bpmn_error", "error_code": "E", "variables": {"n": 2**64}},
            "variable 'n': ",
            id="a number of no type beside a code",
        ),
        pytest.param(
            {"task_id": "t1", "responseType": "complete"}, "did you mean 'response_type'?", id="camel case"
        ),
        pytest.param({"Task_ID": "t1", "response_type": "complete"}, "did you mean 'task_id'?", id="capitals"),
        pytest.param(
            {"task_id": "t1", "response_type": "bpmn_error", "errorCode": "E"},
            "did you mean 'error_code'?",
            id="code",
        ),
        pytest.param(
            b'{"task_id": "t1", "response_type": "complete", "variables": {"a', "Invalid JSON", id="cut off"
        ),
        pytest.param(
            b'{"task_id":"t1","error_message":"\xcf\xf0","response_type":"x"}', "windows-1251", id="cp1251"
        ),
        pytest.param(b'\xef\xbb\xbf{"task_id": "t1", "response_type": "done"}', "response_type: ", id="a mark"),
        pytest.param(b'{"task_id": "t1", "response_type": "complete",}', "Invalid JSON", id="a comma too many"),
        pytest.param(
            b'{"task_id": "t1", "x": "' + b"x" * 20_000 + b'"}', "at most 10000 are taken", id="too large"
        ),
    ],
)
def test_a_task_is_told_at_once_why_its_answer_cannot_be_used(desk: Desk, body: object, reason: str) -> None:
    desk.leases.add(fakes.external_task(), RoutingConfig.built_in(600_000).systems_of("bitrix_x")[0], 0.0)

    desk.take(delivery(body))

    told = desk.engine.body_of("failure")
    assert told["errorMessage"].startswith(TRUE_REASON)
    assert reason in told["errorMessage"]
    assert (told["retries"], told["retryTimeout"], told["workerId"]) == (3, 30_000, fakes.OURS)
    assert desk.publisher.published[0].headers["x-task-id"] == "t1"
    assert desk.leases.all() == []


@pytest.mark.parametrize("body", [b"", b"complete it, please", [], {"response_type": "complet"}, b"\xff"])
def test_the_correlation_id_names_the_task_where_the_answer_does_not(desk: Desk, body: object) -> None:
    desk.take(delivery(body, correlation_id="t1"))

    assert desk.engine.body_of("failure")["errorMessage"].startswith(TRUE_REASON)


@pytest.mark.parametrize(("retries", "sent"), [(None, 3), (3, 2), (1, 0)])
def test_an_unusable_answer_costs_a_retry(desk: Desk, retries: int | None, sent: int) -> None:
    desk.engine.tasks["t1"] = task_row(retries=retries)

    desk.take(delivery({"task_id": "t1"}))

    assert desk.engine.body_of("failure")["retries"] == sent


def test_what_comes_again_about_one_attempt_costs_one_retry(desk: Desk, clock: Clock) -> None:
    for _ in range(3):
        desk.take(delivery({"task_id": "t1"}))
        clock.advance(5)
    again = desk.engine.words().count("failure")
    clock.advance(60)
    desk.take(delivery({"task_id": "t1"}))

    assert (again, desk.engine.words().count("failure")) == (1, 2)
    assert len(desk.publisher.published) == 4


@pytest.mark.parametrize(
    ("row", "body"),
    [
        pytest.param({"workerId": "another-team"}, {"task_id": "t1"}, id="of another worker"),
        pytest.param({"workerId": None}, {"task_id": "t1"}, id="of nobody"),
        pytest.param({"retries": 0}, {"task_id": "t1"}, id="with an incident"),
        pytest.param({"suspended": True}, {"task_id": "t1"}, id="suspended"),
        pytest.param({"retries": 2}, {"task_id": "t1", "attempt": "first"}, id="at a later attempt"),
        pytest.param(
            {}, {"task_id": "t1", "response_type": "extend_lock", "lock_duration": 2**53}, id="a heartbeat"
        ),
    ],
)
def test_a_task_that_waits_for_no_such_answer_is_left_alone(desk: Desk, row: Any, body: object) -> None:
    desk.engine.tasks["t1"] |= row

    desk.take(delivery(body))

    assert desk.dead_letter_reason == "invalid"
    assert "failure" not in desk.engine.words()


def test_a_task_that_came_anew_since_is_left_alone(desk: Desk) -> None:
    desk.leases.add(fakes.external_task(retries=2), RoutingConfig.built_in(600_000).systems_of("bitrix_x")[0], 0.0)

    desk.take(delivery({"task_id": "t1"}))

    assert "failure" not in desk.engine.words()


def test_a_replicas_task_is_told_under_the_replicas_id(desk: Desk) -> None:
    desk.engine.tasks["t1"]["workerId"] = "w-7"

    desk.take(delivery({"task_id": "t1"}))

    assert desk.engine.body_of("failure")["workerId"] == "w-7"


@pytest.mark.parametrize(("user_id", "told"), [("bitrix24", 1), ("1c", 0), (None, 0)])
def test_only_who_may_answer_can_make_a_task_fail(user_id: str | None, told: int) -> None:
    desk = Desk(require_user_id=True)

    desk.take(delivery({"task_id": "t1"}, user_id=user_id))

    assert desk.dead_letter_reason == "invalid"
    assert desk.engine.words().count("failure") == told


def test_a_task_that_is_gone_needs_no_word(desk: Desk) -> None:
    desk.engine.tasks.clear()

    desk.take(delivery({"task_id": "t1"}))

    assert desk.dead_letter_reason == "invalid"


def test_an_engine_that_is_away_is_told_later_and_the_copy_is_made_once(desk: Desk) -> None:
    desk.engine.replies["t1"] = [fakes.AWAY]
    desk.engine.replies["version"] = [fakes.AWAY]

    desk.take(delivery({"task_id": "t1"}))

    assert desk.engine.words().count("failure") == 1
    assert len(desk.publisher.published) == 1


def test_an_answer_whose_task_cannot_be_told_now_waits_and_holds_no_thread(desk: Desk) -> None:
    desk.engine.replies["t1"] = [fakes.AWAY] * 5
    unread = delivery({"task_id": "t1"})

    desk.handler.handle(unread)

    assert desk.parked == [unread]
    assert desk.acknowledged == []


def warnings_of_keys(logged: list[str]) -> list[str]:
    return [line for line in logged if "unknown and ignored" in line]


def test_an_unknown_key_is_said_once_per_system_with_the_one_that_was_meant(
    desk: Desk, logged: list[str], rise: Rise
) -> None:
    desk.engine.tasks["t2"] = task_row("t2", topic="1c_sync_data")
    for _ in range(3):
        desk.take(delivery(complete(variable={"x": 1}, Variables={}, note="")))
    desk.take(delivery({"task_id": "t2", "response_type": "complete", "variable": {}}))

    hint = "; did you mean 'variables'?"
    assert warnings_of_keys(logged) == [
        f"WARNING answers of bitrix24 have a key 'variable', which is unknown and ignored{hint}\n",
        f"WARNING answers of bitrix24 have a key 'Variables', which is unknown and ignored{hint}\n",
        "WARNING answers of bitrix24 have a key 'note', which is unknown and ignored\n",
        f"WARNING answers of 1c have a key 'variable', which is unknown and ignored{hint}\n",
    ]
    assert (rise("unknown_keys_total", system="bitrix24"), rise("unknown_keys_total", system="1c")) == (3, 1)


def test_a_misspelt_task_id_beside_a_correlation_id_is_said(desk: Desk, logged: list[str]) -> None:
    desk.take(delivery({"taskId": "t1", "response_type": "complete"}, correlation_id="t1"))

    assert "complete" in desk.engine.words()
    assert "'taskId', which is unknown and ignored; did you mean 'task_id'?" in warnings_of_keys(logged)[0]


def test_unknown_keys_do_not_ask_the_engine_for_each_answer(desk: Desk, clock: Clock) -> None:
    for _ in range(50):
        desk.take(delivery(complete(note="")))

    assert desk.engine.words().count("t1") <= 5


def test_unknown_keys_without_end_are_not_all_said(desk: Desk, logged: list[str]) -> None:
    desk.take(delivery(complete(**{f"k{n}": 1 for n in range(1500)}), correlation_id="t1"))
    keys = [f"key-{n}" for n in range(3000)]
    InVain().note("bitrix24", keys)

    assert len(warnings_of_keys(logged)) <= 2 * MOST_WARNINGS


def test_a_huge_answer_keeps_its_beginning_its_size_and_its_hash(desk: Desk) -> None:
    desk.take(delivery(b"x" * 100_000))

    (copy,) = desk.publisher.published
    assert desk.dead_letter_reason == "too_large"
    assert (len(copy.body), copy.headers["x-size"], len(copy.headers["x-sha256"])) == (65_536, 100_000, 64)


def test_an_answer_is_not_acknowledged_before_its_copy_is_safe(desk: Desk) -> None:
    desk.publisher.outcomes = [Outcome.UNKNOWN]

    desk.take(delivery(b"garbage"))

    assert len(desk.publisher.published) == 2


def test_copies_that_no_queue_takes_hold_no_thread(desk: Desk) -> None:
    desk.publisher.outcomes = [Outcome.UNKNOWN] * 8
    bad = [delivery(b"garbage") for _ in range(8)]

    for one in bad:
        desk.handler.handle(one)

    assert desk.parked == bad
    assert desk.acknowledged == []


def test_a_full_error_queue_keeps_no_other_answer_from_being_delivered(desk: Desk) -> None:
    desk.publisher.outcomes = [Outcome.REFUSED]
    bad = delivery(b"garbage")

    desk.handler.handle(bad)

    assert [copy.routing_key for copy in desk.publisher.published][1] == "camunda.responses.retry.5m"
    assert desk.acknowledged == [bad]


def test_an_answer_whose_copy_is_not_confirmed_yet_holds_no_thread_and_is_not_acknowledged(desk: Desk) -> None:
    desk.publisher.keeps = True

    desk.handler.handle(delivery(b"garbage"))

    assert desk.acknowledged == []
    desk.publisher.settle_kept()
    assert len(desk.acknowledged) == 1


def test_an_answer_of_an_instance_with_another_answer_under_way_comes_again_after_it(desk: Desk) -> None:
    late = delivery(complete())
    with desk.leases.answering(NamedTask("t1"), lambda: None):
        desk.handler.handle(late)
        desk.inbox.hand(marker := delivery(complete()))
        assert desk.inbox.take() is marker

    assert desk.inbox.take() is late
    assert desk.engine.calls == []


def test_a_failure_whose_reply_was_lost_is_not_reported_again(desk: Desk) -> None:
    desk.engine.replies["failure"] = [fakes.AWAY]
    first = delivery(failure(retries=3, error_message="no"))
    desk.engine.failed("t1", retries=3, message="no")

    desk.handler.handle(first)

    assert "extendLock" not in desk.engine.words()
    assert desk.engine.words().count("failure") == 1
    assert desk.acknowledged == [first]
    assert desk.publisher.published == []


def test_a_failure_that_takes_effect_while_its_task_is_held_for_a_delay_keeps_its_pause(desk: Desk) -> None:
    """As an engine does that stood still: the call without a reply comes through after the look at the task."""
    before = Reply(200, json.dumps(desk.engine.tasks["t1"]).encode())
    desk.engine.replies["failure"] = [fakes.TROUBLE]
    given = delivery(failure(retries=3, error_message="no"))
    desk.engine.replies["t1"] = [before] * 3  # to fail, to see whether it had an effect, to hold
    desk.engine.tasks["t1"] |= {"retries": 3, "errorMessage": "no"}

    desk.handler.handle(given)

    durations = [body["newDuration"] for word, body in desk.engine.calls if word == "extendLock"]
    assert durations[-1] == PAUSE_AGAIN_MS
    assert desk.acknowledged == [given]
    assert desk.publisher.published == []


@pytest.mark.parametrize(
    ("is_published", "echoed", "is_held"),
    [(False, {}, False), (True, {}, True), (False, {"attempt": "first"}, True)],
)
@pytest.mark.parametrize("verdict", [fakes.ACCEPTED, fakes.EXPIRED])
def test_a_sign_of_life_holds_no_task_whose_message_is_not_out(
    desk: Desk, verdict: Reply, is_published: bool, echoed: dict[str, str], is_held: bool
) -> None:
    desk.leases.add(external_task(), BITRIX, time.monotonic())
    desk.leases.published(["t1"] if is_published else [])
    desk.engine.replies["extendLock"] = [verdict]

    desk.take(delivery(heartbeat(**echoed)))

    assert bool({"extendLock", "lock"} & {*desk.engine.words()}) == is_held


def test_a_sign_of_life_of_an_attempt_that_failed_leaves_its_pause_alone(desk: Desk) -> None:
    desk.take(delivery(failure(retries=2, retry_timeout=60_000)))

    desk.take(delivery({"task_id": "t1", "response_type": "extend_lock"}))
    desk.take(delivery({"task_id": "t1", "response_type": "extend_lock", "attempt": "4"}))

    assert "extendLock" not in desk.engine.words()
    assert "lock" not in desk.engine.words()


def test_the_answer_for_a_suspended_task_holds_its_lock_by_a_new_one_and_comes_again_soon(desk: Desk) -> None:
    desk.engine.tasks["t1"]["suspended"] = True
    desk.engine.replies["complete"] = [fakes.SUSPENDED]

    desk.take(delivery(complete()))

    assert desk.engine.body_of("lock")["lockDuration"] == 600_000
    assert desk.publisher.published[0].routing_key == "camunda.responses.retry.30s"


def test_an_answer_on_a_lost_channel_is_left_to_the_broker(desk: Desk) -> None:
    lost = delivery(complete())
    cast(Any, lost.channel).is_open = False

    desk.handler.handle(lost)

    assert desk.acknowledged == []
    assert desk.engine.calls == []


@pytest.mark.parametrize("user_id", ["1c", None])
def test_an_answer_of_another_systems_user_is_forged_and_leaves_the_task_alone(user_id: str | None) -> None:
    desk = Desk(require_user_id=True)

    desk.take(delivery(complete(), user_id=user_id))

    assert desk.dead_letter_reason == "forged"
    assert desk.engine.words() == ["t1"]


@pytest.mark.parametrize(
    "properties",
    [
        pytest.param({"user_id": "bitrix24"}, id="from the system"),
        pytest.param(
            {"user_id": US, "headers": {ATTEMPTS: 1, "x-sender-user-id": "bitrix24"}}, id="our own copy of it"
        ),
    ],
)
def test_an_answer_of_the_systems_own_user_is_applied(properties: dict[str, Any]) -> None:
    desk = Desk(require_user_id=True)

    desk.take(delivery(complete(), **properties))

    assert desk.engine.words() == ["t1", "complete"]


UNUSABLE = {"task_id": "t1", "response_type": "complete", "variables": 5}


@pytest.mark.parametrize("times", [1, 2])
def test_an_answer_that_cannot_be_used_never_keeps_its_task_from_being_handed_out(desk: Desk, times: int) -> None:
    for _ in range(times):
        desk.take(delivery(UNUSABLE))

    assert desk.leases.add(fakes.external_task(), BITRIX, time.monotonic())


@pytest.mark.parametrize("body", [UNUSABLE, {"task_id": "t1", "response_type": "complete"}])
def test_a_forged_answer_never_keeps_its_task_from_being_handed_out(body: dict[str, Any]) -> None:
    desk = Desk(require_user_id=True)

    desk.take(delivery(body, user_id="stranger"))

    assert desk.leases.add(fakes.external_task(), BITRIX, time.monotonic())


def test_an_answer_is_not_acknowledged_for_a_lock_that_is_said_to_have_ended(desk: Desk) -> None:
    desk.engine.replies["complete"] = [fakes.EXPIRED]

    desk.take(delivery(complete()))

    (copy,) = desk.publisher.published
    assert copy.routing_key == "camunda.responses.retry.5s"
