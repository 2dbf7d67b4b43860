"""What a system's answer does to its task."""

import json
from collections.abc import Sequence
from datetime import datetime
from hashlib import sha256
from typing import Any

import pytest
from pika.adapters.blocking_connection import BlockingChannel

from sandbox import choice
from sandbox.broker_api import QueueState
from sandbox.engine_api import EngineApi
from sandbox.sandbox import Sandbox
from tests.sandbox.processes import eventually
from tests.system.conftest import StartSystem, StartWorker
from tests.system.engine import stored_variables, task_of, wait_for_state, wait_for_task
from tests.system.partner import (
    ANSWERS,
    ERRORS,
    Reply,
    TaskMessage,
    answer,
    complete,
    completing,
    silent,
    take_all,
)

pytestmark = pytest.mark.usefixtures("samples")
BITRIX = ["bitrix24.queue"]


def failed(task: TaskMessage, **fields: Any) -> dict[str, Any]:
    return {"task_id": task.id, "response_type": "failure", "error_message": "no", **fields}


def failing(task: TaskMessage) -> Sequence[Reply]:
    return (failed(task),)


def all_answers_applied(sandbox: Sandbox, vhost: str) -> bool:
    return eventually(
        lambda: sandbox.broker.api.queue(vhost, ANSWERS) == QueueState(ANSWERS, ready=0, unacked=0), seconds=20
    )


def seconds_until(task: dict[str, Any]) -> float:
    end = datetime.fromisoformat(task["lockExpirationTime"])
    return (end - datetime.now(end.tzinfo)).total_seconds()


def test_failures_count_the_retries_down_to_an_incident(
    start_worker: StartWorker, engine_api: EngineApi, start_system: StartSystem
) -> None:
    start_worker(CAMUNDA_RETRY_TIMEOUT="0").wait_connected()
    system = start_system(BITRIX, failing)

    instance = engine_api.start_instance("bitrix24_task")

    assert eventually(lambda: len(engine_api.incidents("bitrix24_task")) == 1, seconds=40)
    assert [task.attempt for task in system.tasks] == ["first", "3", "2", "1"]
    assert [task.body["retries"] for task in system.tasks] == [None, 3, 2, 1]
    assert [task.body["error_message"] for task in system.tasks] == [None, "no", "no", "no"]
    assert task_of(engine_api, instance)["retries"] == 0
    assert engine_api.incidents("bitrix24_task")[0]["incidentMessage"] == "no"


@pytest.mark.usefixtures("worker")
def test_a_failure_may_say_its_own_retries_and_pause(engine_api: EngineApi, start_system: StartSystem) -> None:
    start_system(BITRIX, lambda task: [failed(task, retries=7, retry_timeout=120_000, error_details="all of it")])

    instance = engine_api.start_instance("bitrix24_task")
    task = wait_for_task(engine_api, instance, retries=7)

    assert task["errorMessage"] == "no"
    assert 60 < seconds_until(task) <= 120
    assert engine_api.incidents("bitrix24_task") == []


@pytest.mark.usefixtures("worker")
def test_a_failure_waits_out_its_pause_and_is_offered_again(
    engine_api: EngineApi, start_system: StartSystem
) -> None:
    def fails_first(task: TaskMessage) -> Sequence[Reply]:
        return completing(task) if task.attempt == "3" else [failed(task, retry_timeout=500)]

    system = start_system(BITRIX, fails_first)

    instance = engine_api.start_instance("bitrix24_task")
    wait_for_state(engine_api, instance)

    assert [task.properties.message_id for task in system.tasks] == [
        f"{system.tasks[0].id}:first",
        f"{system.tasks[0].id}:3",
    ]


@pytest.mark.usefixtures("worker")
def test_a_failure_that_comes_twice_counts_once(
    sandbox: Sandbox, vhost: str, engine_api: EngineApi, start_system: StartSystem, channel: BlockingChannel
) -> None:
    system = start_system(BITRIX, lambda task: [failed(task, attempt=task.attempt)])
    instance = engine_api.start_instance("bitrix24_task")
    wait_for_task(engine_api, instance, retries=3)

    for _ in range(3):
        answer(channel, failed(system.tasks[0], attempt="first"))

    assert all_answers_applied(sandbox, vhost)
    assert task_of(engine_api, instance)["retries"] == 3
    assert sandbox.broker.api.queue(vhost, ERRORS).ready == 0


