"""Each tool on a terminal of 80 columns, with the longest names that are usual: read at night, and copied from."""

import re
from dataclasses import dataclass
from pathlib import Path

import pytest
from pika.adapters.blocking_connection import BlockingChannel
from pika.spec import BasicProperties
from rich.cells import cell_len

from sandbox.engine_api import EngineApi
from sandbox.sandbox import Sandbox
from tests.system.conftest import Deploy, StartWorker
from tests.system.engine import process_file, task_of
from tests.system.tools import TERMINAL, Tools

TOPIC = "bitrix_" + "create_the_task_of_a_customer_who_waits_since_" + "morning"
CYRILLIC_TOPIC = "1c_" + "выгрузка_номенклатуры_и_остатков_по_складам_организации_11"
PROCESS = "отправка_заявки_клиента_в_битрикс_и_уведомление_менеджера_12"
ROBOT = "робот-" + "старый-" * 5 + "1"
MESSAGE = "соединение с сервером 1С не установлено: " * 6
BUSINESS_KEY = "Заявка № 1234567 от 27.11.2026 ООО «Ромашка и партнёры»"


@dataclass(frozen=True)
class Night:
    """What an operator may have to copy."""

    instances: tuple[str, str]
    locked: str
    failed: str
    missing: str


@pytest.fixture
def tools(sandbox: Sandbox, vhost: str, tmp_path: Path) -> Tools:
    routing = tmp_path / "routing.toml"
    routing.write_text(f'[systems.1c]\nqueue = "{CYRILLIC_TOPIC}"\ntopics = ["1c_*"]\n', encoding="utf-8")
    return Tools({**sandbox.environment(vhost), "ROUTING_FILE": str(routing)})


@pytest.fixture
def night(
    deploy: Deploy, engine_api: EngineApi, tmp_path: Path, start_worker: StartWorker, channel: BlockingChannel
) -> Night:
    """A locked task, a failed one, and two dead letters, one of which is no answer at all."""
    start_worker().wait_connected().stop()
    deploy(process_file(tmp_path, PROCESS, TOPIC), process_file(tmp_path, "sync", CYRILLIC_TOPIC))
    instances = (engine_api.start_instance(PROCESS, business_key=BUSINESS_KEY), engine_api.start_instance("sync"))
    locked, failed = (str(task_of(engine_api, instance)["id"]) for instance in instances)
    topics = [{"topicName": topic, "lockDuration": 600_000} for topic in (TOPIC, CYRILLIC_TOPIC)]
    engine_api.request(
        "POST", "/external-task/fetchAndLock", json={"workerId": ROBOT, "maxTasks": 9, "topics": topics}
    )
    failure = {"workerId": ROBOT, "retries": 0, "retryTimeout": 0, "errorMessage": MESSAGE}
    engine_api.request("POST", f"/external-task/{failed}/failure", json=failure)
    missing = "3f2504e0-4f89-11d3-9a0c-0305e82c3301"
    answer = f'{{"task_id": "{locked}", "response_type": "complete"}}'
    _put_aside(channel, answer, {"x-topic": TOPIC}, BasicProperties(app_id="битрикс-" * 7))
    sender = {"x-sender-user-id": "1c"}
    _put_aside(channel, f"<ответ>{MESSAGE}</ответ>", sender, BasicProperties(correlation_id=missing))
    return Night(instances, locked, failed, missing)


def _put_aside(channel: BlockingChannel, body: str, headers: dict[str, str], properties: BasicProperties) -> None:
    properties.headers = {"x-error-reason": "invalid", "x-error-detail": MESSAGE, **headers}
    channel.basic_publish("", "errors.camunda_tasks.queue", body.encode(), properties)


def copied(lines: list[str], *wanted: str) -> None:
    """All lines fit, and what is wanted stands whole in one of them."""
    assert [line for line in lines if cell_len(line) > TERMINAL[1]] == []
    assert [text for text in wanted if not any(_stands_in(line, text) for line in lines)] == []
    assert "…" not in "".join(lines)


def _stands_in(line: str, text: str) -> bool:
    return re.search(rf"(?<![\w-]){re.escape(text)}(?![\w-])", line) is not None


@pytest.mark.parametrize(
    "tool",
    [
        "worker_diagnostics",
        "check_queues",
        "camunda_processes",
        "start_process",
        "unlock_task",
        "retry_incidents",
        "routing",
        "broker_permissions",
        "broker_policy",
        "dead_letters",
    ],
)
def test_the_help_fits(tools: Tools, tool: str) -> None:
    installed = [
        re.sub(r"python tools/([a-z_]+)\.py", r"sudo camunda-worker-tool \1", line)
        for line in tools.on_terminal(tool, "--help")
    ]

    copied(installed, f"sudo camunda-worker-tool {tool}")


def test_the_engine_is_shown(tools: Tools, night: Night) -> None:
    shown = tools.on_terminal("camunda_processes", "--stats", "--instances", "--tasks", "--incidents")

    copied(shown, *night.instances, night.locked, night.failed, PROCESS, TOPIC, CYRILLIC_TOPIC, BUSINESS_KEY)


