"""A message that its system rejected: its task fails at once, at a cost where the system had a hand in it."""

import threading
from typing import Any, cast
from unittest.mock import Mock

import pytest
from pika.channel import Channel
from pika.spec import BasicProperties

from bridge.answers import AnswerCalls, Rejections, SideQueues
from bridge.broker import Delivery, Publisher, RejectedReader
from bridge.contract import NamedTask
from bridge.leases import LeaseRules, LeaseTable
from config import RoutingConfig
from tests.unit.fakes import ACCEPTED, GONE, OURS, FakeEngine, FakePublisher, refusal, task_row

BUSY = refusal(503, "busy")


class Desk:
    """What deals with rejected messages, and everything around it."""

    def __init__(self) -> None:
        self.engine = FakeEngine()
        self.publisher = FakePublisher()
        self.stopping = threading.Event()
        self.leases = LeaseTable(LeaseRules(lease_ms=60_000, extend_after_seconds=1.5))
        self.reader = Mock(spec=RejectedReader)
        calls = AnswerCalls(self.engine.client(), RoutingConfig.built_in(600_000), self.leases, [])
        side_queues = SideQueues(cast(Publisher, self.publisher), self.reader, lambda: "bridge")
        self.rejections = Rejections(self.reader, calls, self.leases, side_queues, self.stopping)

    def handle(self, reason: object = "rejected", *, attempt: str = "first", **headers: Any) -> None:
        given = {"task_id": "t1", "attempt": attempt, "x-first-death-reason": reason, **headers}
        channel = Mock(spec=Channel, is_open=True)
        self.rejections.handle(Delivery(channel, 1, b"{}", BasicProperties(headers=given)))

    @property
    def failures(self) -> list[dict[str, Any]]:
        return [request for call, request in self.engine.calls if call == "failure"]


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.setattr("bridge.answers.rejections.AGAIN_SECONDS", 0.0)
    monkeypatch.setattr("bridge.answers.rejections.FREE_AGAIN_SECONDS", 0.0)
    return Desk()


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("rejected", "bitrix24 rejected the message of this task"),
        ("delivery_limit", "bitrix24 gave the message of this task back too often"),
    ],
)
def test_a_rejected_message_costs_its_task_a_retry_and_says_who_did_it(
    desk: Desk, reason: str, words: str
) -> None:
    desk.engine.tasks["t1"] = task_row(retries=2)

    desk.handle(reason, attempt="2")

    (failure,) = desk.failures
    assert (failure["errorMessage"], failure["retries"], failure["workerId"]) == (words, 1, OURS)
    desk.reader.ack.assert_called_once()


def test_what_a_full_queue_dropped_costs_no_retry(desk: Desk) -> None:
    desk.engine.tasks["t1"] = task_row(retries=2)

    desk.handle("maxlen", attempt="2")

    assert [failure["retries"] for failure in desk.failures] == [2]


def test_a_message_that_expired_is_left_to_its_lock(desk: Desk) -> None:
    desk.handle("expired")

    assert not desk.engine.calls
    desk.reader.ack.assert_called_once()


@pytest.mark.parametrize(
    "row", [task_row(retries=1), task_row() | {"workerId": "w2"}, task_row() | {"suspended": True}]
)
def test_a_task_that_waits_for_no_answer_of_this_attempt_is_left_alone(desk: Desk, row: dict[str, Any]) -> None:
    desk.engine.tasks["t1"] = row

    desk.handle()

    assert not desk.failures
    desk.reader.ack.assert_called_once()


def test_a_task_that_is_gone_needs_nothing(desk: Desk) -> None:
    del desk.engine.tasks["t1"]

    desk.handle()

    desk.reader.ack.assert_called_once()


def test_the_message_waits_while_the_engine_does(desk: Desk) -> None:
    desk.engine.replies["failure"] = [BUSY, None, ACCEPTED]

    desk.handle()

    assert len(desk.failures) == 3
    desk.reader.ack.assert_called_once()


def test_a_failure_that_meets_the_end_of_its_task_needs_nothing(desk: Desk) -> None:
    desk.engine.replies["failure"] = [GONE]

    desk.handle()

    desk.reader.ack.assert_called_once()


def test_it_waits_for_an_answer_that_is_being_applied(desk: Desk) -> None:
    with desk.leases.answering(NamedTask("t1"), lambda: None):
        thread = threading.Thread(target=desk.handle)
        thread.start()
        thread.join(0.1)
        assert not desk.failures
    thread.join(5.0)

    assert len(desk.failures) == 1
    desk.reader.ack.assert_called_once()


def test_a_stop_leaves_the_message_for_the_next_process(desk: Desk) -> None:
    desk.stopping.set()

    desk.handle()

    desk.reader.ack.assert_not_called()


@pytest.mark.parametrize(
    "headers",
    [
        {"x-first-death-reason": "of my own"},
        {"x-first-death-reason": None},
        {"x-first-death-reason": ["rejected"]},
        {"task_id": "../t1"},
        {"task_id": 5},
        {"task_id": ""},
    ],
)
def test_what_is_no_task_message_goes_to_the_error_queue(desk: Desk, headers: dict[str, Any]) -> None:
    given = {"task_id": "t1", "attempt": "first", "x-first-death-reason": "rejected", **headers}
    delivery = Delivery(Mock(spec=Channel, is_open=True), 1, b"{}", BasicProperties(headers=given))

    desk.rejections.handle(delivery)

    (copy,) = desk.publisher.published
    assert copy.routing_key == "errors.camunda_tasks"
    assert not desk.failures
