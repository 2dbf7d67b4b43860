"""What is counted, where it happens."""

import time
import tomllib
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from prometheus_client import REGISTRY

from bridge import metrics
from bridge.broker import Broker, Outcome, QueueWatch, Topology
from bridge.broker.connection import BrokerConnection, ChannelUser
from bridge.contract import Response
from bridge.errors import REASONS
from bridge.routing import Routing, System
from tests.unit import fakes
from tests.unit.conftest import Rise, value
from tests.unit.fakes import delivery, external_task, task_row
from tests.unit.test_answer_policy import Desk, complete, heartbeat
from tests.unit.test_camunda_worker import Bench
from tests.unit.test_leases import BITRIX, House

ROOT = Path(__file__).resolve().parents[2]
BOUNDED = {
    "system", "topic", "result", "type", "outcome", "reason", "connection", "whose", "call",
    "op", "le", "version", "python",
}  # fmt: skip
TOPIC = "bitrix_create_task"


def test_the_version_is_that_of_the_project() -> None:
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == metrics.VERSION


def test_no_metric_of_ours_has_a_label_without_a_bound() -> None:
    metrics.begin_at_zero(["bitrix24"])
    metrics.certificate_ends("engine")
    ours = [metric for metric in REGISTRY.collect() if metric.name.startswith("camunda_worker_")]

    labels = {label for metric in ours for sample in metric.samples for label in sample.labels}

    assert len(ours) >= 10
    assert labels <= BOUNDED


def test_a_topic_costs_few_series() -> None:
    metrics.begin_at_zero(["bitrix24"])
    before = _series()

    for number in range(300):
        topic = f"topic_{number}"
        metrics.fetched("bitrix24", topic).inc()
        metrics.round_trip("bitrix24").observe(1)
        for result in ("complete", "failure", "bpmn_error"):
            metrics.task_results("bitrix24", topic, result).inc()

    assert _series() - before <= 4 * 300 + 20


def _series() -> int:
    return sum(len(metric.samples) for metric in REGISTRY.collect() if metric.name.startswith("camunda_worker_"))


def test_what_alerts_look_at_is_there_before_it_happens() -> None:
    metrics.begin_at_zero(["newcomer"])

    assert REGISTRY.get_sample_value("camunda_worker_no_answers_total", {"system": "newcomer"}) == 0
    published = {"system": "newcomer", "result": "returned"}
    assert REGISTRY.get_sample_value("camunda_worker_tasks_published_total", published) == 0


def test_a_batch_is_counted_by_topic_and_by_what_became_of_its_messages(rise: Rise) -> None:
    bench = Bench()
    bench.offer(task_row("t1"), task_row("t2"), task_row("t3", topic="other"))
    bench.publisher.outcomes = [Outcome.CONFIRMED, Outcome.RETURNED, Outcome.CONFIRMED]
    began = time.time()

    bench.worker.turn()

    assert rise("tasks_fetched_total", system="bitrix24", topic=TOPIC) == 2
    assert rise("tasks_fetched_total", system="default", topic="other") == 1
    assert rise("tasks_published_total", system="bitrix24", result="confirmed") == 1
    assert rise("tasks_published_total", system="bitrix24", result="returned") == 1
    assert rise("tasks_published_total", system="default", result="confirmed") == 1
    assert rise("confirm_seconds_count") == 1
    for op in ("fetch", "publish"):
        assert began <= value("last_success_timestamp_seconds", op=op) <= time.time()


def test_a_task_that_no_message_can_carry_is_counted(rise: Rise) -> None:
    bench = Bench()
    bench.offer(task_row() | {"variables": {"scan": {"value": "x" * 20_000, "type": "String"}}})

    bench.worker.turn()

    assert rise("tasks_published_total", system="bitrix24", result="unpublishable") == 1


def test_a_lease_that_is_nearly_over_counts_as_lapsed(rise: Rise) -> None:
    Bench().held_tasks.hold_all([external_task()], time.monotonic() - 55)

    assert rise("leases_lapsed_total", system="bitrix24") == 1


def test_an_unknown_fate_of_a_task_that_is_not_ours_any_more_counts_as_lapsed(rise: Rise) -> None:
    bench = Bench()
    bench.offer(task_row())
    bench.publisher.outcomes = [Outcome.UNKNOWN]
    bench.worker.turn()
    bench.nothing_more()
    bench.engine.tasks.clear()

    bench.worker.turn()

    assert rise("tasks_published_total", system="bitrix24", result="unknown") == 1
    assert rise("leases_lapsed_total", system="bitrix24") == 1


def test_an_extended_lease_is_counted(rise: Rise) -> None:
    house = House()
    house.publish()
    began = time.time()

    house.keeper.tick()

    assert rise("leases_extended_total", system="bitrix24") == 1
    assert began <= value("last_success_timestamp_seconds", op="extend") <= time.time()


def test_a_lease_that_had_ended_and_is_locked_again_counts_as_lapsed(rise: Rise) -> None:
    house = House()
    house.engine.replies["extendLock"] = [fakes.EXPIRED]
    house.publish(fetched_ago=60.0)

    house.keeper.tick()

    assert rise("leases_lapsed_total", system="bitrix24") == 1
    assert rise("leases_extended_total", system="bitrix24") == 1


def test_a_silent_system_is_counted(rise: Rise) -> None:
    house = House()
    house.extended()
    house.was_taken()
    house.answers_were_read()
    house.keeper.tick()
    house.table.plan(house.table.all()[0], 0.0)

    house.keeper.tick()

    assert house.table.all() == []
    assert rise("no_answers_total", system="bitrix24") == 1


