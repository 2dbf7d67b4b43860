"""What a user sees who sets something wrong: one clear line that names the setting, no traceback, no secret."""

import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from pika.adapters.blocking_connection import BlockingChannel

from sandbox.engine_api import EngineApi
from sandbox.sandbox import Sandbox
from tests.system.conftest import StartSystem, StartWorker
from tests.system.engine import wait_for_state
from tests.system.partner import completing
from tests.system.worker_process import WorkerProcess

NOT_SET = None
SECRET = "a-secret-nobody-may-read"


class LoginPage(BaseHTTPRequestHandler):
    """Answers everything as a company's login page does."""

    def do_GET(self) -> None:
        body = b"<!DOCTYPE html><html><body>Please log in</body></html>"
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815  # the name is the library's

    def log_message(self, *_: object) -> None:
        """Prints nothing."""


@pytest.fixture
def login_page() -> Iterator[str]:
    """The URL of something that is no engine."""
    with ThreadingHTTPServer(("127.0.0.1", 0), LoginPage) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/engine-rest"
        server.shutdown()
        thread.join()


def assert_ends_with_78(worker: WorkerProcess, *words: str) -> None:
    """Checks that the process gave up at once, with one line that holds the words."""
    assert worker.exit_code() == 78
    assert len(worker.lines("| ERROR ")) == 1, worker.output
    assert worker.lines("| ERROR ", *words), worker.output
    assert_clean(worker)


def assert_keeps_trying(worker: WorkerProcess, *words: str) -> None:
    """Checks that the process tries again with growing pauses, saying why, and ends well when it is told to."""
    complaints = worker.wait_for("next attempt in", *words, count=3)
    by_speaker: dict[str, list[float]] = {}
    for line in complaints:
        pause = re.search(r"(.*?)next attempt in ([\d.]+) s", line.split("|", 2)[2])
        if pause:
            by_speaker.setdefault(pause[1], []).append(float(pause[2]))
    assert all(pauses == sorted(pauses) for pauses in by_speaker.values()), complaints
    assert worker.running()
    code, seconds = worker.stop()
    assert code == 0, worker.output
    assert seconds < 10
    assert_clean(worker)


def assert_clean(worker: WorkerProcess) -> None:
    assert "Traceback" not in worker.output, worker.output
    assert SECRET not in worker.output


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"CAMUNDA_BASE_URL": NOT_SET}, ["CAMUNDA_BASE_URL", "missing"]),
        ({"CAMUNDA_BASE_URL": "localhost:8080"}, ["CAMUNDA_BASE_URL", "localhost:8080"]),
        ({"RABBITMQ_PASSWORD": NOT_SET}, ["RABBITMQ_PASSWORD", "missing"]),
        ({"RABBITMQ_PORT": "amqp"}, ["RABBITMQ_PORT", "amqp"]),
        ({"CAMUNDA_MAX_TASKS": "0"}, ["CAMUNDA_MAX_TASKS", "0"]),
        ({"CAMUNDA_LOCK_DURATION": "10 minutes"}, ["CAMUNDA_LOCK_DURATION", "10 minutes"]),
        ({"CAMUNDA_AUTH_PASSWORD": SECRET}, ["CAMUNDA_AUTH_USERNAME"]),
        ({"LOG_LEVEL": "LOUD"}, ["LOG_LEVEL", "LOUD"]),
        ({"RABBITMQ_PASSWORD": NOT_SET, "RABBITMQ_PASSWORD_FILE": "/no/such"}, ["RABBITMQ_PASSWORD_FILE"]),
        ({"ROUTING_FILE": "/no/such.toml"}, ["ROUTING_FILE", "/no/such.toml"]),
    ],
)
def test_a_wrong_setting_is_named_and_ends_it(
    start_worker: StartWorker, settings: dict[str, str | None], words: list[str]
) -> None:
    worker = start_worker(**settings)

    assert_ends_with_78(worker, *words)


def test_a_wrong_routing_file_is_named_with_its_line(start_worker: StartWorker, tmp_path: Path) -> None:
    file = tmp_path / "routing.toml"
    file.write_text('[systems.sap]\ntopics = ["sap_*"]\nlock_duration = 5\n')

    worker = start_worker(ROUTING_FILE=str(file))

    assert_ends_with_78(worker, "ROUTING_FILE", str(file), "line 3", "lock_duration")


def test_a_queue_of_ours_with_other_arguments_is_named_and_ends_it(
    start_worker: StartWorker, channel: BlockingChannel
) -> None:
    channel.queue_declare("camunda.responses.queue", durable=True, arguments={"x-max-length": 7})

    worker = start_worker()

    assert worker.exit_code() == 78
    assert worker.lines("| ERROR ", "'camunda.responses.queue'", "x-max-length")
    assert len(worker.lines("| ERROR ")) == 1, worker.output
    assert_clean(worker)


