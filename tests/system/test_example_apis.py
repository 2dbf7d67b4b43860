"""The examples that call a system over HTTP, each against a stand-in that checks what it is asked."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from sandbox.engine_api import EngineApi
from tests.sandbox.processes import eventually
from tests.system.conftest import Deploy, StartExample, StartWorker
from tests.system.engine import process_file, wait_for_state
from tests.system.remote_api import Api, Bitrix24, OneC, OpenProject, RemoteApi, name_of, remote_api

TASK_COUNT = 100
SECONDS = 300.0
# What a killed worker had in hand comes again after that lock, and what failed after that pause.
QUICK_LOCK = {"CAMUNDA_LOCK_DURATION": "15000", "CAMUNDA_RETRY_TIMEOUT": "1000"}

CAUGHT = """<?xml version="1.0" encoding="UTF-8"?>
<definitions xmlns="http://www.omg.org/spec/BPMN/20100524/MODEL"
             xmlns:camunda="http://camunda.org/schema/1.0/bpmn" targetNamespace="tests">
  <process id="caught" isExecutable="true" camunda:historyTimeToLive="P1D">
    <startEvent id="start" /><sequenceFlow id="in" sourceRef="start" targetRef="task" />
    <serviceTask id="task" camunda:type="external" camunda:topic="op_create_project" />
    <sequenceFlow id="out" sourceRef="task" targetRef="done" /><endEvent id="done" />
    <boundaryEvent id="invalid" attachedToRef="task"><errorEventDefinition errorRef="error" /></boundaryEvent>
    <sequenceFlow id="no" sourceRef="invalid" targetRef="refused" /><endEvent id="refused" />
  </process>
  <error id="error" errorCode="OPENPROJECT_INVALID" />
