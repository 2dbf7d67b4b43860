"""Rows of the engine's replies that nobody can read: each costs itself alone, is named once, and is counted."""

import json
from typing import Any

import pytest

from bridge.contract import ExternalTask, Response, TaskState, task_message
from bridge.engine import Reply, Rest
from bridge.errors import Unavailable, Unprocessable
from bridge.routing import Subscription
from config import RoutingConfig
from tests.unit.conftest import Clock, Rise
from tests.unit.fakes import NOW, FakeEngine, delivery, task_row
from tests.unit.test_answer_policy import Desk, failure
from tests.unit.test_leases import House
from tools import camunda_processes, unlock_task
from tools.lib.inspection import Inspection
from tools.lib.operations import Operations, is_locked, lock_end_of

FAR = "287453-02-08T11:42:07.991+0000"


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in task_row("odd").items() if key != name}


ODD_ROWS = [
    pytest.param(task_row("odd") | {"lockExpirationTime": FAR}, id="a lock of millennia"),
    pytest.param(task_row("odd") | {"lockExpirationTime": "soon"}, id="no time"),
    pytest.param(task_row("odd") | {"lockExpirationTime": 1795000000000}, id="a time as a number"),
    pytest.param(task_row("odd") | {"lockExpirationTime": "0001-01-01T00:00:00.000+0000"}, id="year 1"),
    pytest.param(task_row("odd") | {"lockExpirationTime": "9999-12-31T23:59:59.999+0000"}, id="year 9999"),
    pytest.param(without("id"), id="no id"),
    pytest.param(without("topicName"), id="no topic"),
    pytest.param(without("processInstanceId"), id="no instance"),
    pytest.param(task_row("odd") | {"id": None}, id="id null"),
    pytest.param(task_row("odd") | {"id": "../version"}, id="an id that is a path"),
    pytest.param(task_row("odd") | {"topicName": ["a"]}, id="topic a list"),
    pytest.param(task_row("odd") | {"topicName": "\ud83d"}, id="half a character"),
    pytest.param(task_row("odd") | {"workerId": 5}, id="worker a number"),
    pytest.param(task_row("odd") | {"retries": "many"}, id="retries a text"),
    pytest.param(task_row("odd") | {"retries": True}, id="retries a boolean"),
    pytest.param(None, id="null"),
    pytest.param([], id="a list"),
    pytest.param("odd", id="a text"),
]
ODD_FETCHED = [
    *ODD_ROWS,
    pytest.param(without("lockExpirationTime"), id="no lock"),
    pytest.param(task_row("odd") | {"lockExpirationTime": None}, id="lock null"),
    pytest.param(task_row("odd") | {"variables": {"x": None}}, id="a variable null"),
    pytest.param(task_row("odd") | {"variables": ["x"]}, id="variables a list"),
]


def reply(*rows: object) -> Reply:
    return Reply(200, json.dumps(rows).encode())


@pytest.fixture
def engine(clock: Clock) -> FakeEngine:
    clock.advance(10_000)  # what other tests named is long ago
    return FakeEngine()


@pytest.mark.parametrize("row", ODD_FETCHED)
def test_the_other_tasks_of_a_fetch_are_taken(
    engine: FakeEngine,
    row: object,
    rise: Rise,
    logged: list[str],
) -> None:
    engine.replies["fetchAndLock"] = [reply(row, task_row("good"))] * 2
    camunda = engine.client()

    fetched = [camunda.fetch_and_lock([Subscription("t", 60_000)], max_tasks=10, wait_ms=0) for _ in range(2)]

    assert [[task.id for task in tasks] for tasks in fetched] == [["good"]] * 2
    assert rise("unreadable_rows_total", call="fetchAndLock") == 2
    named = [line for line in logged if "cannot be read" in line]
    assert len(named) <= 1


