"""What an operator reads when the broker is away: one sentence in our words, whatever pika raises."""

import pytest
from pika.adapters.utils.connection_workflow import (
    AMQPConnectorAMQPHandshakeError,
    AMQPConnectorSocketConnectError,
    AMQPConnectorStackTimeout,
)
from pika.exceptions import AMQPConnectionError, ProbableAccessDeniedError, ProbableAuthenticationError

from bridge.broker import Broker
from bridge.errors import LoginRefused, Unavailable

REFUSED = ConnectionRefusedError(111, "Connection refused")
SILENT = AMQPConnectorStackTimeout("Timeout during AMQP handshake'127.0.0.1'/(<A")
BROKER = Broker("broker.example", 5672, "tasks", "worker", lambda: "secret")
PLACE = "RabbitMQ at broker.example:5672"


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (
            AMQPConnectorAMQPHandshakeError(
                AMQPConnectorStackTimeout("Timeout during AMQP handshake'127.0.0.1'/(<A")
            ),
            "took the connection and did not answer within 6 s",
        ),
        (
            AMQPConnectionError(AMQPConnectorSocketConnectError(REFUSED)),
            "[Errno 111] Connection refused",
        ),
        (TimeoutError("timed out"), "timed out"),
    ],
)
def test_a_broker_that_is_away_is_told_by_its_innermost_reason(error: Exception, text: str) -> None:
    told = BROKER.trouble(error)

    assert type(told) is Unavailable
    assert str(told) == f"{PLACE} (RABBITMQ_HOST, RABBITMQ_PORT) cannot be reached or went away: {text}"


def test_a_refused_password_names_the_settings_and_no_secret() -> None:
    told = BROKER.trouble(ProbableAuthenticationError("ACCESS_REFUSED - Login was refused"))

    assert isinstance(told, LoginRefused)
    assert str(told) == f"{PLACE} refuses the login: check RABBITMQ_USERNAME 'worker' and RABBITMQ_PASSWORD"


def test_a_refused_virtual_host_is_named() -> None:
    told = BROKER.trouble(ProbableAccessDeniedError("access to vhost 'tasks' refused"))

    assert isinstance(told, LoginRefused)
    assert "RABBITMQ_VIRTUAL_HOST 'tasks'" in str(told)
