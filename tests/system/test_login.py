"""The engine wants a login: the right one works, a wrong one never locks the account."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.engine import Engine
from sandbox.engine_api import EngineApi
from sandbox.errors import SandboxError
from sandbox.runs import Run
from sandbox.sandbox import PROCESS_FILES, Sandbox
from tests.counted_engine import CountedEngine, passing_on
from tests.sandbox.processes import eventually
from tests.system.conftest import StartSystem, StartWorker
from tests.system.engine import wait_for_state
from tests.system.partner import completing
from tests.system.tools import Tools

USER = "careless"
RIGHT = "the-right-password"
WRONG = "a-wrong-password"
THROTTLED_SECONDS = 4.0  # after one wrong password the engine refuses even the right one for 3 s


@pytest.fixture(scope="module")
def guarded_engine() -> Iterator[Engine]:
    """A second engine, which asks for a login; it knows a user of ours beside its own."""
    with Run() as run, Engine(run, auth=True) as engine:
        person = {"id": USER, "firstName": "-", "lastName": "-", "email": "-"}
        user = {"profile": person, "credentials": {"password": RIGHT}}
        as_admin(engine).request("POST", "/user/create", json=user)
        as_admin(engine).deploy(PROCESS_FILES)
        yield engine


@pytest.fixture
def counted_engine(guarded_engine: Engine) -> Iterator[CountedEngine]:
    with passing_on(guarded_engine) as server:
        yield server


def as_admin(engine: Engine) -> EngineApi:
    return EngineApi(engine.url, login=(engine.username, engine.password))


def login_works(engine: Engine) -> bool:
    try:
        EngineApi(engine.url, login=(USER, RIGHT)).request("GET", "/external-task/count")
    except SandboxError:
        return False
    return True


def test_the_right_login_works(
    start_worker: StartWorker, start_system: StartSystem, guarded_engine: Engine
) -> None:
    start_worker(
        CAMUNDA_BASE_URL=guarded_engine.url, CAMUNDA_AUTH_USERNAME=USER, CAMUNDA_AUTH_PASSWORD=RIGHT
    ).wait_connected()
    start_system(["bitrix24.queue"], completing)

    instance = as_admin(guarded_engine).start_instance("bitrix24_task")

    wait_for_state(as_admin(guarded_engine), instance)


def test_an_engine_that_wants_a_login_is_told_with_the_settings(
    start_worker: StartWorker, guarded_engine: Engine
) -> None:
    worker = start_worker(CAMUNDA_BASE_URL=guarded_engine.url)

    worker.wait_for("CAMUNDA_AUTH_USERNAME", "CAMUNDA_AUTH_PASSWORD")
    assert worker.stop()[0] == 0


def test_a_wrong_password_is_tried_seldom_and_does_not_lock_the_account(
    start_worker: StartWorker, guarded_engine: Engine, counted_engine: CountedEngine
) -> None:
    worker = start_worker(
        CAMUNDA_BASE_URL=counted_engine.url, CAMUNDA_AUTH_USERNAME=USER, CAMUNDA_AUTH_PASSWORD=WRONG
    )

    assert eventually(lambda: len(counted_engine.refused_at) >= 2, seconds=60)
    code, seconds = worker.stop()

    first, *others = counted_engine.refused_at
    assert [moment - first >= 19 for moment in others] == [True]  # the third comes after a minute, and is the last
    assert (code, seconds < 10) == (0, True)
    assert worker.lines("CAMUNDA_AUTH_USERNAME", USER)
    assert WRONG not in worker.output
    assert "Traceback" not in worker.output
    assert eventually(lambda: login_works(guarded_engine), seconds=40)


def test_a_corrected_password_file_is_used_without_a_restart(
    start_worker: StartWorker, start_system: StartSystem, guarded_engine: Engine, tmp_path: Path
) -> None:
    file = tmp_path / "password"
    file.write_text(WRONG, encoding="utf-8")
    worker = start_worker(
        CAMUNDA_BASE_URL=guarded_engine.url, CAMUNDA_AUTH_USERNAME=USER, CAMUNDA_AUTH_PASSWORD_FILE=str(file)
    )
    worker.wait_for("CAMUNDA_AUTH_USERNAME", USER)
    start_system(["bitrix24.queue"], completing)
    instance = as_admin(guarded_engine).start_instance("bitrix24_task")

    time.sleep(THROTTLED_SECONDS)
    file.write_text(RIGHT, encoding="utf-8")

    wait_for_state(as_admin(guarded_engine), instance)


def test_the_diagnostics_name_a_wrong_password_and_ask_only_once(
    sandbox: Sandbox, vhost: str, counted_engine: CountedEngine
) -> None:
    wrong = {"CAMUNDA_AUTH_USERNAME": USER, "CAMUNDA_AUTH_PASSWORD": WRONG}
    tools = Tools({**sandbox.environment(vhost), "CAMUNDA_BASE_URL": counted_engine.url, **wrong})

    done = tools.run("worker_diagnostics", "--json")

    (problem,) = (row for row in done.rows if row["level"] == "problem")
    assert (done.code, problem["check"]) == (1, "engine: login and version")
    assert "check CAMUNDA_AUTH_USERNAME and CAMUNDA_AUTH_PASSWORD" in problem["saw"]
    assert WRONG not in done.out + done.err
    assert len(counted_engine.refused_at) == 1
