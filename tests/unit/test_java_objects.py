"""Lists and maps of Java: what the message tells of them beside their bytes."""

import json
from typing import Any

import pytest

from bridge.contract import ExternalTask, task_message
from bridge.engine import Reply
from bridge.engine.java_objects import LONGEST_OBJECT, MOST_OBJECTS
from bridge.routing import Subscription
from tests.unit.fakes import FakeEngine, task_row
from tests.unit.test_contract import body_of

JAVA = "application/x-java-serialized-object"
JSON = "application/json"


def java(kind: str = "java.util.ArrayList", value: Any = "rO0AB", form: str = JAVA) -> dict[str, Any]:
    info = {"objectTypeName": kind, "serializationDataFormat": form}
    return {"type": "Object", "value": value, "valueInfo": info}


class Process(FakeEngine):
    """Gives out one task with these variables, and the values of those that it can read."""

    def __init__(self, variables: dict[str, Any], values: dict[str, Reply | None]) -> None:
        super().__init__()
        row = task_row() | {"executionId": "e 1", "variables": variables}
        self.replies["fetchAndLock"] = [Reply(200, json.dumps([row]).encode())]
        for name, reply in values.items():
            self.replies[name] = [reply]

    def fetched(self) -> ExternalTask:
        (task,) = self.client().fetch_and_lock([Subscription("t", 60_000)], max_tasks=1, wait_ms=0)
        return task

    def metadata(self) -> Any:
        message = task_message(self.fetched(), "bitrix24", "http://e", lock_grows_by_ms=0, expires_in_ms=1)
        return body_of(message)["metadata"]


def given(value: Any) -> Reply:
    return Reply(200, json.dumps(java(value=value)).encode())


def test_a_list_and_a_map_are_told_as_json_beside_their_bytes() -> None:
    variables = {"list": java(), "map": java("java.util.TreeMap"), "n": {"type": "Integer", "value": 1}}
    engine = Process(variables, {"list": given(["a", 2]), "map": given({"k": "v"})})

    task = engine.fetched()

    assert task.object_values == {"list": ["a", 2], "map": {"k": "v"}}
    assert task.variables == variables
    assert engine.paths[1] == "/process-instance/e%201/variables/list?deserializeValue=true"


def test_the_message_has_no_such_field_where_there_is_nothing_to_tell() -> None:
    engine = Process({"n": {"type": "Integer", "value": 1}}, {})

    assert engine.metadata() == {"extension_properties": {}}
    assert engine.words() == ["fetchAndLock"]


def test_the_message_tells_the_values() -> None:
    assert Process({"list": java()}, {"list": given([1])}).metadata()["object_values"] == {"list": [1]}


@pytest.mark.parametrize(
    "variable",
    [
        java("com.example.Order"),
        java(form=JSON),
        java(value=None),
        java(value="x" * (LONGEST_OBJECT + 1)),
        {"type": "Object", "value": "rO0AB"},
        {"type": "Object", "value": "rO0AB", "valueInfo": []},
    ],
)
def test_of_other_objects_the_engine_is_not_asked(variable: dict[str, Any]) -> None:
    engine = Process({"x": variable}, {})

    assert engine.fetched().object_values == {}
    assert engine.words() == ["fetchAndLock"]


@pytest.mark.parametrize(
    "reply",
    [
        None,
        Reply(500, b"{}"),
        Reply(200, b"<html>"),
        Reply(200, b"[]"),
        given("rO0AB"),
        Reply(404, b""),
        given(None),
    ],
)
def test_what_the_engine_cannot_read_is_left_out(reply: Reply | None) -> None:
    assert Process({"list": java()}, {"list": reply}).fetched().object_values == {}


def test_a_task_with_many_costs_a_bounded_number_of_calls() -> None:
    engine = Process({f"x{n}": java() for n in range(100)}, {})

    engine.fetched()

    assert len(engine.words()) == 1 + MOST_OBJECTS