@pytest.mark.parametrize("kind", ["complete", "failure", "bpmn_error"])
def test_what_systems_report_is_counted_by_system_and_topic(rise: Rise, kind: str) -> None:
    desk = Desk()
    desk.leases.add(external_task(), System("bitrix24", 600_000), time.monotonic())
    body = {"task_id": "t1", "response_type": kind, "error_code": "E", "error_message": "no"}

    desk.take(delivery(body))

    assert rise("task_results_total", system="bitrix24", topic="bitrix_create_task", result=kind) == 1


@pytest.mark.parametrize(
    ("body", "replies", "kind", "outcome"),
    [
        (complete(), {}, "complete", "applied"),
        (complete(), {"complete": [fakes.GONE]}, "complete", "gone"),
        (complete(), {"complete": [fakes.TROUBLE]}, "complete", "delayed"),
        (complete(), {"complete": [fakes.BAD_TYPE]}, "complete", "error_queue"),
        (complete(), {"complete": [fakes.LOCKED_BY_OTHER]}, "complete", "error_queue"),
        (complete(), {"complete": [fakes.LOCKED_BY_NOBODY], "t1": [fakes.GONE]}, "complete", "gone"),
        (heartbeat(), {}, "extend_lock", "applied"),
        (heartbeat(), {"extendLock": [fakes.EXPIRED]}, "extend_lock", "applied"),
        (heartbeat(), {"extendLock": [fakes.SUSPENDED]}, "extend_lock", "ignored"),
        (b"no JSON", {}, "unknown", "error_queue"),
    ],
)
def test_a_response_is_counted_once_by_type_and_outcome(
    rise: Rise, body: object, replies: dict[str, list[Any]], kind: str, outcome: str
) -> None:
    desk = Desk()
    desk.engine.replies.update(replies)
    outcomes = ("applied", "gone", "delayed", "ignored", "error_queue")

    desk.take(delivery(body))

    counted = {name: rise("responses_total", type=kind, outcome=name) for name in outcomes}
    assert counted == {name: float(name == outcome) for name in outcomes}


def test_a_response_whose_sender_cannot_be_checked_any_more_counts_as_gone(rise: Rise) -> None:
    desk = Desk(require_user_id=True)
    desk.engine.tasks.clear()

    desk.take(delivery(complete()))

    assert rise("responses_total", type="unknown", outcome="gone") == 1


def test_when_an_answer_was_last_applied_is_known() -> None:
    began = time.time()

    Desk().take(delivery(complete()))

    assert began <= value("last_success_timestamp_seconds", op="apply") <= time.time()


def test_a_connection_that_comes_back_is_counted_and_the_first_one_is_not(rise: Rise) -> None:
    topology = Topology.of(Routing([System("1c", 60_000)], BITRIX), queue_type="classic", passive=False)
    broker = Broker("127.0.0.1", 9, "/", "user", str)
    connection = BrokerConnection(broker, topology, Mock(spec=ChannelUser), QueueWatch([]), name="us detours")

    connection._on_channel_open(Mock())
    assert rise("reconnects_total", connection="detours") == 0
    connection._on_channel_open(Mock())

    assert rise("reconnects_total", connection="detours") == 1


def test_a_dead_letter_is_counted_by_its_reason(rise: Rise) -> None:
    desk = Desk()

    desk.take(delivery(b"no JSON"))

    assert desk.dead_letter_reason == "invalid"
    assert rise("dead_letters_total", reason="invalid") == 1


def test_the_round_trip_of_an_answered_task_is_measured(rise: Rise) -> None:
    desk = Desk()
    desk.leases.add(external_task(), BITRIX, time.monotonic())
    desk.leases.published(["t1"])
    desk.leases.all()[0].published_at -= 7

    desk.take(delivery(complete()))

    assert rise("round_trip_seconds_count", system=BITRIX.name) == 1
    assert 7 <= rise("round_trip_seconds_sum", system=BITRIX.name) < 8
    assert rise("apply_seconds_count") == 1


def test_an_answer_faster_than_its_confirm_took_no_time(rise: Rise) -> None:
    desk = Desk()
    desk.leases.add(external_task(), BITRIX, time.monotonic())

    desk.take(delivery(complete()))

    assert rise("round_trip_seconds_count", system=BITRIX.name) == 1
    assert rise("round_trip_seconds_sum", system=BITRIX.name) == 0


def test_a_task_that_an_earlier_process_published_has_no_round_trip(rise: Rise) -> None:
    desk = Desk()
    [state] = desk.engine.client().read_tasks(["t1"]).values()
    desk.leases.add_locked(state, BITRIX)

    desk.take(delivery(complete()))

    assert desk.leases.all() == []
    assert rise("round_trip_seconds_count", system=BITRIX.name) == 0


@pytest.mark.parametrize("reason", REASONS)
def test_each_reason_known_beforehand_is_one_that_the_product_gives(reason: str) -> None:
    product = [*ROOT.glob("*.py"), *ROOT.glob("bridge/**/*.py")]
    texts = [file.read_text(encoding="utf-8") for file in product if file.name != "metrics.py"]

    assert any(f'"{reason}"' in text for text in texts)


def test_the_type_of_a_response_is_its_word() -> None:
    response = Response.model_validate({"task_id": "t1", "response_type": "complete"})

    assert str(response.response_type) == "complete"