@pytest.mark.parametrize("row", ODD_ROWS)
def test_the_other_tasks_of_a_query_are_known(engine: FakeEngine, row: object, rise: Rise) -> None:
    engine.replies["external-task"] = [reply(row, task_row("good")), reply(task_row("good"), row)]
    camunda = engine.client()

    assert [*camunda.read_tasks(["odd", "good"])] == ["good"]
    assert [*camunda.read_locked_tasks(0, 2)] == ["good"]
    assert rise("unreadable_rows_total", call="external-task") == 2


def test_a_row_is_named_with_its_task_and_what_is_odd_and_without_its_variables(
    engine: FakeEngine, logged: list[str]
) -> None:
    odd = task_row("odd-7") | {"variables": {"secret": {"value": "hush"}}, "lockExpirationTime": FAR}
    engine.replies["fetchAndLock"] = [reply(odd)]

    engine.client().fetch_and_lock([Subscription("t", 60_000)], max_tasks=10, wait_ms=0)

    (line,) = [line for line in logged if "cannot be read" in line]
    assert line.startswith("WARNING the engine's reply to fetchAndLock has 1 row that cannot be read")
    assert "id 'odd-7' of topicName 'bitrix_create_task'" in line
    assert FAR in line
    assert "hush" not in line


def test_a_row_that_stays_odd_is_named_again_after_a_while(
    engine: FakeEngine, clock: Clock, logged: list[str]
) -> None:
    engine.replies["external-task"] = [reply(task_row("odd-8") | {"lockExpirationTime": FAR})] * 3
    for _ in range(3):
        engine.client().read_tasks(["odd-8"])
        clock.advance(400)

    assert len([line for line in logged if "odd-8" in line]) == 2


def test_a_topic_that_is_no_text_is_left_out(engine: FakeEngine, rise: Rise) -> None:
    engine.replies["topic-names"] = [reply("good", None, 5, {"a": 1}, "", "\ud83d")] * 2

    assert engine.client().topic_names() == ["good"]
    assert Inspection(Rest(engine)).topics_with_tasks() == ["good"]
    assert rise("unreadable_rows_total", call="topic-names") == 10


def test_the_start_sees_the_tasks_behind_a_page_that_cannot_be_read() -> None:
    house = House()
    far = [task_row(f"far-{n}") | {"lockExpirationTime": FAR} for n in range(1000)]
    house.engine.replies["external-task"] = [reply(*far), reply(task_row("good")), reply()]

    house.keeper.rebuild_once()

    assert [lease.task_id for lease in house.table.all()] == ["good"]


def test_a_failure_for_a_task_whose_lock_ends_in_millennia_is_applied() -> None:
    desk = Desk()
    desk.engine.tasks["t1"] = task_row(retries=2) | {"lockExpirationTime": FAR}

    desk.take(delivery(failure()))

    assert desk.engine.body_of("failure")["retries"] == 1


def test_a_task_that_cannot_be_read_at_all_is_no_task(engine: FakeEngine) -> None:
    engine.tasks["t1"] = {"id": "t1"}

    with pytest.raises(Unavailable, match="what it calls task t1 cannot be read"):
        engine.client().read_task("t1")


def test_a_time_without_a_zone_is_local_time(engine: FakeEngine) -> None:
    naive = NOW.astimezone().replace(tzinfo=None).isoformat()
    engine.tasks["t1"] = task_row() | {"lockExpirationTime": naive}

    assert engine.client().read_task("t1").lock_expires_at == NOW


@pytest.mark.parametrize("created", [FAR, "soon", 5, None, ["a"]])
def test_a_creation_that_is_no_time_costs_the_task_nothing(created: object) -> None:
    task = ExternalTask.from_engine(task_row() | {"createTime": created})

    message = task_message(task, "bitrix24", "http://engine", lock_grows_by_ms=0, expires_in_ms=1000)

    assert json.loads(message.body)["created_time"] is None


