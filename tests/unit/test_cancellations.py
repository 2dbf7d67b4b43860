"""Which of the tasks that are gone were cancelled, and what becomes of the message that says so."""

import json
import threading
import time
from typing import cast

import pytest

from bridge.broker import Outcome, Publisher
from bridge.contract import ExternalTask
from bridge.engine import Reply
from bridge.leases import Cancellations, LeaseRules, LeaseTable
from bridge.routing import System
from tests.unit.fakes import OURS, FakeEngine, refusal, task_row
from tests.unit.test_camunda_worker import BatchPublisher

CRM = System("crm", 600_000, ("crm_sync",), tells_cancelled=True)
OTHER = System("other", 600_000)


class Desk:
    """Cancellations with everything around them."""

    def __init__(self) -> None:
        self.engine = FakeEngine()
        self.publisher = BatchPublisher()
        self.table = LeaseTable(LeaseRules(lease_ms=60_000, extend_after_seconds=1.5))
        self.cancellations = Cancellations(
            self.engine.client(), self.table, cast(Publisher, self.publisher), threading.Event()
        )

    def lose(self, *task_ids: str, system: System = CRM) -> None:
        """Let tasks be gone at the engine."""
        for task_id in task_ids:
            row = task_row(task_id) | {"activityInstanceId": f"a-{task_id}"}
            self.table.add(ExternalTask.from_engine(row), system, time.monotonic())
        for lease in self.table.all():
            self.table.drop_gone(lease)

    def history(self, *, canceled: bool) -> Reply:
        return Reply(200, json.dumps({"canceled": canceled}).encode())

    @property
    def told(self) -> list[str]:
        return [message.headers["task_id"] for batch in self.publisher.batches for message in batch]


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_only_what_history_calls_cancelled_is_told(desk: Desk) -> None:
    desk.lose("t1", "t2", "t3")
    desk.engine.replies["a-t1"] = [desk.history(canceled=False)]
    desk.engine.replies["a-t2"] = [desk.history(canceled=True)]
    desk.engine.replies["a-t3"] = [refusal(404, "no history")]

    desk.cancellations.tick()

    assert desk.told == ["t2"]
    (message,) = desk.publisher.batches[0]
    assert (message.exchange, message.routing_key) == ("", "crm.cancelled")
    assert message.headers["worker_id"] == OURS


def test_systems_that_do_not_want_it_cost_the_engine_no_call(desk: Desk) -> None:
    desk.lose("t1", system=OTHER)

    desk.cancellations.tick()

    assert not desk.engine.calls


def test_while_the_engine_is_away_nothing_is_forgotten(desk: Desk) -> None:
    desk.lose("t1", "t2")
    desk.engine.replies["a-t1"] = [desk.history(canceled=True)]
    desk.engine.replies["a-t2"] = [None, desk.history(canceled=True)]

    desk.cancellations.tick()
    desk.cancellations.tick()

    assert desk.told == ["t1", "t2"]


@pytest.mark.parametrize(("outcome", "times"), [(Outcome.UNSENT, 2), (Outcome.UNKNOWN, 2), (Outcome.RETURNED, 1)])
def test_a_message_that_never_left_is_sent_again(desk: Desk, outcome: Outcome, times: int) -> None:
    desk.lose("t1")
    desk.engine.replies["a-t1"] = [desk.history(canceled=True)] * 2
    desk.publisher.outcomes = [outcome]

    desk.cancellations.tick()
    desk.cancellations.tick()

    assert desk.told == ["t1"] * times