def test_failed_tasks_are_shown_and_given_retries(tools: Tools, night: Night) -> None:
    copied(tools.on_terminal("retry_incidents"), night.failed, CYRILLIC_TOPIC)
    acted = tools.on_terminal("retry_incidents", "--topic", CYRILLIC_TOPIC, "--retries", "1", answer="y\n")
    copied(acted, night.failed, "1 task has 1 retry")


def test_locked_tasks_are_shown_and_freed(tools: Tools, night: Night) -> None:
    shown = tools.on_terminal("unlock_task", "--topic", TOPIC, answer="y\n")

    copied(shown, night.locked, TOPIC, ROBOT, PROCESS, "freed 1 of 1 task")


def test_dead_letters_are_listed_shown_and_dropped(tools: Tools, night: Night) -> None:
    copied(tools.on_terminal("dead_letters", "list"), night.locked, night.missing, TOPIC, "1c", "2 messages")
    copied(tools.on_terminal("dead_letters", "show", night.locked), night.locked, TOPIC)
    copied(tools.on_terminal("dead_letters", "drop", answer="n\n"), "Nothing was done.")
    copied(tools.on_terminal("dead_letters", "drop", answer="y\n"), night.locked, night.missing, "2 messages")


def test_the_queues_are_shown(tools: Tools, night: Night) -> None:
    shown = tools.on_terminal("check_queues")

    copied(shown, CYRILLIC_TOPIC, "errors.camunda_tasks.queue", "python tools/dead_letters.py list")


def test_the_diagnosis_is_read(tools: Tools, night: Night) -> None:
    shown = tools.on_terminal("worker_diagnostics")

    copied(shown, TOPIC, CYRILLIC_TOPIC, PROCESS, "python tools/retry_incidents.py --topic TOPIC")
    copied(shown, "python tools/dead_letters.py list", "python tools/camunda_processes.py --incidents")


@pytest.mark.parametrize(
    "setting",
    [
        {"CAMUNDA_BASE_URL": "http://127.0.0.1:9/engine-rest/engine/default"},
        {"RABBITMQ_PASSWORD": "wrong"},
        {"RABBITMQ_VIRTUAL_HOST": "отдел-продаж"},
        {"RABBITMQ_TLS": "true"},
        {"CAMUNDA_MAX_TASK": "5"},
        {"CAMUNDA_LOCK_DURATION": "ten minutes"},
    ],
)
def test_what_is_wrong_is_read(tools: Tools, setting: dict[str, str]) -> None:
    copied(tools.but(**setting).on_terminal("worker_diagnostics"))
    copied(tools.but(**setting).on_terminal("check_queues"))


def test_all_of_it_is_read_in_russian(tools: Tools, night: Night) -> None:
    russian = tools.but(LANG="ru_RU.UTF-8")

    engine = russian.on_terminal("camunda_processes", "--stats", "--instances", "--tasks", "--incidents")
    copied(
        engine, night.locked, night.failed, PROCESS, TOPIC, "открытые внешние задачи", "сбой, попыток не осталось"
    )
    copied(russian.on_terminal("check_queues"), "непригодные ответы: python tools/dead_letters.py list")
    copied(russian.on_terminal("routing"), TOPIC, CYRILLIC_TOPIC, "не относится ни к одной системе")
    diagnosis = russian.on_terminal("worker_diagnostics")
    copied(diagnosis, TOPIC, PROCESS, "движок: доступность", "python tools/retry_incidents.py --topic TOPIC")
    copied(russian.on_terminal("dead_letters", "list"), night.locked, night.missing, "2 сообщения")


def test_a_yes_and_a_no_may_be_russian(tools: Tools, night: Night) -> None:
    russian = tools.but(LANG="ru_RU.UTF-8")

    copied(russian.on_terminal("dead_letters", "drop", answer="н\n"), "Ничего не сделано.")
    copied(russian.on_terminal("unlock_task", "--topic", TOPIC, answer="д\n"), "освобождено 1 из 1 задачи")


def test_the_routing_is_shown(tools: Tools, night: Night) -> None:
    copied(tools.on_terminal("routing"), TOPIC, CYRILLIC_TOPIC)


def test_commands_for_the_broker_are_whole(tools: Tools) -> None:
    copied(tools.on_terminal("broker_permissions"), "rabbitmqctl", "set_permissions")
    copied(tools.on_terminal("broker_policy"), "rabbitmqctl", "camunda-rejected")


def test_started_instances_are_shown(tools: Tools, night: Night, engine_api: EngineApi) -> None:
    shown = tools.on_terminal("start_process", PROCESS)
    many = tools.on_terminal("start_process", PROCESS, "--count", "2", "--business-key", BUSINESS_KEY)

    ids = {row["id"] for row in engine_api.request("GET", "/process-instance")}
    copied(shown, PROCESS)
    assert sum(id_ in line for id_ in ids for line in shown) == 1
    copied(many, PROCESS)
