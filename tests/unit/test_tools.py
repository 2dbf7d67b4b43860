"""The pure parts of the tools."""

import argparse
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from bridge.broker import QueueState
from bridge.contract import TaskState
from bridge.engine import Http, Login, Rest
from bridge.errors import Unprocessable
from tests.unit.test_config import REQUIRED
from tools import camunda_processes, check_queues, retry_incidents, start_process, unlock_task
from tools.lib.management import QueueTotals, totals_of
from tools.lib.operations import Operations, situation_of

UNKNOWN = QueueTotals(None, None)


@pytest.mark.parametrize(
    ("name", "state", "problem"),
    [
        ("1c.queue", QueueState("1c.queue"), ""),
        ("1c.queue", QueueState("1c.queue", ready=5, consumers=2), ""),
        ("1c.queue", QueueState("1c.queue", ready=5), "messages wait and nobody listens"),
        ("1c.queue", None, "is missing: the worker declares it when it starts"),
        (
            "errors.camunda_tasks.queue",
            QueueState("errors.camunda_tasks.queue", ready=1),
            "answers that could not be used: python tools/dead_letters.py list",
        ),
    ],
)
def test_what_is_wrong_with_a_queue_is_said(name: str, state: QueueState | None, problem: str) -> None:
    assert check_queues.row_of(name, state, UNKNOWN, expects_reader=True, now=0)["problem"] == problem


def test_a_delay_queue_needs_no_reader() -> None:
    state = QueueState("camunda.responses.retry.5s", ready=3)

    row = check_queues.row_of(state.name, state, UNKNOWN, expects_reader=False, now=0)

    assert row["problem"] == ""


@pytest.mark.parametrize(("ready", "age"), [(1, 60), (0, None)])
def test_the_oldest_message_is_as_old_as_its_timestamp(ready: int, age: int | None) -> None:
    row = check_queues.row_of(
        "1c.queue",
        QueueState("1c.queue", ready=ready, consumers=1),
        QueueTotals(2, 40.0),
        expects_reader=True,
        now=100.4,
    )

    assert (row["oldest_seconds"], row["unacked"]) == (age, 2)


def test_totals_are_read_whether_the_broker_collects_statistics_or_not() -> None:
    rows: list[dict[str, Any]] = [
        {"name": "a", "messages_unacknowledged": 3, "head_message_timestamp": 1_700_000_000},
        {"name": "b", "messages_unacknowledged": 0, "head_message_timestamp": "2023-11-14 22:13:20"},
        {"name": "c", "head_message_timestamp": ""},
    ]

    assert totals_of(rows) == {
        "a": QueueTotals(3, 1_700_000_000.0),
        "b": QueueTotals(0, 1_700_000_000.0),
        "c": UNKNOWN,
    }


NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


def open_task(**fields: Any) -> TaskState:
    usual = {
        "id": "t1",
        "topic": "send_email",
        "worker_id": None,
        "lock_expires_at": None,
        "retries": None,
        "error_message": None,
        "suspended": False,
        "process_key": "email",
        "process_instance_id": "i1",
    }
    return TaskState(**{**usual, **fields})


LOCKED = {"worker_id": "w1", "lock_expires_at": NOW + timedelta(seconds=1)}


@pytest.mark.parametrize(
    ("fields", "state"),
    [
        ({}, "waiting"),
        (LOCKED, "locked by w1"),
        ({**LOCKED, "error_message": "no"}, "held by w1 after a failure"),
        ({**LOCKED, "lock_expires_at": NOW}, "lock of w1 expired"),
        ({**LOCKED, "retries": 0}, "failed, no retries left"),
        ({"suspended": True}, "suspended"),
    ],
)
def test_how_a_task_stands_is_said(fields: dict[str, Any], state: str) -> None:
    assert situation_of(open_task(**fields), NOW) == state


def statistics(key: str, version: int, *, instances: int = 0, incidents: int = 0) -> dict[str, Any]:
    definition = {"key": key, "version": version, "tenantId": None, "suspended": False}
    counts = [{"incidentType": "failedExternalTask", "incidentCount": incidents}] if incidents else []
    return {"definition": definition, "instances": instances, "incidents": counts, "failedJobs": 0}


