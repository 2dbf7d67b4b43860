"""The diagnostics in the states in which they are needed: all well, a server down, something forgotten."""

from pathlib import Path
from typing import Any

import pytest
from pika.adapters.blocking_connection import BlockingChannel

from sandbox import choice
from sandbox.engine_api import EngineApi
from sandbox.sandbox import Sandbox
from tests.conftest import MemoryAlarm
from tests.system.conftest import StartSystem, StartWorker
from tests.system.engine import wait_for_task
from tests.system.partner import completing
from tests.system.tools import Done, Tools

SECRET = "a-secret-nobody-may-read"
QUEUES = ["bitrix24.queue", "openproject.queue", "1c.queue", "python-services.queue", "default.queue"]


@pytest.fixture
def tools(sandbox: Sandbox, vhost: str) -> Tools:
    return Tools(sandbox.environment(vhost))


@pytest.fixture
def topology(start_worker: StartWorker) -> None:
    """The queues of a worker that ran and was stopped."""
    start_worker().wait_connected().stop()


def levels(done: Done) -> dict[str, str]:
    return {row["check"]: row["level"] for row in done.rows}


def finding(done: Done, check: str) -> dict[str, Any]:
    (row,) = (row for row in done.rows if row["check"] == check)
    return row


@pytest.mark.usefixtures("worker", "samples")
def test_all_is_well_with_a_worker_and_its_systems(tools: Tools, start_system: StartSystem) -> None:
    start_system(QUEUES, completing)

    done = tools.run("worker_diagnostics", "--json")

    assert done.code == 0, done.out
    unusual = {check: level for check, level in levels(done).items() if level != "ok"}
    usual = {"topics: routing": "warning", "engine: uncaught BPMN errors": "note"}
    lacking = {"engine: login and version": "note"} if choice.IS_OLD else {}
    lacking |= {} if choice.HAS_JSON else {"engine: Spin plugin": "note"}
    assert unusual == usual | lacking
    assert "back in" in finding(done, "broker: canary")["saw"]
    assert "legacy_archive" in finding(done, "topics: routing")["saw"]
    assert (
        "send_email -> python-services.queue (email, project_launch)"
        in finding(done, "topics: routing")["details"]
    )


def test_a_fresh_installation_has_no_problem_and_is_told_to_start_the_worker(tools: Tools) -> None:
    done = tools.run("worker_diagnostics")

    assert done.code == 0, done.out
    assert "start the worker: it declares them" in done.words
    assert "confirmed and back in" in done.words


def test_it_runs_from_another_folder(tools: Tools, tmp_path: Path) -> None:
    """Also with a routing file that is named as a worker beside the code would find it."""
    routed = tools.but(ROUTING_FILE="routing.example.toml")

    assert routed.run("worker_diagnostics", folder=tmp_path).code == 0


def test_an_engine_that_is_down_is_one_problem_and_the_broker_is_still_checked(
    tools: Tools, unused_port: int
) -> None:
    url = f"http://127.0.0.1:{unused_port}/engine-rest"

    done = tools.but(CAMUNDA_BASE_URL=url).run("worker_diagnostics", "--json")

    assert done.code == 1
    assert [check for check, level in levels(done).items() if level == "problem"] == ["engine: reachable"]
    problem = finding(done, "engine: reachable")
    assert url in problem["tried"]
    assert "CAMUNDA_BASE_URL" in problem["saw"]
    assert "start the engine or correct CAMUNDA_BASE_URL" in problem["remedy"]
    assert levels(done)["tasks: without a message"] == "skipped"
    assert levels(done)["broker: canary"] == "ok"


def test_a_broker_that_is_down_is_one_problem_and_the_engine_is_still_checked(
    tools: Tools, unused_port: int
) -> None:
    done = tools.but(RABBITMQ_PORT=str(unused_port)).run("worker_diagnostics", "--json")

    assert done.code == 1
    assert [check for check, level in levels(done).items() if level == "problem"] == ["broker: reachable"]
    assert "RABBITMQ_HOST, RABBITMQ_PORT" in finding(done, "broker: reachable")["saw"]
    assert levels(done)["engine: login and version"] == ("note" if choice.IS_OLD else "ok")
    assert levels(done)["broker: canary"] == "skipped"


def test_a_refused_login_at_the_broker_names_the_settings_and_no_password(tools: Tools) -> None:
    done = tools.but(RABBITMQ_PASSWORD=SECRET).run("worker_diagnostics", "--problems")

    assert done.code == 1
    assert "refuses the login: check RABBITMQ_USERNAME 'sandbox' and RABBITMQ_PASSWORD" in done.words
    assert SECRET not in done.out + done.err


@pytest.mark.usefixtures("topology")
def test_a_broker_that_blocks_all_that_publish_is_told_so(tools: Tools, memory_alarm: MemoryAlarm) -> None:
    with memory_alarm():
        done = tools.run("worker_diagnostics", "--json")

    canary = finding(done, "broker: canary")
    assert (canary["level"], canary["saw"]) == (
        "problem",
        "RabbitMQ blocks all that publish: it is short of memory or disk",
    )
    assert "rabbitmq-diagnostics alarms" in canary["remedy"]
    assert levels(done)["queues: listeners"] == "warning"


