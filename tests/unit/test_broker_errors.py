"""What an operator reads when the broker is away: one sentence in our words, whatever pika raises."""

from dataclasses import replace

import pytest
from pika.adapters.utils.connection_workflow import (
    AMQPConnectorAMQPHandshakeError,
    AMQPConnectorSocketConnectError,
    AMQPConnectorStackTimeout,
)
from pika.exceptions import (
    AMQPConnectionError,
    ChannelClosedByBroker,
    ProbableAccessDeniedError,
    ProbableAuthenticationError,
    StreamLostError,
)

from bridge.broker import Broker
from bridge.broker.rights import Act
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


def test_a_refused_password_is_to_be_corrected_where_it_stands() -> None:
    told = replace(BROKER, password_place="/etc/file").trouble(ProbableAuthenticationError("refused"))

    assert str(told).endswith("check RABBITMQ_USERNAME 'worker' and /etc/file")


@pytest.mark.parametrize("stage", [ProbableAuthenticationError, ProbableAccessDeniedError])
def test_a_connection_that_just_ends_during_the_login_is_no_refusal(stage: type[AMQPConnectionError]) -> None:
    told = BROKER.trouble(stage(repr(StreamLostError("Transport indicated EOF"))))

    assert type(told) is Unavailable
    assert str(told) == f"{PLACE} ended the connection while we logged in, and said nothing of the login"


def test_a_refused_virtual_host_is_named() -> None:
    told = BROKER.trouble(ProbableAccessDeniedError("access to vhost 'tasks' refused"))

    assert isinstance(told, LoginRefused)
    assert "RABBITMQ_VIRTUAL_HOST 'tasks'" in str(told)


class DueTokens:
    """Tokens of which none is good now."""

    def __call__(self) -> str:
        raise Unavailable("no token")

    def known(self) -> str | None:
        return None

    def forget(self) -> None:
        """There is nothing to forget."""


def test_a_token_that_is_due_is_blamed_for_a_refusal_and_for_nothing_else() -> None:
    broker = Broker("broker.example", 5672, "tasks", "worker", str, tokens=DueTokens())
    refusal = ChannelClosedByBroker(
        403, "ACCESS_REFUSED - access to exchange 'x' in vhost '/' refused for user 'u'"
    )

    assert "Connection refused" in str(broker.trouble(REFUSED, Act.PUBLISH))
    assert "refuses the login" in str(broker.trouble(ProbableAuthenticationError("refused")))
    assert "our token has ended" in str(broker.trouble(refusal, Act.PUBLISH))
