"""Each tool with all well, with the engine down and with the broker down: what it prints and how it ends."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pika.adapters.blocking_connection import BlockingChannel
from pika.spec import BasicProperties

from sandbox import choice
from sandbox.engine_api import EngineApi
from sandbox.sandbox import Sandbox
from tests.sandbox.processes import REPOSITORY, eventually
from tests.system.conftest import Deploy, StartWorker
from tests.system.engine import process_file, stored_variables, task_of
from tests.system.tools import Tools

SECRET = "a-secret-nobody-may-read"
TOOLS = [
    "check_queues",
    "camunda_processes",
    "start_process",
    "unlock_task",
    "retry_incidents",
    "broker_permissions",
    "routing",
    "broker_policy",
]


@pytest.fixture
def tools(sandbox: Sandbox, vhost: str) -> Tools:
    return Tools(sandbox.environment(vhost))


@pytest.fixture
def topology(start_worker: StartWorker) -> None:
    """The queues of a worker that ran and was stopped."""
    start_worker().wait_connected().stop()


@pytest.mark.parametrize("tool", TOOLS)
def test_each_tool_explains_itself(tools: Tools, tool: str) -> None:
    done = tools.run(tool, "--help")

    assert done.code == 0
    assert f"python tools/{tool}.py" in done.out
    assert "Exit code" in done.out


def test_the_routing_says_where_topics_go_and_why(tools: Tools, deploy: Deploy, tmp_path: Path) -> None:
    deploy(process_file(tmp_path, "known", "bitrix_anything"), process_file(tmp_path, "unknown", "sap_post"))

    done = tools.but(CAMUNDA_TOPICS_EXCLUDE="1c_*").run("routing", "--json")
    named = tools.but(CAMUNDA_TOPICS_EXCLUDE="1c_*").run("routing", "send_email", "1c_sync_data", "${x}", "--json")

    rows = {row["topic"]: (row["queue"], row["why"]) for row in done.rows}
    assert rows["bitrix_anything"] == ("bitrix24.queue", "pattern bitrix_*")
    assert rows["sap_post"] == ("default.queue", "no system claims it")
    assert done.code == 1
    assert [(row["queue"], row["why"]) for row in named.rows] == [
        ("python-services.queue", "its name"),
        (None, "CAMUNDA_TOPICS_INCLUDE or CAMUNDA_TOPICS_EXCLUDE leaves it to others"),
        (None, "decided while the process runs"),
    ]
    assert named.code == 0


def test_a_routing_file_is_checked_before_it_is_used(tools: Tools, tmp_path: Path) -> None:
    file = tmp_path / "next.toml"
    shared = '[systems.a]\ntopics = ["x"]\nprocess_keys = ["p"]\n[systems.b]\ntopics = ["x"]\n'
    file.write_text(f'{shared}process_keys = ["q"]\ntenants = "none"\n', encoding="utf-8")
    right = tools.run("routing", "x", "--file", str(file), "--json")
    file.write_text(f"{shared}retry_pauses = [5, 'x']\n", encoding="utf-8")
    wrong = tools.run("routing", "x", "--file", str(file))

    assert [(row["system"], row["only"]) for row in right.rows] == [
        ("a", "process p"),
        ("b", "process q; tenant none"),
    ]
    assert right.code == 0
    assert wrong.code == 2
    assert "line 6: retry_pauses [5, 'x'] is no list of pauses" in wrong.err


def test_the_queues_are_shown_and_what_is_wrong_with_them(
    tools: Tools, topology: None, channel: BlockingChannel
) -> None:
    channel.basic_publish("", "1c.queue", b"{}", BasicProperties(timestamp=int(time.time()) - 600))

    table = tools.run("check_queues", "--peek")
    rows = {row["queue"]: row for row in tools.run("check_queues", "--json").rows}

    assert table.code == 1
    assert "1c.queue │ 1 │ - │ 0 │ 10 min │" in table.words
    assert "messages wait and nobody listens 1c.queue" in table.words
    assert (len(rows), rows["bitrix24.queue"]["problem"]) == (11, "")
    assert channel.queue_declare("1c.queue", passive=True).method.message_count == 1


def test_the_queues_are_well_while_they_are_empty(tools: Tools, topology: None, unused_port: int) -> None:
    """Also where the engine is down: it is not asked."""
    without_engine = tools.but(CAMUNDA_BASE_URL=f"http://127.0.0.1:{unused_port}/engine-rest")

    assert without_engine.run("check_queues").code == 0


def test_the_management_api_tells_what_consumers_hold(
    tools: Tools, topology: None, sandbox: Sandbox, channel: BlockingChannel
) -> None:
    channel.basic_publish("", "1c.queue", b"{}")
    assert eventually(lambda: channel.basic_get("1c.queue")[0] is not None)

    def unacked() -> object:
        done = tools.run("check_queues", "--json", "--management", sandbox.broker.management_url)
        return {row["queue"]: row["unacked"] for row in done.rows}["1c.queue"]

    assert eventually(lambda: unacked() == 1)  # a quorum queue tells it a little later


def test_a_management_api_that_is_not_there_or_refuses_us_is_one_line(
    tools: Tools, sandbox: Sandbox, unused_port: int
) -> None:
    url = f"http://127.0.0.1:{unused_port}"

    absent = tools.run("check_queues", "--management", url)
    refused = tools.but(RABBITMQ_PASSWORD=SECRET).run(
        "check_queues", "--management", sandbox.broker.management_url
    )

    assert (absent.code, len(absent.err.splitlines())) == (1, 1)
    assert f"no management API at --management {url}" in absent.err
    assert "refuses RABBITMQ_USERNAME 'sandbox'" in refused.err
    assert SECRET not in refused.err + refused.out


def test_queues_that_are_not_there_yet_are_a_problem(tools: Tools) -> None:
    done = tools.run("check_queues")

    assert done.code == 1
    assert "is missing: the worker declares it when it starts" in done.words


def test_a_broker_that_is_down_is_one_line_with_the_settings(tools: Tools, unused_port: int) -> None:
    done = tools.but(RABBITMQ_PORT=str(unused_port)).run("check_queues")

    assert (done.code, done.out, len(done.err.splitlines())) == (1, "", 1)
    assert done.err.startswith(f"check_queues: RabbitMQ at 127.0.0.1:{unused_port} (RABBITMQ_HOST, RABBITMQ_PORT)")


def test_a_reader_that_has_seen_enough_is_no_error(tools: Tools) -> None:
    done = subprocess.run(
        ["/bin/sh", "-c", f"{sys.executable} tools/check_queues.py --json | head -n 1"],
        cwd=REPOSITORY,
        env={"PATH": "/usr/bin:/bin", **tools.settings},
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert (done.stdout.count("\n"), done.stderr) == (1, "")


def test_a_watch_goes_on_until_ctrl_c(tools: Tools, topology: None) -> None:
    with subprocess.Popen(
        [sys.executable, "tools/check_queues.py", "--watch", "0.2", "--json"],
        cwd=REPOSITORY,
        env={"PATH": "/usr/bin:/bin", **tools.settings},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Started in the background, a shell lets its children ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as watch:
        try:
            assert watch.stdout is not None
            seen = [watch.stdout.readline() for _ in range(12)]  # eleven queues, and once more
            watch.send_signal(signal.SIGINT)
            _, complaints = watch.communicate(timeout=10)
        finally:
            watch.kill()

    assert '"queue": "bitrix24.queue"' in seen[0]
    assert '"queue": "bitrix24.queue"' in seen[11]
    assert (watch.returncode, complaints) == (130, "")


ENGINE_TOOLS = [
    ["camunda_processes", "--stats"],
    ["start_process", "email"],
    ["unlock_task", "--topic", "email"],
    ["retry_incidents"],
]


@pytest.mark.parametrize("command", ENGINE_TOOLS, ids=lambda command: command[0])
def test_an_engine_that_is_down_is_one_line_with_the_setting(
    tools: Tools, unused_port: int, command: list[str]
) -> None:
    url = f"http://127.0.0.1:{unused_port}/engine-rest"

    done = tools.but(CAMUNDA_BASE_URL=url).run(*command)

    assert (done.code, done.out, len(done.err.splitlines())) == (1, "", 1)
    assert done.err.startswith(f"{command[0]}: no engine at CAMUNDA_BASE_URL {url}")


@pytest.mark.usefixtures("samples")
def test_the_engine_is_shown_also_where_the_broker_is_down(
    tools: Tools, engine_api: EngineApi, unused_port: int, tmp_path: Path
) -> None:
    instance = engine_api.start_instance("email", business_key="order 7")
    without_broker = tools.but(RABBITMQ_PORT=str(unused_port))

    done = without_broker.run("camunda_processes", "--stats", "--instances", "--tasks", folder=tmp_path)

    assert done.code == 0
    assert "email │ 1 │ - │ 1 │ 0 │ 0 │ no" in done.words
    assert f"{instance} │ email │ order 7 │ 20" in done.words
    assert (
        f"{task_of(engine_api, instance)['id']} │ send_email │ waiting │ - │ - │ email │ {instance}" in done.words
    )


@pytest.mark.usefixtures("samples")
def test_incidents_are_a_problem(tools: Tools, engine_api: EngineApi) -> None:
    before = tools.run("camunda_processes", "--incidents")
    task_id = failed_task(engine_api, "email")

    table = tools.run("camunda_processes", "--incidents")
    (row,) = tools.run("camunda_processes", "--incidents", "--key", "email", "--json").rows
    others = tools.run("camunda_processes", "--incidents", "--key", "one_c_sync")

    assert (before.code, before.words) == (0, "No incidents.")
    assert table.code == 1
    assert "SMTP [down]" in table.out
    assert (row["kind"], row["task"], row["process"]) == ("incidents", task_id, "email")
    assert others.code == 0


def failed_task(engine_api: EngineApi, key: str) -> str:
    """Starts an instance whose task fails for good."""
    task = task_of(engine_api, engine_api.start_instance(key))
    lock_all(engine_api, task["topicName"], "universal-worker")
    failure = {"workerId": "universal-worker", "retries": 0, "retryTimeout": 0, "errorMessage": "SMTP [down]"}
    engine_api.request("POST", f"/external-task/{task['id']}/failure", json=failure)
    return str(task["id"])


def lock_all(engine_api: EngineApi, topic: str, worker_id: str, *, milliseconds: int = 600_000) -> None:
    topics = [{"topicName": topic, "lockDuration": milliseconds}]
    request = {"workerId": worker_id, "maxTasks": 10, "topics": topics}
    assert engine_api.request("POST", "/external-task/fetchAndLock", json=request)


@pytest.mark.usefixtures("samples")
def test_a_process_is_started_with_variables_and_a_business_key(
    tools: Tools, engine_api: EngineApi, unused_port: int
) -> None:
    """Also where the broker is down."""
    lines = ', "lines": [1, 2]' if choice.HAS_JSON else ""
    variables = f'{{"recipient": "anna@example.com", "size": {{"value": 3, "type": "Long"}}{lines}}}'
    options = ["--variables", variables, "--business-key", "order 7", "--json"]

    done = tools.but(RABBITMQ_PORT=str(unused_port)).run("start_process", "email", *options)

    (row,) = done.rows
    stored = stored_variables(engine_api, row["instance"])
    assert (done.code, done.err) == (0, "")
    assert engine_api.instance(row["instance"])["businessKey"] == "order 7"
    assert {name: (it["type"], it["value"]) for name, it in stored.items()} == {
        "recipient": ("String", "anna@example.com"),
        "size": ("Long", 3),
        **({"lines": ("Json", "[1,2]")} if choice.HAS_JSON else {}),
    }


@pytest.mark.usefixtures("samples")
def test_many_instances_are_started_with_a_bar_and_numbered_keys(
    tools: Tools, engine_api: EngineApi, tmp_path: Path
) -> None:
    file = tmp_path / "variables.json"
    file.write_text('{"title": "Call back"}')
    options = ["--count", "12", "--business-key", "load", "--variables", str(file)]

    done = tools.run("start_process", "bitrix24_task", *options, folder=tmp_path)

    assert done.code == 0
    assert done.out.startswith("started 12 of 12 bitrix24_task in ")
    assert "12/12" in done.err
    instances = engine_api.request("GET", "/process-instance", params={"processDefinitionKey": "bitrix24_task"})
    assert {row["businessKey"] for row in instances} == {f"load-{n}" for n in range(1, 13)}


@pytest.mark.usefixtures("samples")
def test_a_process_that_is_not_there_is_one_line(tools: Tools) -> None:
    done = tools.run("start_process", "no_such_process")

    assert (done.code, done.out, len(done.err.splitlines())) == (1, "", 1)
    assert "No matching process definition with key: no_such_process" in done.err
    assert "camunda_processes.py --stats lists the keys" in done.err


@pytest.fixture
def locked(samples: None, engine_api: EngineApi) -> str:
    """The id of a task that another worker holds."""
    task_id = task_of(engine_api, engine_api.start_instance("email"))["id"]
    lock_all(engine_api, "send_email", "old-robot")
    return str(task_id)


def holder(engine_api: EngineApi, task_id: str) -> str | None:
    name: str | None = engine_api.request("GET", f"/external-task/{task_id}")["workerId"]
    return name


@pytest.mark.parametrize(
    ("answer", "code", "then"), [("y\n", 0, None), ("\n", 1, "old-robot"), ("\x04", 1, "old-robot")]
)
def test_a_task_is_freed_only_after_a_yes(
    tools: Tools, engine_api: EngineApi, locked: str, answer: str, code: int, then: str | None
) -> None:
    done = tools.run("unlock_task", "--task-id", locked, answer=answer)

    assert f"{locked} │ send_email │ old-robot │ 20" in done.words
    assert "Free 1 task? Work that is under way may be done twice. [y/N]" in done.words
    assert ("freed 1 of 1 task" if then is None else "Nothing was done.") in done.words
    assert (done.code, holder(engine_api, locked)) == (code, then)


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_where_nobody_can_be_asked_only_yes_acts(
    tools: Tools, engine_api: EngineApi, locked: str, options: list[str]
) -> None:
    done = tools.run("unlock_task", "--topic", "send_email", *options)

    assert (done.code, len(done.err.splitlines())) == (2, 1)
    assert "add --yes" in done.err
    assert holder(engine_api, locked) == "old-robot"


def test_the_tasks_of_a_topic_are_freed_also_where_the_broker_is_down(
    tools: Tools, engine_api: EngineApi, locked: str, unused_port: int, tmp_path: Path
) -> None:
    without_broker = tools.but(RABBITMQ_PORT=str(unused_port))

    done = without_broker.run("unlock_task", "--topic", "send_email", "--json", "--yes", folder=tmp_path)
    again = tools.run("unlock_task", "--topic", "send_email", "--yes")

    (row,) = done.rows
    assert (done.code, row["task"], row["held_by"], row["freed"]) == (0, locked, "old-robot", True)
    assert holder(engine_api, locked) is None
    assert (again.code, again.words) == (0, "Nothing is locked.")


def test_expired_locks_are_freed_and_no_others(tools: Tools, engine_api: EngineApi, locked: str) -> None:
    expired = task_of(engine_api, engine_api.start_instance("one_c_sync"))["id"]
    lock_all(engine_api, "1c_sync_data", "gone-robot", milliseconds=1)

    done = tools.run("unlock_task", "--all-expired", "--yes")

    assert f"{expired} │ 1c_sync_data │ gone-robot" in done.words
    assert "freed 1 of 1 task" in done.words
    assert (holder(engine_api, expired), holder(engine_api, locked)) == (None, "old-robot")


def test_a_lock_of_millennia_is_shown_and_freed(tools: Tools, engine_api: EngineApi, samples: None) -> None:
    task = task_of(engine_api, engine_api.start_instance("email"))["id"]
    lock_all(engine_api, "send_email", "universal-worker", milliseconds=2**53 - 1)

    shown = tools.run("camunda_processes", "--tasks")
    diagnosed = tools.run("worker_diagnostics")
    freed = tools.run("unlock_task", "--topic", "send_email", "--yes")

    assert (shown.code, "locked by universal-worker │ 287" in shown.words) == (0, True)
    assert "Traceback" not in diagnosed.err
    assert "freed 1 of 1 task" in freed.words
    assert holder(engine_api, task) is None


def test_a_task_that_is_not_there_is_one_line(tools: Tools) -> None:
    done = tools.run("unlock_task", "--task-id", "no-such-task", "--yes")

    assert (done.code, done.out) == (1, "")
    assert done.err == "unlock_task: the engine says 404: External task with id no-such-task does not exist\n"


@pytest.mark.usefixtures("samples")
def test_failed_tasks_of_a_topic_get_retries_after_a_yes(tools: Tools, engine_api: EngineApi) -> None:
    mails = [failed_task(engine_api, "email") for _ in range(2)]
    other = failed_task(engine_api, "one_c_sync")

    shown = tools.run("retry_incidents")
    refused = tools.run("retry_incidents", "--topic", "send_email", answer="no\n")
    before = {retries(engine_api, task_id) for task_id in mails}
    done = tools.run("retry_incidents", "--topic", "send_email", "--retries", "2", answer="yes\n")

    assert (shown.code, refused.code, before) == (1, 1, {0})
    assert "send_email │ 2 │ SMTP [down] │" in shown.words
    assert (done.code, done.words.endswith("Give 2 tasks 2 retries? [y/N] 2 tasks have 2 retries")) == (0, True)
    assert ({retries(engine_api, task_id) for task_id in mails}, retries(engine_api, other)) == ({2}, 0)
    assert [row["configuration"] for row in engine_api.incidents()] == [other]


def retries(engine_api: EngineApi, task_id: str) -> int:
    return int(engine_api.request("GET", f"/external-task/{task_id}")["retries"])


@pytest.mark.usefixtures("samples")
def test_all_failed_tasks_get_the_workers_own_retries(
    tools: Tools, engine_api: EngineApi, unused_port: int
) -> None:
    """Also where the broker is down."""
    task_id = failed_task(engine_api, "email")
    settings = tools.but(RABBITMQ_PORT=str(unused_port), CAMUNDA_RETRIES="5")

    done = settings.run("retry_incidents", "--all", "--json", "--yes")
    again = settings.run("retry_incidents", "--all", "--yes")

    assert (done.code, done.rows) == (0, [{"task": task_id, "topic": "send_email", "retries": 5}])
    assert retries(engine_api, task_id) == 5
    assert (again.code, again.words) == (0, "No task failed.")


@pytest.mark.parametrize(
    "command",
    [
        ["check_queues", "--watch", "never"],
        ["check_queues", "--watch", "--peek"],
        ["check_queues", "all"],
        ["camunda_processes", "--limit", "0"],
        ["start_process"],
        ["unlock_task"],
        ["unlock_task", "--task-id", "../version", "--yes"],
        ["unlock_task", "--task-id", "t1", "--all-expired", "--yes"],
        ["retry_incidents", "--all", "--topic", "email"],
        ["retry_incidents", "--all", "--retries", "0"],
        ["start_process", "email", "--variables", "{"],
        ["start_process", "email", "--variables", "/no/such/file"],
        ["start_process", "email", "--count", "many"],
    ],
)
def test_wrong_use_is_exit_code_2(tools: Tools, command: list[str]) -> None:
    assert tools.run(*command).code == 2
