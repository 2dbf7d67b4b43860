"""Which permission a refusal of the broker is about, whether its version says so or not."""

import pytest

from bridge.broker.rights import Act, Refusal, missing_right
from bridge.contract import TASK_EXCHANGE, Publication

TASKS = f"exchange '{TASK_EXCHANGE}'"


def refused(thing: str, right: str = "") -> str:
    return f"ACCESS_REFUSED - {right}access to {thing} in vhost 'tasks' refused for user 'worker'"


@pytest.mark.parametrize(
    ("act", "name", "thing", "right"),
    [
        (Act.DECLARE, "1c.queue", "queue '1c.queue'", "configure"),
        (Act.DECLARE, TASK_EXCHANGE, TASKS, "configure"),
        (Act.LINK, "camunda.responses.retry.5s", "exchange 'amq.default'", "write"),
        (Act.LINK, TASK_EXCHANGE, TASKS, "configure or read"),
        (Act.BIND, TASK_EXCHANGE, TASKS, "read"),
        (Act.BIND, TASK_EXCHANGE, "queue '1c.queue'", "write"),
        (Act.BIND, TASK_EXCHANGE, "exchange 'camunda.claimed.tasks'", "write"),
        (Act.PUBLISH, "", TASKS, "write"),
        (Act.CONSUME, "", "queue 'camunda.responses.queue'", "read"),
    ],
)
def test_the_permission_follows_from_what_we_were_about_to_do(act: Act, name: str, thing: str, right: str) -> None:
    told = missing_right(refused(thing), act, name)

    assert told.startswith(f"RABBITMQ_USERNAME 'worker' lacks the {right} permission on {thing} in virtual host ")
    assert refused(thing) in told


def test_a_broker_that_names_the_permission_is_believed() -> None:
    told = missing_right(refused("queue '1c.queue'", "read "), Act.DECLARE, "1c.queue")

    assert "lacks the read permission on queue '1c.queue'" in told


def test_a_topic_that_is_refused_is_named() -> None:
    told = missing_right(refused(f"topic '1c.x' in {TASKS}"), Act.PUBLISH)

    assert f"lacks the write permission on {TASKS}, topic '1c.x'" in told


def test_other_words_are_passed_on() -> None:
    assert missing_right("ACCESS_REFUSED - because", Act.CONSUME).endswith("consume: ACCESS_REFUSED - because")


@pytest.mark.parametrize(
    ("thing", "exchange", "key", "fits"),
    [
        (TASKS, TASK_EXCHANGE, "1c.x", True),
        (TASKS, "camunda.errors", "1c.x", False),
        ("exchange 'amq.default'", "", "1c.queue", True),
        (f"topic '1c.x' in {TASKS}", TASK_EXCHANGE, "1c.x", True),
        (f"topic '1c.x' in {TASKS}", TASK_EXCHANGE, "1c.y", False),
        ("queue '1c.queue'", "", "1c.queue", False),
    ],
)
def test_a_refusal_fits_the_messages_with_that_address(thing: str, exchange: str, key: str, fits: bool) -> None:
    refusal = Refusal.of(refused(thing))

    assert refusal is not None
    assert refusal.is_of(Publication(exchange, key, b"", {}, {})) is fits


def test_a_token_that_has_ended_is_no_missing_right() -> None:
    words = refused("queue 'camunda.responses.queue'") + "; Provided JWT token has expired at timestamp 1"

    told = missing_right(words, Act.DECLARE)

    assert "our token has ended and is not renewed yet" in told
    assert "set_permissions" not in told