def test_a_wrong_setting_is_one_line(tools: Tools) -> None:
    done = tools.but(RABBITMQ_PORT="amqp").run("worker_diagnostics")

    assert (done.code, done.out) == (2, "")
    assert len(done.err.splitlines()) == 1
    assert done.err.startswith("worker_diagnostics: RABBITMQ_PORT")


def test_a_misspelt_setting_is_found(tools: Tools) -> None:
    done = tools.but(CAMUNDA_MAX_TASK="5").run("worker_diagnostics", "--json")

    assert "did you mean CAMUNDA_MAX_TASKS?" in finding(done, "configuration")["details"][0]


def test_a_url_that_is_no_engine_is_a_problem(tools: Tools, sandbox: Sandbox) -> None:
    wrong = sandbox.engine.url.removesuffix("/engine-rest") + "/engine-rets"

    done = tools.but(CAMUNDA_BASE_URL=wrong).run("worker_diagnostics", "--json")

    assert (done.code, levels(done)["engine: reachable"]) == (1, "problem")


@pytest.mark.usefixtures("samples", "topology")
def test_a_message_that_nobody_reads_is_a_problem(tools: Tools, channel: BlockingChannel) -> None:
    channel.basic_publish("", "1c.queue", b"{}")

    done = tools.run("worker_diagnostics", "--json")

    assert done.code == 1
    assert finding(done, "queues: listeners")["saw"] == "messages wait and nobody listens: 1c.queue"
    assert channel.queue_declare("1c.queue", passive=True).method.message_count == 1


@pytest.mark.usefixtures("samples")
def test_a_task_whose_message_is_gone_is_a_problem(
    tools: Tools, engine_api: EngineApi, start_worker: StartWorker, channel: BlockingChannel
) -> None:
    worker = start_worker().wait_connected()
    instance = engine_api.start_instance("one_c_sync")
    wait_for_task(engine_api, instance, workerId="universal-worker")
    worker.wait_for("published 1 task")
    worker.stop()
    held = tools.run("worker_diagnostics", "--json")

    channel.queue_purge("1c.queue")
    lost = tools.run("worker_diagnostics", "--json")

    assert finding(held, "tasks: without a message")["level"] == "ok"
    problem = finding(lost, "tasks: without a message")
    assert (problem["level"], problem["saw"]) == ("problem", "1 of 1 held tasks without a message")
    assert "tools/unlock_task.py --topic" in problem["remedy"]


@pytest.mark.usefixtures("samples")
def test_a_worker_of_others_on_one_of_our_topics_is_named(tools: Tools, engine_api: EngineApi) -> None:
    engine_api.start_instance("legacy_archive")
    lock(engine_api, "legacy_archive", "old-robot")

    done = tools.run("worker_diagnostics", "--json")
    excluded = tools.but(CAMUNDA_TOPICS_EXCLUDE="legacy_*").run("worker_diagnostics", "--json")

    others = finding(done, "topics: other workers")
    assert (others["level"], others["details"]) == ("warning", ["legacy_archive: 1 held by old-robot"])
    assert "CAMUNDA_TOPICS_EXCLUDE" in others["remedy"]
    assert finding(excluded, "topics: other workers")["level"] == "ok"
    assert finding(excluded, "topics: routing")["level"] == "ok"


def lock(engine_api: EngineApi, topic: str, worker_id: str) -> None:
    topics = [{"topicName": topic, "lockDuration": 600_000}]
    request = {"workerId": worker_id, "maxTasks": 10, "topics": topics}
    assert engine_api.request("POST", "/external-task/fetchAndLock", json=request)


def test_dead_letters_are_told(tools: Tools, topology: None, channel: BlockingChannel) -> None:
    channel.basic_publish("", "errors.camunda_tasks.queue", b"?")

    done = tools.run("worker_diagnostics", "--json")

    assert finding(done, "queues: dead letters")["saw"] == "1 answer could not be used"


def test_a_queue_that_is_not_as_wanted_is_named(tools: Tools, channel: BlockingChannel) -> None:
    channel.queue_declare("1c.queue", durable=True, arguments={"x-max-length": 5})

    done = tools.run("worker_diagnostics", "--json")

    topology = finding(done, "broker: topology")
    assert (done.code, topology["level"]) == (1, "problem")
    assert "1c.queue: PRECONDITION_FAILED - inequivalent arg 'x-max-length'" in topology["details"][0]


def test_a_user_who_may_not_write_is_a_problem(
    tools: Tools, topology: None, sandbox: Sandbox, vhost: str, channel: BlockingChannel
) -> None:
    sandbox.broker.api.add_user("reader", "reader")
    sandbox.broker.api.set_permissions("reader", vhost, configure="^$", write="^$", read="^$")

    done = tools.but(RABBITMQ_USERNAME="reader", RABBITMQ_PASSWORD="reader").run("worker_diagnostics", "--json")

    declares = finding(done, "broker: topology")
    assert (declares["level"], declares["saw"]) == ("problem", "'reader' may not declare all of it")
    assert "RABBITMQ_TOPOLOGY=passive" in declares["remedy"]
    rights = finding(done, "broker: permissions")
    assert rights["level"] == "problem"
    assert "not write to camunda.errors, not read camunda.responses.queue" in rights["saw"]
    assert "set_permissions" in rights["remedy"]
    assert channel.queue_declare("default.queue", passive=True).method.message_count == 0
