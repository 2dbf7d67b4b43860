"""What a queue is declared with, by the broker's version."""

import pytest

from bridge.broker import Topology
from bridge.routing import Routing, System

QUORUM = {"x-queue-type": "quorum"}


def arguments(queue: str, version: str, *, queue_type: str = "quorum") -> object:
    topology = Topology.of(Routing([], System("bitrix24", 60_000)), queue_type=queue_type, passive=False)
    (found,) = topology.only(queue)
    return found.arguments_at({"version": version})


@pytest.mark.parametrize("queue", ["camunda.responses.queue", "errors.camunda_tasks.queue"])
def test_on_rabbitmq_4_no_answer_is_dropped_for_coming_back_too_often(queue: str) -> None:
    assert arguments(queue, "4.0.5") == {**QUORUM, "x-delivery-limit": -1}


def test_on_rabbitmq_3_which_has_no_such_limit_none_is_named() -> None:
    assert arguments("camunda.responses.queue", "3.10.8") == QUORUM


def test_the_queues_of_systems_keep_the_limit_that_protects_them_from_poison() -> None:
    assert arguments("bitrix24.queue", "4.0.5") == QUORUM


def test_classic_queues_have_no_arguments_anywhere() -> None:
    assert arguments("camunda.responses.queue", "4.0.5", queue_type="classic") == {}
