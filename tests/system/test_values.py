"""Tables of values in both directions: what the documentation says of each is what the engine does."""

import gzip
import json
import re
import zlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pika.adapters.blocking_connection import BlockingChannel

from sandbox import choice
from sandbox.engine_api import EngineApi
from sandbox.sandbox import Sandbox
from tests.system.conftest import Deploy, StartSystem, StartWorker
from tests.system.engine import start_typed, stored_variables, task_of, wait_for_state, wait_for_task
from tests.system.partner import ERRORS, Reply, TaskMessage, answer, complete, silent, take_all
from tests.system.test_answers import all_answers_applied, seconds_until
from tests.system.worker_process import WorkerProcess

PAGE = Path(__file__).resolve().parents[2] / "docs" / "partners.md"
BITRIX = ["bitrix24.queue"]
EMOJI = "😀"
REFUSED = "refused: "
LATE = {"error_code": "LATE", "error_message": "late", "lock_duration": 86_400_000}

Pack = Callable[[bytes], bytes]

_LISTS = """<?xml version="1.0" encoding="UTF-8"?>
<definitions xmlns="http://www.omg.org/spec/BPMN/20100524/MODEL"
             xmlns:camunda="http://camunda.org/schema/1.0/bpmn" targetNamespace="tests">
  <process id="lists" isExecutable="true" camunda:historyTimeToLive="P1D">
    <startEvent id="start" /><sequenceFlow id="in" sourceRef="start" targetRef="task" />
    <serviceTask id="task" camunda:type="external" camunda:topic="bitrix_lists">
      <extensionElements><camunda:inputOutput>
        <camunda:inputParameter name="list"><camunda:list>
          <camunda:value>a</camunda:value><camunda:value>${1 + 1}</camunda:value>
        </camunda:list></camunda:inputParameter>
        <camunda:inputParameter name="map"><camunda:map>
          <camunda:entry key="k">v</camunda:entry><camunda:entry key="list">${order}</camunda:entry>
        </camunda:map></camunda:inputParameter>
        MORE
      </camunda:inputOutput></extensionElements>
    </serviceTask>
    <sequenceFlow id="out" sourceRef="task" targetRef="done" /><endEvent id="done" />
  </process>
</definitions>
"""


def rows(name: str) -> list[tuple[Any, str]]:
    """Reads a table of the page: the first column as JSON, the second as it stands."""
    text = PAGE.read_text(encoding="utf-8").partition(f"<!-- {name} -->")[2].partition(f"<!-- /{name} -->")[0]
    found = re.findall(r"^\| `(.+?)` \| (.+) \|$", text, re.MULTILINE)
    assert len(found) > 10
    return [
        (json.loads(value), result) for value, result in found if choice.HAS_JSON or "Json" not in value + result
    ]


def beyond_the_page() -> list[tuple[Any, str]]:
    """What is too long to be shown, or depends on the database."""
    too_many = "(String, 4002 UTF-16 units): a String holds at most 4000"
    nul = "it has a NUL character"
    on_postgres = choice.HAS_POSTGRES
    file = {"type": "File", "value": "YWJj", "valueInfo": {"filename": "a\0"}}
    return [
        ("x" * 4000, f'`String` `"{"x" * 4000}"`'),
        (EMOJI * 2000, f'`String` `"{EMOJI * 2000}"`'),
        ("x" * 4001, REFUSED + "(String, 4001 UTF-16 units): a String holds at most 4000"),
        (EMOJI * 2001, f'`String` `"{EMOJI * 2001}"`' if on_postgres else REFUSED + too_many),
        ("a\0b", REFUSED + nul if on_postgres else r'`String` `"a\u0000b"`'),
        (file, REFUSED + nul if on_postgres else "`File` `null`"),
        *([({"lines": "x" * 5000}, f'`Json` `"{{\\"lines\\":\\"{"x" * 5000}\\"}}"`')] if choice.HAS_JSON else []),
    ]  # fmt: skip


def long_name(length: int) -> tuple[str, int, str]:
    return "x" * length, 1, REFUSED + f"its name has {length} UTF-16 units, and engines keep 255"


def stored(engine_api: EngineApi, instance: str) -> str:
    """Returns what the engine has of a variable as the page writes it."""
    found = [row for row in stored_variables(engine_api, instance).values() if row["name"].startswith("x")]
    if not found:
        return "nothing"
    return f"`{found[0]['type']}` `{json.dumps(found[0]['value'], ensure_ascii=False)}`"