@pytest.mark.parametrize("setting", ["declare", "passive"])
@pytest.mark.usefixtures("samples")
def test_a_wrong_queue_of_a_system_pauses_that_system_and_no_other(
    start_worker: StartWorker,
    start_system: StartSystem,
    engine_api: EngineApi,
    channel: BlockingChannel,
    setting: str,
) -> None:
    start_worker().wait_connected().stop()
    channel.queue_delete("1c.queue")
    wrong = ["'1c.queue'", "RABBITMQ_TOPOLOGY=passive"]
    if setting == "declare":
        channel.queue_declare("1c.queue", durable=True, arguments={"x-max-priority": 7})
        wrong = ["'1c.queue'", "x-max-priority is the value '7'", "wanted is none"]
    for_1c = engine_api.start_instance("one_c_sync")
    for_bitrix = engine_api.start_instance("bitrix24_task")
    start_system(["bitrix24.queue"], completing)

    worker = start_worker(RABBITMQ_TOPOLOGY=setting)

    wait_for_state(engine_api, for_bitrix)
    worker.wait_for("tasks for 1c stay in the engine", "'1c.queue'")
    assert len(worker.lines("| ERROR ")) == 1, worker.output
    assert worker.lines("| ERROR ", *wrong)
    assert engine_api.external_tasks(workerId="universal-worker") == []
    channel.queue_delete("1c.queue")
    if setting == "passive":
        channel.queue_declare("1c.queue", durable=True)
        channel.queue_bind("1c.queue", "camunda.external.tasks", "1c.#")
    start_system(["1c.queue"], completing)
    wait_for_state(engine_api, for_1c)
    assert worker.stop()[0] == 0


def test_a_queue_that_is_missing_is_named_where_nothing_may_be_declared(start_worker: StartWorker) -> None:
    worker = start_worker(RABBITMQ_TOPOLOGY="passive")

    assert worker.exit_code() == 78
    assert worker.lines("| ERROR ", "RABBITMQ_TOPOLOGY=passive", "'camunda.unrouted.tasks'")
    assert_clean(worker)


def test_the_first_line_says_where_engine_and_broker_are(
    sandbox: Sandbox, vhost: str, start_worker: StartWorker
) -> None:
    worker = start_worker()

    (line,) = worker.wait_for("starts as")

    broker = sandbox.broker
    assert sandbox.engine.url in line
    assert f"{broker.host}:{broker.port}" in line
    assert re.search(rf"{broker.port}, virtual host .{vhost}", line), line


def test_a_misspelt_setting_is_a_warning_that_names_the_right_one(start_worker: StartWorker) -> None:
    worker = start_worker(CAMUNDA_LOCK_DURATON="600000").wait_connected()

    assert worker.lines("WARNING", "CAMUNDA_LOCK_DURATON", "CAMUNDA_LOCK_DURATION")
    assert worker.stop()[0] == 0


@pytest.mark.parametrize("script", ["main.py", "camunda_worker.py"])
def test_it_waits_for_an_engine_that_is_not_there(
    start_worker: StartWorker, unused_port: int, script: str
) -> None:
    url = f"http://127.0.0.1:{unused_port}/engine-rest"

    worker = start_worker(script=script, CAMUNDA_BASE_URL=url)

    assert_keeps_trying(worker, url)


def test_an_engine_that_is_not_there_is_told_with_the_setting(start_worker: StartWorker, unused_port: int) -> None:
    worker = start_worker(CAMUNDA_BASE_URL=f"http://127.0.0.1:{unused_port}/engine-rest")

    assert worker.wait_for("WARNING", "CAMUNDA_BASE_URL", seconds=10)


def test_it_waits_where_something_else_answers_for_the_engine(start_worker: StartWorker, login_page: str) -> None:
    worker = start_worker(CAMUNDA_BASE_URL=login_page)

    assert_keeps_trying(worker, "no engine")


def test_something_else_that_answers_for_the_engine_is_told_with_the_setting(
    start_worker: StartWorker, login_page: str
) -> None:
    worker = start_worker(CAMUNDA_BASE_URL=login_page)

    assert worker.wait_for("WARNING", "CAMUNDA_BASE_URL", login_page, seconds=10)


def test_a_path_that_is_not_the_engines_is_told_with_the_setting(
    sandbox: Sandbox, start_worker: StartWorker
) -> None:
    wrong = sandbox.engine.url.removesuffix("/engine-rest") + "/engine-rets"

    worker = start_worker(CAMUNDA_BASE_URL=wrong)

    assert worker.wait_for("WARNING", "CAMUNDA_BASE_URL", wrong, seconds=10)


def test_it_waits_for_a_broker_that_is_not_there(start_worker: StartWorker, unused_port: int) -> None:
    worker = start_worker(RABBITMQ_PORT=str(unused_port))

    assert_keeps_trying(worker, "RABBITMQ_HOST", "RABBITMQ_PORT", str(unused_port))


def test_it_waits_for_a_host_whose_name_is_not_known(start_worker: StartWorker) -> None:
    worker = start_worker(RABBITMQ_HOST="no-such-host.invalid")

    assert_keeps_trying(worker, "RABBITMQ_HOST", "no-such-host.invalid")


def test_a_refused_password_is_told_and_tried_again(start_worker: StartWorker) -> None:
    worker = start_worker(RABBITMQ_PASSWORD=SECRET)

    assert_keeps_trying(worker, "RABBITMQ_USERNAME", "RABBITMQ_PASSWORD")


def test_a_vhost_that_is_not_there_is_told_and_tried_again(start_worker: StartWorker) -> None:
    worker = start_worker(RABBITMQ_VIRTUAL_HOST="no-such-vhost")

    assert_keeps_trying(worker, "RABBITMQ_VIRTUAL_HOST", "no-such-vhost")


@pytest.mark.usefixtures("samples")
def test_it_works_as_soon_as_its_vhost_is_made(
    sandbox: Sandbox, vhost: str, start_worker: StartWorker, engine_api: EngineApi, start_system: StartSystem
) -> None:
    sandbox.broker.delete_vhost(vhost)
    worker = start_worker()
    worker.wait_for("ERROR", "RABBITMQ_VIRTUAL_HOST")
    instance = engine_api.start_instance("bitrix24_task")

    sandbox.broker.add_vhost(vhost)
    worker.wait_connected()
    start_system(["bitrix24.queue"], completing)

    wait_for_state(engine_api, instance)
