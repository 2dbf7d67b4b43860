"""The retry policy of a model: noted from fetched tasks, read from the model of all others."""

import json

import pytest

from bridge.contract import ExternalTask, TaskState
from bridge.engine import Reply
from bridge.engine.models import Models
from bridge.errors import Unavailable
from bridge.retry_policy import RetryPolicy
from tests.unit.fakes import FakeEngine, refusal, task_row

MODEL = """<?xml version="1.0" encoding="UTF-8"?>
<bpmn:definitions xmlns:bpmn="http://www.omg.org/spec/BPMN/20100524/MODEL" xmlns:c="http://operaton.org/schema/1.0/bpmn">
  <bpmn:process id="p"><bpmn:subProcess id="sub">
    <bpmn:serviceTask id="work"><bpmn:extensionElements><c:properties>
      <c:property name="other" value="R9/PT9S" /><c:property name="retries" value="R5/PT10M" />
    </c:properties></bpmn:extensionElements></bpmn:serviceTask>
    <bpmn:serviceTask id="plain" />
  </bpmn:subProcess></bpmn:process>
</bpmn:definitions>"""


def state(activity: str = "work") -> TaskState:
    return TaskState.from_engine(task_row() | {"processDefinitionId": "p:1:x", "activityId": activity})


def task(**properties: str) -> ExternalTask:
    row = task_row() | {"processDefinitionId": "p:1:x", "activityId": "work", "extensionProperties": properties}
    return ExternalTask.from_engine(row)


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


def give_model(engine: FakeEngine, text: str = MODEL) -> None:
    engine.replies["xml"] = [Reply(200, json.dumps({"id": "p:1:x", "bpmn20Xml": text}).encode())]


def test_what_a_fetched_task_brought_along_is_not_asked_for(engine: FakeEngine) -> None:
    models = Models(engine)

    models.note(task(retries="R3/PT10S"))

    assert models.retry_policy(state()) == RetryPolicy(3, (10_000,))
    assert not engine.calls


def test_a_task_that_another_process_fetched_has_its_model_read_once(engine: FakeEngine) -> None:
    models = Models(engine)
    give_model(engine)

    found = [models.retry_policy(state()) for _ in range(2)]

    assert found == [RetryPolicy(5, (600_000,))] * 2
    assert engine.paths == ["/process-definition/p%3A1%3Ax/xml"]


def test_an_activity_without_the_property_has_no_policy_of_its_own(engine: FakeEngine) -> None:
    give_model(engine)

    assert Models(engine).retry_policy(state("plain")) is None


def test_a_cycle_that_cannot_be_read_is_named_and_does_not_count(engine: FakeEngine, logged: list[str]) -> None:
    models = Models(engine)

    models.note(task(retries="thrice"))

    assert models.retry_policy(state()) is None
    assert any("thrice" in line and "work" in line for line in logged)


@pytest.mark.parametrize(
    "reply",
    [
        refusal(403, "no READ on ProcessDefinition", kind="AuthorizationException"),
        refusal(404, "No matching definition", kind="InvalidRequestException"),
        refusal(500, "cannot be parsed", kind="ProcessEngineException", code=0),
        Reply(200, json.dumps({"bpmn20Xml": "<no xml"}).encode()),
        Reply(200, b"{}"),
    ],
)
def test_a_model_that_cannot_be_read_does_not_keep_a_failure_waiting(
    engine: FakeEngine, reply: Reply, logged: list[str]
) -> None:
    engine.replies["xml"] = [reply]

    assert Models(engine).retry_policy(state()) is None
    assert any("retries in it do not count" in line for line in logged)


@pytest.mark.parametrize("reply", [None, Reply(503, b"busy"), Reply(200, b"<html>")])
def test_while_the_engine_does_not_answer_nothing_is_decided(engine: FakeEngine, reply: Reply | None) -> None:
    engine.replies["xml"] = [reply]

    with pytest.raises(Unavailable):
        Models(engine).retry_policy(state())
