"""What a queue is declared with, by the broker's version; and what is wrong where the broker refuses."""

import re

import pytest
from pika.exceptions import ChannelClosedByBroker

from bridge.broker import Topology
from bridge.broker.rights import KINDS, Act
from bridge.broker.topology import trouble_of
from bridge.routing import Routing, System
from bridge.texts import in_language, translated

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


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (
            406,
            "inequivalent arg 'x-queue-type' for queue 'q' in vhost: received 'quorum' but current is 'classic'",
        ),
        (404, "NOT_FOUND - no queue 'q' in vhost '/'"),
        (403, "ACCESS_REFUSED - access to queue 'q' in vhost '/' refused for user 'worker'"),
        (403, "ACCESS_REFUSED - access to topic '1c.x' in exchange 'e' in vhost '/' refused for user 'worker'"),
        (403, "ACCESS_REFUSED - JWT token has expired"),
        (403, "ACCESS_REFUSED - because"),
        (405, "RESOURCE_LOCKED - cannot obtain exclusive access"),
    ],
)
def test_what_is_wrong_with_a_queue_is_russian_but_for_the_brokers_words(code: int, words: str) -> None:
    trouble = trouble_of(KINDS["queue"], "q", ChannelClosedByBroker(code, words), Act.LINK, "q")

    with in_language("ru"):
        told = translated(trouble)

    ours = re.sub(r"rabbitmqctl set_permissions|declare = false", "", told.replace(words, ""))
    assert "очередь 'q'" in ours
    assert re.findall(r"\b[a-z]+ [a-z]+", ours) == []
    assert words in trouble or code == 404
