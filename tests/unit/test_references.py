"""Values that are too large for a message: which of them stay at the engine, and what is sent instead."""

import json
from typing import Any

import pytest

from bridge import clock
from bridge.contract import ExternalTask, Response
from bridge.errors import Unprocessable
from bridge.intake import HeldTasks, MessageRules
from bridge.leases import LeaseTable
from bridge.routing import System
from bridge.statistics import Statistics
from config import RoutingConfig
from tests.unit.fakes import FakeEngine, task_row
from tests.unit.test_camunda_worker import LEASES
from tests.unit.test_contract import BASE_URL, FROM_ENGINE, body_of, message_of

MAX_BYTES = 10_000
SPARING = System("bitrix24", 600_000, ("bitrix_create_task",), large_variables="reference")


def text_of(size: int) -> dict[str, Any]:
    return {"type": "Json", "value": "x" * size, "valueInfo": {}}


def body_with(variables: dict[str, Any], excess: int) -> dict[str, Any]:
    task = ExternalTask.from_engine(FROM_ENGINE | {"variables": variables})
    return body_of(message_of(task.with_references(BASE_URL, excess)))


def referenced(body: dict[str, Any]) -> set[str]:
    urls: dict[str, str] = body["metadata"].get("variable_urls", {})
    assert urls.keys() == {name for name, v in body["variables"].items() if v["valueInfo"].get("by_reference")}
    return set(urls)


def published(engine: FakeEngine, variables: dict[str, Any]) -> list[dict[str, Any]]:
    """The bodies of the messages for a task with these variables, none where it is refused."""
    routing = RoutingConfig([SPARING], System("default", 600_000))
    camunda, table = engine.client(), LeaseTable(LEASES)
    held_tasks = HeldTasks(camunda, table, routing, Statistics(), MessageRules(LEASES, MAX_BYTES))
    task = ExternalTask.from_engine(task_row() | {"executionId": "e1", "variables": variables})
    held = held_tasks.hold_all([task], clock.now())
    return [json.loads(one.publication.body) for one in held]


def test_the_largest_values_become_references_until_the_rest_fits() -> None:
    variables = {"a": text_of(5000), "b": text_of(9000), "c": text_of(7000), "short": text_of(10)}

    assert referenced(body_with(variables, 1)) == {"b"}
    assert referenced(body_with(variables, 9000)) == {"b", "c"}
    assert referenced(body_with(variables, 1_000_000)) == {"a", "b", "c"}
    assert referenced(body_with(variables, 0)) == set()


def test_a_reference_keeps_type_and_value_info_and_says_what_it_is() -> None:
    info = {"objectTypeName": "Order", "serializationDataFormat": "application/json"}

    body = body_with({"order": {"type": "Object", "value": "x" * 5000, "valueInfo": info}}, 1)

    assert body["variables"]["order"] == {
        "type": "Object",
        "value": None,
        "valueInfo": info | {"by_reference": True},
    }
    assert body["metadata"]["variable_urls"] == {
        "order": f"{BASE_URL}/process-instance/execution/variables/order?deserializeValue=false"
    }


def test_of_bytes_the_url_serves_the_bytes() -> None:
    body = body_with({"scan": {"type": "Bytes", "value": "x" * 5000}}, 1)

    assert body["metadata"]["variable_urls"]["scan"].endswith("/variables/scan/data")


def test_a_value_whose_place_is_not_known_stays_in_the_message() -> None:
    assert referenced(body_with({"a/b": text_of(9000), "c": text_of(5000)}, 8000)) == {"c"}


@pytest.mark.parametrize("size", range(9_000, 11_000, 100))
def test_a_message_is_never_too_large_while_a_reference_could_make_it_fit(size: int) -> None:
    engine = FakeEngine()
    name = "счёт за октябрь" * 5

    (body,) = published(engine, {name: text_of(size), "b": text_of(5000)})

    assert len(json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()) <= MAX_BYTES
    assert engine.words() == []


def test_what_is_too_large_in_spite_of_references_becomes_an_incident() -> None:
    engine = FakeEngine()

    variables = {f"v{number}": text_of(3000 + number) for number in range(5)} | {"referenced": text_of(9000)}
    bodies = published(engine, variables)

    failure = engine.body_of("failure")
    assert bodies == []
    assert failure["retries"] == 0
    assert "the largest variable is 'v4' with 3004 characters" in failure["errorMessage"]


@pytest.mark.parametrize("given", ["variables", "local_variables"])
def test_a_reference_in_an_answer_is_refused_by_its_name(given: str) -> None:
    reference = {"value": None, "type": "Json", "valueInfo": {"by_reference": True}}
    answer = {"task_id": "t1", "response_type": "complete", given: {"order": reference}}
    response = Response.decode(json.dumps(answer).encode(), None, MAX_BYTES)

    with pytest.raises(Unprocessable, match="variable 'order' is a reference: leave it out"):
        response.typed_variables()