@pytest.mark.usefixtures("samples", "worker")
def test_a_variable_of_an_answer_becomes_what_the_page_says_or_is_refused_at_once_by_its_name(
    engine_api: EngineApi, start_system: StartSystem, channel: BlockingChannel
) -> None:
    cases = [("x", value, result) for value, result in (*rows("answers"), *beyond_the_page())]
    cases += [("x" * 255, 1, "`Integer` `1`"), long_name(256), long_name(300)]
    said_at: dict[str, datetime] = {}

    def work(task: TaskMessage) -> Sequence[Reply]:
        name, value, _ = cases[int(task.body["business_key"])]
        said_at[task.id] = datetime.now(UTC)
        return [complete(task, variables={name: value})]

    system = start_system(BITRIX, work)
    instances = [
        engine_api.start_instance("bitrix24_task", business_key=str(number)) for number in range(len(cases))
    ]
    refusals = [number for number, case in enumerate(cases) if case[2].startswith(REFUSED)]
    aside = {headers["x-task-id"]: headers for headers, _ in take_all(channel, ERRORS, len(refusals))}

    case_of = {task.id: int(task.body["business_key"]) for task in system.tasks if task.id in aside}
    assert sorted(case_of.values()) == refusals
    seconds = []
    for task_id, headers in aside.items():
        name, value, result = cases[case_of[task_id]]
        assert f"variable {name!r:.80} (" in headers["x-error-detail"], (value, headers)
        assert result.removeprefix(REFUSED) in headers["x-error-detail"], (value, headers)
        assert headers["x-attempts"] == 0
        row = task_of(engine_api, instances[case_of[task_id]])
        assert row["retries"] in (0, 3), value
        assert "variable 'x" in row["errorMessage"] or len(headers["x-error-detail"]) > 600, row
        seconds.append((datetime.fromisoformat(headers["x-failed-at"]) - said_at[task_id]).total_seconds())
    assert sorted(seconds)[len(seconds) // 2] < 1.0, seconds
    for number, instance in enumerate(instances):
        if number not in refusals:
            wait_for_state(engine_api, instance)
            assert stored(engine_api, instance) == cases[number][2], cases[number]


@pytest.mark.usefixtures("samples", "worker")
def test_a_variable_of_the_process_stands_in_the_message_as_the_page_says(
    engine_api: EngineApi, start_system: StartSystem
) -> None:
    cases = rows("tasks")
    system = start_system(BITRIX, silent)

    start_typed(engine_api, "bitrix24_task", {f"x{number}": value for number, (value, _) in enumerate(cases)})
    (task,) = system.receive(1)

    told = [task.variables[f"x{number}"] for number in range(len(cases))]
    assert [f"`{json.dumps(one['value'], ensure_ascii=False)}`" for one in told] == [result for _, result in cases]
    assert [one["type"] for one in told] == [value["type"] for value, _ in cases]


@pytest.mark.usefixtures("worker")
def test_lists_and_maps_of_the_model_are_told_as_json(
    engine_api: EngineApi, start_system: StartSystem, deploy: Deploy, tmp_path: Path
) -> None:
    shown = re.search(r"<camunda:inputParameter name=\"recipients\">.*", PAGE.read_text(encoding="utf-8"))
    assert shown is not None
    file = tmp_path / "lists.bpmn"
    file.write_text(_LISTS.replace("MORE", shown[0] if choice.HAS_JSON else ""), encoding="utf-8")
    deploy(file)
    system = start_system(BITRIX, lambda task: [complete(task)])
    foreign = {"objectTypeName": "com.example.Missing", "serializationDataFormat": "application/json"}

    instance = start_typed(
        engine_api,
        "lists",
        {
            "order": {"type": "Integer", "value": 7},
            "unreadable": {"type": "Object", "value": "{}", "valueInfo": foreign},
        },
    )
    (task,) = system.receive(1)

    assert task.body["metadata"]["object_values"] == {"list": ["a", 2], "map": {"k": "v", "list": 7}}
    assert task.variables["list"]["type"] == task.variables["map"]["type"] == "Object"
    if choice.HAS_JSON:
        assert task.variables["recipients"]["type"] == "Json"
        assert json.loads(task.variables["recipients"]["value"]) == ["a@example.com", "b@example.com"]
    wait_for_state(engine_api, instance)


@pytest.mark.usefixtures("samples", "worker")
@pytest.mark.skipif(choice.ENGINE == "camunda-7.14", reason="this engine drops them, see the next test")
def test_the_variables_of_a_failure_are_there_at_the_next_attempt(
    engine_api: EngineApi, start_system: StartSystem
) -> None:
    noted = {"variables": {"page": 7}, "local_variables": {"seen": {"type": "Date", "value": "2026-05-17T09:02Z"}}}

    def work(task: TaskMessage) -> Sequence[Reply]:
        said = {"task_id": task.id, "response_type": "failure", "retry_timeout": 0, **noted}
        return [complete(task)] if task.attempt != "first" else [said]

    system = start_system(BITRIX, work)
    wait_for_state(engine_api, engine_api.start_instance("bitrix24_task"))

    again = system.tasks[1].variables
    assert again["page"]["value"] == 7
    assert again["seen"]["value"] == "2026-05-17T09:02:00.000+0000"


@pytest.mark.usefixtures("samples")
def test_what_an_answer_carries_in_vain_is_one_line_in_the_log(
    engine_api: EngineApi, start_system: StartSystem, worker: WorkerProcess, channel: BlockingChannel
) -> None:
    system = start_system(BITRIX, silent)
    instances = [engine_api.start_instance("bitrix24_task") for _ in range(3)]

    for task in system.receive(3):
        answer(channel, {"task_id": task.id, "response_type": "extend_lock", "variables": {"x": 1}})
        answer(channel, {"task_id": task.id, "response_type": "failure", "retries": 5, "variables": {"x": 1}})

    for instance in instances:
        wait_for_task(engine_api, instance, retries=5)
    assert len(worker.lines("WARNING", "answers of bitrix24 have variables with extend_lock")) == 1
    dropped = worker.lines("WARNING", "the engine is older than 7.15: variables of a failure are left out")
    assert len(dropped) == (choice.ENGINE == "camunda-7.14")


@pytest.mark.usefixtures("samples", "worker")
@pytest.mark.parametrize("late", ["complete", "bpmn_error", "failure", "extend_lock"])
def test_an_answer_of_an_earlier_attempt_changes_nothing(
    sandbox: Sandbox,
    vhost: str,
    engine_api: EngineApi,
    start_system: StartSystem,
    channel: BlockingChannel,
    late: str,
) -> None:
    system = start_system(BITRIX, silent)
    instance = engine_api.start_instance("bitrix24_task")
    (task,) = system.receive(1)
    answer(channel, {"task_id": task.id, "response_type": "failure", "attempt": "first", "retry_timeout": 0})
    (_, again) = system.receive(2)
    before = wait_for_task(engine_api, instance, retries=3)

    answer(channel, {"task_id": task.id, "response_type": late, "attempt": "first", **LATE})
    assert all_answers_applied(sandbox, vhost)

    now = task_of(engine_api, instance)
    assert (now["retries"], now["errorMessage"]) == (3, before["errorMessage"])
    assert seconds_until(now) < 700
    answer(channel, complete(again, attempt=again.attempt))
    wait_for_state(engine_api, instance)


@pytest.mark.usefixtures("samples")
@pytest.mark.skipif(not choice.HAS_JSON, reason="this engine has no Json")
def test_long_bare_texts_become_json_where_the_routing_says_so(
    start_worker: StartWorker, engine_api: EngineApi, start_system: StartSystem, tmp_path: Path
) -> None:
    routing = tmp_path / "routing.toml"
    routing.write_text('[systems.bitrix24]\npatterns = ["bitrix_*"]\nlong_text = "json"\n', encoding="utf-8")
    start_worker(ROUTING_FILE=str(routing)).wait_connected()
    text = 'Перезвонить "сегодня"\n' * 400
    start_system(BITRIX, lambda task: [complete(task, variables={"long": text, "short": "x" * 4000})])

    instance = engine_api.start_instance("bitrix24_task")
    wait_for_state(engine_api, instance)

    found = stored_variables(engine_api, instance)
    assert (found["long"]["type"], json.loads(found["long"]["value"])) == ("Json", text)
    assert found["short"]["type"] == "String"


def raw_deflate(content: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(content) + packer.flush()


@pytest.mark.usefixtures("samples", "worker")
def test_packed_answers_are_taken_and_unreadable_ones_fail_their_task_with_the_reason(
    engine_api: EngineApi, start_system: StartSystem, channel: BlockingChannel
) -> None:
    system = start_system(BITRIX, silent)
    good: dict[str, tuple[str | None, Pack]] = {
        "gzip": ("gzip", gzip.compress),
        "deflate": ("deflate", zlib.compress),
        "raw": ("deflate", raw_deflate),
        "mark": (None, lambda body: b"\xef\xbb\xbf" + body),
    }
    bad: dict[str, tuple[str | None, Pack, str]] = {
        "a bomb": ("gzip", lambda body: gzip.compress(body + b" " * 50_000_000), "more than 1048576 bytes"),
        "cut off": ("gzip", lambda body: gzip.compress(body)[:-5], "cut off"),
        "UTF-16": (None, lambda body: body.decode().encode("utf-16"), "UTF-16"),
        "cp1251": (None, lambda body: body.decode().encode("cp1251"), "windows-1251"),
    }
    instances = {name: engine_api.start_instance("bitrix24_task", business_key=name) for name in (*good, *bad)}
    tasks = {task.body["business_key"]: task for task in system.receive(len(instances))}
    sent = {}

    for name, (encoding, pack) in {**good, **{name: told[:2] for name, told in bad.items()}}.items():
        document = complete(tasks[name], variables={"имя": "Анна"})
        sent[name] = pack(json.dumps(document, ensure_ascii=False).encode())
        answer(channel, sent[name], content_encoding=encoding, correlation_id=tasks[name].id)

    for name in good:
        wait_for_state(engine_api, instances[name])
        assert engine_api.variables(instances[name]) == {"имя": "Анна"}
    for name, (_, _, reason) in bad.items():
        row = wait_for_task(engine_api, instances[name], retries=3)
        assert reason in row["errorMessage"]
    aside = {headers["x-task-id"]: body for headers, body in take_all(channel, ERRORS, len(bad))}
    assert {name: aside[tasks[name].id] for name in bad} == {name: sent[name] for name in bad}