@pytest.mark.usefixtures("worker")
def test_a_bpmn_error_goes_the_way_of_its_boundary_event(engine_api: EngineApi, start_system: StartSystem) -> None:
    said = {"response_type": "bpmn_error", "error_code": "CUSTOMER_BLOCKED", "error_message": "debts"}
    start_system(["1c.queue"], lambda task: [{"task_id": task.id, **said, "variables": {"debt": 7}}])

    instance = engine_api.start_instance("order_approval")
    wait_for_state(engine_api, instance)

    assert engine_api.end_events("order_approval") == {"refused": 1}
    assert engine_api.variables(instance) == {"debt": 7}


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize(("asked", "expected"), [({"lock_duration": 3_600_000}, 3600), ({}, 600)])
def test_a_heartbeat_moves_the_end_of_the_lock(
    engine_api: EngineApi, start_system: StartSystem, channel: BlockingChannel, asked: Any, expected: int
) -> None:
    system = start_system(BITRIX, silent)
    instance = engine_api.start_instance("bitrix24_task")
    (task,) = system.receive(1)
    before = task_of(engine_api, instance)["lockExpirationTime"]

    answer(channel, {"task_id": task.id, "response_type": "extend_lock", **asked})

    moved = eventually(lambda: task_of(engine_api, instance)["lockExpirationTime"] > before, seconds=20)
    assert moved
    assert expected - 30 < seconds_until(task_of(engine_api, instance)) <= expected


@pytest.mark.usefixtures("worker")
def test_a_heartbeat_for_a_finished_task_is_dropped(
    sandbox: Sandbox, vhost: str, engine_api: EngineApi, start_system: StartSystem, channel: BlockingChannel
) -> None:
    system = start_system(BITRIX, completing)
    wait_for_state(engine_api, engine_api.start_instance("bitrix24_task"))

    answer(channel, {"task_id": system.tasks[0].id, "response_type": "extend_lock"})

    assert all_answers_applied(sandbox, vhost)
    assert sandbox.broker.api.queue(vhost, ERRORS).ready == 0


@pytest.mark.usefixtures("worker")
def test_the_correlation_id_stands_in_for_a_missing_task_id(
    engine_api: EngineApi, start_system: StartSystem
) -> None:
    start_system(BITRIX, lambda _: [{"response_type": "complete", "variables": {"done": True}}])

    instance = engine_api.start_instance("bitrix24_task")
    wait_for_state(engine_api, instance)

    assert engine_api.variables(instance) == {"done": True}


@pytest.mark.usefixtures("worker")
def test_an_answer_may_come_through_the_default_exchange(
    engine_api: EngineApi, start_system: StartSystem, channel: BlockingChannel
) -> None:
    system = start_system(BITRIX, silent)
    instance = engine_api.start_instance("bitrix24_task")
    (task,) = system.receive(1)

    channel.basic_publish("", ANSWERS, json.dumps(complete(task)).encode())

    wait_for_state(engine_api, instance)


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize("worker_id", ["somebody-else", None])
def test_whatever_worker_id_an_answer_gives_the_task_is_completed_as_ours(
    engine_api: EngineApi, start_system: StartSystem, worker_id: str | None
) -> None:
    start_system(BITRIX, lambda task: [complete(task, worker_id=worker_id)])

    instance = engine_api.start_instance("bitrix24_task")

    wait_for_state(engine_api, instance)


def garbage(task_id: str) -> dict[str, bytes]:
    deep = b"[" * 5000 + b"]" * 5000
    known = b'{"task_id": "%s", "response_type": "complete", "variables": {"x": ' % task_id.encode()
    return {
        "empty": b"",
        "not JSON": b"complete task 7, please",
        "not an object": b'["complete"]',
        "not UTF-8": b'{"task_id": "\xff\xfe", "response_type": "complete"}',
        "an unknown type": b'{"task_id": "%s", "response_type": "explode"}' % task_id.encode(),
        "no type": b'{"task_id": "%s"}' % task_id.encode(),
        "no task": b'{"response_type": "complete"}',
        "a path": b'{"task_id": "../../deployment", "response_type": "complete"}',
        "an error without a code": b'{"task_id": "%s", "response_type": "bpmn_error"}' % task_id.encode(),
        "retries below zero": b'{"task_id": "%s", "response_type": "failure", "retries": -1}' % task_id.encode(),
        "all deep": deep,
        "a deep variable": known + deep + b"}}",
        "half a character": known + b'"\\ud800"}}',
    }


@pytest.mark.usefixtures("worker")
def test_garbage_is_set_aside_byte_for_byte_and_the_flow_goes_on(
    sandbox: Sandbox, vhost: str, engine_api: EngineApi, start_system: StartSystem, channel: BlockingChannel
) -> None:
    system = start_system(BITRIX, silent)
    instance = engine_api.start_instance("bitrix24_task")
    (task,) = system.receive(1)
    bad = garbage(task.id)

    for name, body in bad.items():
        answer(channel, body, headers={"sender": name}, expiration="60000")
    answer(channel, complete(task))

    wait_for_state(engine_api, instance)
    aside = take_all(channel, ERRORS, len(bad))
    assert {headers["sender"]: body for headers, body in aside} == bad
    assert {headers["sender"]: headers["x-error-reason"] for headers, _ in aside} == dict.fromkeys(bad, "invalid")
    assert all(headers["x-error-detail"] and headers["x-failed-at"] for headers, _ in aside)
    assert all_answers_applied(sandbox, vhost)