def test_half_a_character_in_the_name_of_a_file_is_refused_as_in_any_variable() -> None:
    task = ExternalTask.from_engine(task_row() | {"variables": {"\ud83d": {"type": "File"}}})

    with pytest.raises(Unprocessable, match="cannot be written as JSON"):
        task_message(task, "bitrix24", "http://engine", lock_grows_by_ms=0, expires_in_ms=1000)


def test_a_tool_can_free_a_task_that_is_locked_for_millennia(engine: FakeEngine) -> None:
    far = task_row("far") | {"lockExpirationTime": FAR}
    engine.tasks = {"far": far}
    engine.replies["external-task"] = [reply(far, None)]
    operations = Operations(Rest(engine))

    (task,) = operations.tasks({"locked": True}, limit=10)

    assert unlock_task.row_of(task)["lock_ends"] == FAR
    assert camunda_processes.task_row(task, NOW)["state"] == "locked by universal-worker"
    assert unlock_task.free(operations, task)
    assert engine.words()[-1] == "unlock"


def test_a_tool_shows_what_it_can_of_an_odd_task() -> None:
    task = TaskState.from_engine({"id": "t1", "topicName": "x", "lockExpirationTime": ["odd"]}, needs_all=False)

    assert lock_end_of(task) == "['odd']"
    assert is_locked(task, NOW)


def test_a_tool_skips_what_is_no_process() -> None:
    good = {
        "definition": {"key": "order", "version": 1, "suspended": False},
        "instances": 2,
        "incidents": [],
        "failedJobs": 0,
    }
    odd: list[Any] = [None, {}, good | {"definition": {}}, good | {"definition": {"key": "x", "version": None}}]

    assert [row["process"] for row in camunda_processes.process_rows([*odd, good])] == ["order"]


def test_a_moment_that_is_no_time_is_shown_as_it_is() -> None:
    assert camunda_processes.moment(FAR) == FAR


@pytest.mark.parametrize("document", [{}, {"count": None}, {"count": "x"}])
def test_a_count_that_is_none_is_no_engine(engine: FakeEngine, document: dict[str, Any]) -> None:
    engine.replies["count"] = [Reply(200, json.dumps(document).encode())]

    with pytest.raises(Unavailable, match="tells no number"):
        Operations(Rest(engine)).count_tasks({})


LONGEST = 49 * 24 * 3600 * 1000


@pytest.mark.parametrize("field", ["lock_duration", "retry_timeout"])
@pytest.mark.parametrize("value", [2**53 - 1, LONGEST + 1, 10**30, -1, True, False, 1e18])
def test_a_time_beyond_all_bounds_is_invalid(field: str, value: object) -> None:
    body = json.dumps({"task_id": "t1", "response_type": "failure", field: value}).encode()

    with pytest.raises(Unprocessable, match=field):
        Response.decode(body, None, 10_000)


@pytest.mark.parametrize("field", ["lock_duration", "retry_timeout"])
def test_49_days_are_taken(field: str) -> None:
    body = json.dumps({"task_id": "t1", "response_type": "failure", field: LONGEST}).encode()

    assert getattr(Response.decode(body, None, 10_000), field) == LONGEST


@pytest.mark.parametrize("value", [True, False, -1, 2**31, 0.5])
def test_retries_that_are_no_number_are_invalid(value: object) -> None:
    body = json.dumps({"task_id": "t1", "response_type": "failure", "retries": value}).encode()

    with pytest.raises(Unprocessable, match="retries"):
        Response.decode(body, None, 10_000)


def test_the_longest_heartbeat_moves_the_lock() -> None:
    desk = Desk()
    desk.leases.add(
        ExternalTask.from_engine(task_row()), RoutingConfig.built_in(600_000).systems_of("bitrix_x")[0], 0.0
    )
    desk.leases.published(["t1"])

    desk.take(delivery({"task_id": "t1", "response_type": "extend_lock", "lock_duration": LONGEST}))

    assert desk.engine.body_of("extendLock")["newDuration"] == LONGEST
