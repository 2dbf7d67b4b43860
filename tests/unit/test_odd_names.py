"""Files whose names no URL can hold: each task is told the id of the one that it sees, or comes again."""

import json
from typing import Any

import pytest

from bridge.contract import ExternalTask
from bridge.engine import Reply
from bridge.intake import OddNames
from bridge.routing import System
from config import RoutingConfig
from tests.unit.fakes import AWAY, NO_ENGINE, FakeEngine, refusal, task_row

NAME = "in/out"
FILE: dict[str, Any] = {NAME: {"type": "File", "value": None, "valueInfo": {}}}
ROUTING = RoutingConfig([System("bitrix24", 600_000, ("bitrix_create_task",))], System("default", 600_000))
QUERY, TREE = "variable-instance", "activity-instances"


def task(task_id: str, scope: str, instance: str = "p1") -> ExternalTask:
    where = {"activityInstanceId": scope, "processInstanceId": instance}
    return ExternalTask.from_engine(task_row(task_id) | {"variables": FILE} | where)


def stored(variable_id: str, scope: str, instance: str = "p1") -> dict[str, Any]:
    return {"id": variable_id, "activityInstanceId": scope, "processInstanceId": instance}


def reply(document: object) -> Reply:
    return Reply(200, json.dumps(document).encode())


def inside(scope: str, *children: dict[str, Any]) -> dict[str, Any]:
    return {"id": scope, "childActivityInstances": list(children)}


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


def ids(engine: FakeEngine, *tasks: ExternalTask) -> dict[str, str | None]:
    """The id that each task is told; tasks that are let go are left out."""
    found = OddNames(engine.client().stored_variables, ROUTING).with_ids(tasks)
    return {one.id: one.variable_ids.get(NAME) for one in found}


def test_only_a_file_with_an_odd_name_is_looked_up() -> None:
    usual = {"invoice": FILE[NAME], "a/b": {"type": "String", "value": "x"}}

    names = OddNames(FakeEngine().client().stored_variables, ROUTING)

    assert names.of(ExternalTask.from_engine(task_row() | {"variables": usual})) == []
    assert names.of(task("t1", "s1")) == [NAME]


def test_a_large_variable_with_an_odd_name_is_looked_up_for_a_system_that_takes_references() -> None:
    variables = {name: {"type": "Json", "value": "x" * size} for name, size in {"a/b": 5000, "c/d": 10}.items()}
    sparing = System("bitrix24", 600_000, ("bitrix_create_task",), large_variables="reference")

    names = OddNames(FakeEngine().client().stored_variables, RoutingConfig([sparing], ROUTING.default))

    assert names.of(ExternalTask.from_engine(task_row() | {"variables": variables})) == ["a/b"]


def test_a_batch_is_looked_up_in_one_call(engine: FakeEngine) -> None:
    engine.replies[QUERY] = [reply([stored("v1", "p1"), stored("v2", "p2", "p2")])]

    found = ids(engine, task("t1", "s1"), task("t2", "s2", "p2"), task("t3", "s3"))

    assert found == {"t1": "v1", "t2": "v2", "t3": "v1"}
    assert engine.calls == [(QUERY, {"variableName": NAME, "processInstanceIdIn": ["p1", "p2"]})]


def test_each_task_is_told_what_is_in_the_scope_nearest_to_it(engine: FakeEngine) -> None:
    engine.replies[QUERY] = [reply([stored("v1", "p1"), stored("v2", "sub"), stored("v3", "own")])]
    tree = inside("p1", inside("plain"), inside("own"), inside("sub", inside("body", inside("deep"))))
    engine.replies[TREE] = [reply(tree)]

    found = ids(engine, task("t1", "plain"), task("t2", "deep"), task("t3", "own"))

    assert found == {"t1": "v1", "t2": "v2", "t3": "v3"}
    assert engine.words() == [QUERY, TREE]


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param([], id="none"),
        pytest.param([stored("v1", "p1"), stored("v2", "p1")], id="two in one scope"),
        pytest.param([stored("v1", "elsewhere"), stored("v2", "there")], id="only elsewhere"),
    ],
)
def test_what_cannot_be_told_is_left_out_and_logged(
    engine: FakeEngine, rows: list[dict[str, Any]], logged: list[str]
) -> None:
    engine.replies[QUERY] = [reply(rows)]
    engine.replies[TREE] = [reply(inside("p1", inside("s1")))]

    assert ids(engine, task("t1", "s1")) == {"t1": None}
    assert [line for line in logged if "task t1" in line and NAME in line]


@pytest.mark.parametrize(
    "answer", [AWAY, NO_ENGINE, Reply(503, b"busy"), refusal(500, "no connection to the database")]
)
def test_while_the_engine_is_unavailable_the_tasks_are_let_go(
    engine: FakeEngine, answer: Reply | None, logged: list[str]
) -> None:
    engine.replies[QUERY] = [answer]

    assert ids(engine, task("t1", "s1"), task("t2", "s2")) == {}
    assert [line for line in logged if "task t2 is offered again" in line]


def test_an_engine_that_refuses_the_look_gives_no_id_and_stops_no_task(
    engine: FakeEngine, logged: list[str]
) -> None:
    engine.replies[QUERY] = [refusal(403, "The user is not authorized", kind="AuthorizationException")]

    assert ids(engine, task("t1", "s1")) == {"t1": None}
    assert [line for line in logged if "not authorized" in line]


def test_more_rows_than_are_read_give_no_id(engine: FakeEngine) -> None:
    engine.replies[QUERY] = [reply([stored(f"v{number}", "s1") for number in range(1000)])]

    assert ids(engine, task("t1", "s1")) == {"t1": None}