def test_an_answer_over_the_limit_is_cut_and_described(
    start_worker: StartWorker, channel: BlockingChannel
) -> None:
    start_worker(RABBITMQ_MAX_MESSAGE_BYTES="100000").wait_connected()
    body = b"0123456789" * 20_000

    answer(channel, body)

    ((headers, kept),) = take_all(channel, ERRORS, 1)
    assert kept == body[: 64 * 1024]
    assert headers["x-error-reason"] == "too_large"
    assert "200000" in headers["x-error-detail"]


def test_an_answer_over_the_limit_leaves_its_checksum(start_worker: StartWorker, channel: BlockingChannel) -> None:
    start_worker(RABBITMQ_MAX_MESSAGE_BYTES="100000").wait_connected()

    answer(channel, b"0123456789" * 20_000)

    ((headers, _),) = take_all(channel, ERRORS, 1)
    assert headers["x-size"] == 200_000
    assert headers["x-sha256"] == sha256(b"0123456789" * 20_000).hexdigest()


@pytest.mark.usefixtures("worker")
def test_an_answer_whose_headers_fill_a_frame_does_not_hold_up_the_others(
    sandbox: Sandbox, vhost: str, channel: BlockingChannel
) -> None:
    fat = {f"h{n}": "x" * 1000 for n in range(129)}

    for _ in range(10):  # more than there are threads to apply answers
        answer(channel, b"fat", headers=fat)
    answer(channel, b"thin")

    aside = take_all(channel, ERRORS, 11)
    assert sorted(body for _, body in aside) == [*[b"fat"] * 10, b"thin"]
    assert all_answers_applied(sandbox, vhost)


@pytest.mark.usefixtures("worker")
def test_an_answer_for_a_finished_task_is_acknowledged_and_not_an_error(
    sandbox: Sandbox, vhost: str, engine_api: EngineApi, start_system: StartSystem, channel: BlockingChannel
) -> None:
    system = start_system(BITRIX, completing)
    wait_for_state(engine_api, engine_api.start_instance("bitrix24_task"))

    answer(channel, complete(system.tasks[0]))
    answer(channel, failed(system.tasks[0]))
    answer(channel, {"task_id": "aaaaaaaa-0000-0000-0000-000000000000", "response_type": "complete"})

    assert all_answers_applied(sandbox, vhost)
    assert sandbox.broker.api.queue(vhost, ERRORS).ready == 0


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize(
    ("variable", "words"),
    [
        ({"value": "x", "type": "Foo"}, "Unsupported value type 'Foo'"),
        ({"value": "x", "type": "Integer"}, "Cannot convert value"),
        pytest.param(
            {"value": "x" * 5000, "type": "String"},
            "",
            marks=pytest.mark.skipif(not choice.TELLS_WHY, reason="this engine does not tell what it fails at"),
        ),
    ],
)
def test_an_answer_that_the_engine_rejects_is_set_aside_and_its_task_has_an_incident(
    engine_api: EngineApi, start_system: StartSystem, channel: BlockingChannel, variable: Any, words: str
) -> None:
    start_system(BITRIX, lambda task: [complete(task, variables={"v": variable})])

    instance = engine_api.start_instance("bitrix24_task")
    ((headers, body),) = take_all(channel, ERRORS, 1)

    assert headers["x-error-reason"] == "rejected_by_engine"
    assert words in headers["x-error-detail"]
    assert json.loads(body)["variables"]["v"] == variable
    (incident,) = engine_api.incidents("bitrix24_task")
    assert words in incident["incidentMessage"]
    assert task_of(engine_api, instance)["retries"] == 0


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize("value", [b"NaN", b"9223372036854775808"])
def test_a_value_that_no_type_holds_is_set_aside_and_its_task_is_told_why(
    engine_api: EngineApi, start_system: StartSystem, channel: BlockingChannel, value: bytes
) -> None:
    said = b'{"response_type": "complete", "variables": {"x": %s}}' % value
    start_system(BITRIX, lambda _: [said])

    instance = engine_api.start_instance("bitrix24_task")
    ((headers, body),) = take_all(channel, ERRORS, 1)

    assert body == said
    assert "'x'" in headers["x-error-detail"]
    task = task_of(engine_api, instance)
    assert (task["retries"], "'x'" in task["errorMessage"]) == (3, True)


@pytest.mark.usefixtures("worker")
def test_what_is_set_aside_names_its_task(
    engine_api: EngineApi, start_system: StartSystem, channel: BlockingChannel
) -> None:
    start_system(BITRIX, lambda task: [complete(task, variables={"v": {"value": 1, "type": "Foo"}})])

    instance = engine_api.start_instance("bitrix24_task")
    ((headers, _),) = take_all(channel, ERRORS, 1)

    assert headers["x-task-id"] == task_of(engine_api, instance)["id"]


@pytest.mark.usefixtures("worker")
def test_two_answers_of_one_instance_at_once_are_both_taken(
    engine_api: EngineApi, start_system: StartSystem
) -> None:
    start_system(["bitrix24.queue", "1c.queue"], completing)

    instances = [engine_api.start_instance("customer_onboarding") for _ in range(20)]

    for instance in instances:
        wait_for_state(engine_api, instance)
    assert stored_variables(engine_api, instances[0]) == {}