def test_old_versions_of_a_process_are_shown_only_while_they_matter() -> None:
    definitions = [
        statistics("b", 1),
        statistics("a", 1),
        statistics("a", 2, instances=1),
        statistics("a", 3, incidents=4),
        statistics("a", 10),
    ]

    rows = camunda_processes.process_rows(definitions)

    assert [(row["process"], row["version"], row["incidents"]) for row in rows] == [
        ("a", 2, 0),
        ("a", 3, 4),
        ("a", 10, 0),
        ("b", 1, 0),
    ]


@pytest.mark.parametrize(
    ("key", "count", "keys"),
    [(None, 2, [None, None]), ("load", 1, ["load"]), ("load", 3, ["load-1", "load-2", "load-3"])],
)
def test_business_keys_are_numbered_where_there_are_several(
    key: str | None, count: int, keys: list[str | None]
) -> None:
    assert start_process.business_keys(key, count) == keys


def test_variables_are_read_from_the_text_or_a_file(tmp_path: Path) -> None:
    file = tmp_path / "variables.json"
    file.write_text('{"a": 1}', encoding="utf-8")

    assert start_process.read_variables(' {"a": 1}') == start_process.read_variables(str(file)) == {"a": 1}


@pytest.mark.parametrize("text", ["{", "[1]", "/no/such/file", "/", "\0", '{"a": ' * 5000])
def test_variables_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        start_process.read_variables(text)


@pytest.mark.parametrize(
    "command",
    [
        (start_process, "order", "--business-key", "\udcff"),
        (start_process, "\udcff"),
        (start_process, "order", "--variables", r'{"a": "\ud800"}'),
        (camunda_processes, "--instances", "--key", "\udcff"),
    ],
)
def test_half_a_character_is_one_line(
    clean_environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: Any
) -> None:
    for name, value in REQUIRED.items():
        clean_environment.setenv(name, value)
    tool, *arguments = command

    assert tool.main(arguments) == 2
    assert capsys.readouterr().err.endswith("holds half a character, which no text can\n")


def test_failed_tasks_are_grouped_by_topic_and_message() -> None:
    tasks = [
        open_task(id="t1", error_message="down"),
        open_task(id="t2", error_message="down"),
        open_task(id="t3", error_message=None),
        open_task(id="t4", topic="other", error_message="down"),
    ]

    assert retry_incidents.summary(tasks) == [
        {"topic": "send_email", "failed": 2, "message": "down", "for_example": "t1"},
        {"topic": "send_email", "failed": 1, "message": None, "for_example": "t3"},
        {"topic": "other", "failed": 1, "message": "down", "for_example": "t4"},
    ]


class OneTask(Operations):
    """An engine with one task, or none; notes what is freed."""

    def __init__(self, now: TaskState | None) -> None:
        super().__init__(Rest(Http("http://engine", Login(None))))
        self._now = now
        self.freed: list[str] = []

    def task(self, task_id: str) -> TaskState:
        if self._now is None:
            raise Unprocessable("rejected_by_engine", f"External task with id {task_id} does not exist")
        return self._now

    def unlock(self, task_id: str) -> None:
        self.freed.append(task_id)


@pytest.mark.parametrize(
    ("now", "freed"),
    [
        (open_task(**LOCKED), ["t1"]),
        (open_task(**{**LOCKED, "worker_id": "w2"}), []),
        (open_task(**{**LOCKED, "lock_expires_at": NOW + timedelta(minutes=5)}), []),
        (None, []),
    ],
)
def test_a_task_that_changed_while_somebody_was_asked_is_not_freed(
    now: TaskState | None, freed: list[str]
) -> None:
    operations = OneTask(now)

    assert unlock_task.free(operations, open_task(**LOCKED)) is bool(freed)
    assert operations.freed == freed


ROOT = Path(__file__).resolve().parents[2]
TOOLS = [
    file.name for file in sorted(ROOT.glob("tools/*.py")) if "def main(argv" in file.read_text(encoding="utf-8")
]


@pytest.mark.parametrize("readme", ["README.md", "README.ru.md"])
def test_each_tool_is_in_both_readmes(readme: str) -> None:
    text = (ROOT / readme).read_text(encoding="utf-8")

    assert len(TOOLS) >= 7
    assert [tool for tool in TOOLS if f"`python tools/{tool}" not in text] == []