</definitions>
"""

StartApi = Callable[[Api], RemoteApi]


@pytest.fixture
def start_api() -> Iterator[StartApi]:
    with ExitStack() as servers:
        yield lambda api: servers.enter_context(remote_api(api))


def settings_of(example: str, url: str) -> dict[str, str]:
    """Returns what each README asks for, as the stand-in knows it."""
    user, password = OneC.LOGIN.split(":")
    return {
        "bitrix24": {"BITRIX24_WEBHOOK": f"{url}{Bitrix24.WEBHOOK}/"},
        "openproject": {"OPENPROJECT_URL": url, "OPENPROJECT_API_KEY": "key"},
        "one_c": {"ONE_C_URL": f"{url}/base", "ONE_C_USERNAME": user, "ONE_C_PASSWORD": password},
    }[example]


@pytest.mark.usefixtures("samples")
@pytest.mark.parametrize(
    ("example", "api", "key", "variable"),
    [
        ("bitrix24", Bitrix24(), "bitrix24_task", "title"),
        ("openproject", OpenProject(), "openproject_project", "project_identifier"),
        ("one_c", OneC(), "one_c_sync", "code"),
    ],
)
def test_a_hundred_tasks_are_done_once_each_though_the_worker_is_killed_half_way(
    engine_api: EngineApi,
    start_worker: StartWorker,
    start_example: StartExample,
    start_api: StartApi,
    example: str,
    api: Api,
    key: str,
    variable: str,
) -> None:
    names = [f"o'task-{number:03}" for number in range(TASK_COUNT)]
    worker = start_worker(**QUICK_LOCK).wait_connected()
    start_example(example, settings_of(example, start_api(api).url))
    for name in names:
        engine_api.start_instance(key, {variable: name, "project_name": name, "name": name})
    assert eventually(lambda: len(api.made()) >= TASK_COUNT // 2, seconds=SECONDS)

    worker.kill()
    start_worker(**QUICK_LOCK)

    assert eventually(lambda: engine_api.finished_count(key) == TASK_COUNT, seconds=SECONDS), api.made()
    assert sorted(api.made()) == names
    assert engine_api.incidents() == []


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize(
    ("example", "api", "topic", "variable"),
    [
        ("bitrix24", Bitrix24(), "bitrix_create_task", "title"),
        ("openproject", OpenProject(), "op_create_project", "project_identifier"),
        ("openproject", OpenProject(), "op_create_work_package", "subject"),
        ("one_c", OneC(), "1c_sync_data", "code"),
    ],
)
def test_a_system_that_is_killed_before_it_knows_what_it_made_makes_no_second_one(
    engine_api: EngineApi,
    start_example: StartExample,
    start_api: StartApi,
    deploy: Deploy,
    tmp_path: Path,
    example: str,
    api: Api,
    topic: str,
    variable: str,
) -> None:
    names = [f"task-{number:03}x" for number in range(TASK_COUNT)]
    if topic == "op_create_work_package":
        assert isinstance(api, OpenProject)
        api.projects.append({"id": 1, "name": "Bridge", "identifier": "bridge"})
    before = api.made()
    deploy(process_file(tmp_path, "killed", topic))
    server = start_api(api)
    server.withhold_reply_to(TASK_COUNT // 2)
    first = start_example(example, settings_of(example, server.url))
    for name in names:
        engine_api.start_instance("killed", {"project_name": name, "name": name, "project_id": 1, variable: name})
    assert server.withheld.wait(SECONDS), first.output

    first.kill()
    server.go_on.set()
    second = start_example(example, settings_of(example, server.url))

    assert eventually(lambda: engine_api.finished_count("killed") == TASK_COUNT, seconds=SECONDS), second.output
    assert sorted(api.made()[len(before) :]) == names
    assert engine_api.end_events("killed") == {"done": TASK_COUNT}
    assert engine_api.incidents() == []


@pytest.mark.usefixtures("worker", "samples")
def test_what_bitrix24_says_about_a_new_task_reaches_the_process(
    engine_api: EngineApi, start_example: StartExample, start_api: StartApi
) -> None:
    server = start_api(Bitrix24())
    start_example("bitrix24", settings_of("bitrix24", server.url))

    done = engine_api.start_instance("bitrix24_task", {"title": "Позвонить", "responsible_id": 7})
    wait_for_state(engine_api, done)
    refused = engine_api.start_instance("bitrix24_task", {"title": ""})

    assert engine_api.variables(done)["bitrix_id"] == 1
    [task] = [body["fields"] for body in server.bodies(200) if "fields" in body]
    assert (name_of(task["TITLE"]), task["RESPONSIBLE_ID"], task["DESCRIPTION"]) == ("Позвонить", 7, "")
    assert "400 ERROR_CORE Не указано название задачи." in incident_of(engine_api, refused)


def incident_of(engine_api: EngineApi, instance: str) -> str:
    """Waits until the task of an instance has no retries left; returns why."""

    def incidents() -> list[str]:
        rows = engine_api.incidents()
        return [row["incidentMessage"] for row in rows if row["processInstanceId"] == instance]

    assert eventually(lambda: bool(incidents()), seconds=SECONDS)
    return incidents()[0]


@pytest.mark.usefixtures("worker", "samples")
def test_a_wrong_login_is_an_incident_that_says_so(
    engine_api: EngineApi, start_example: StartExample, start_api: StartApi
) -> None:
    wrong = {"OPENPROJECT_API_KEY": "wrong"}
    start_example("openproject", settings_of("openproject", start_api(OpenProject()).url) | wrong)

    instance = engine_api.start_instance("openproject_project", {"project_name": "Bridge"})

    assert "OpenProject answers 401 You need to be authenticated" in incident_of(engine_api, instance)


@pytest.mark.usefixtures("worker", "samples")
def test_a_project_and_its_work_package_are_made_and_a_second_one_of_its_name_is_refused(
    engine_api: EngineApi, start_example: StartExample, start_api: StartApi, deploy: Deploy, tmp_path: Path
) -> None:
    (tmp_path / "caught.bpmn").write_text(CAUGHT, encoding="utf-8")
    deploy(process_file(tmp_path, "work_package", "op_create_work_package"), tmp_path / "caught.bpmn")
    server = start_api(OpenProject())
    start_example("openproject", settings_of("openproject", server.url))
    wanted = {"project_name": "Мост", "project_identifier": "bridge"}

    project = engine_api.start_instance("openproject_project", wanted)
    wait_for_state(engine_api, project)
    number = engine_api.variables(project)["project_id"]
    package = engine_api.start_instance("work_package", {"project_id": number, "subject": "Plan"})
    wait_for_state(engine_api, package)
    second = engine_api.start_instance("caught", wanted)
    wait_for_state(engine_api, second)

    made = [{name: value for name, value in body.items() if name != "description"} for body in server.bodies(201)]
    assert made == [
        {"name": "Мост", "identifier": "bridge"},
        {"subject": "Plan", "_links": {"type": {"href": "/api/v3/types/1"}}},
    ]
    assert engine_api.variables(package)["work_package_id"] == 1
    assert engine_api.ends_by_instance()[second] == ["refused"]


@pytest.mark.usefixtures("worker", "samples")
def test_a_counterparty_that_1c_has_already_is_not_made_again(
    engine_api: EngineApi, start_example: StartExample, start_api: StartApi
) -> None:
    server = start_api(OneC())
    start_example("one_c", settings_of("one_c", server.url))

    first, second = (
        engine_api.start_instance("one_c_sync", {"code": "ООО'1", "name": "Ромашка"}) for _ in range(2)
    )
    wait_for_state(engine_api, first)
    wait_for_state(engine_api, second)

    assert server.bodies(201) == [{"Code": "ООО'1", "Description": "Ромашка"}]
    made = sorted(engine_api.variables(instance)["created"] for instance in (first, second))
    assert made == [False, True]
