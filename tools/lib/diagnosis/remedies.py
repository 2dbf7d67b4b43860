"""What to do where a server cannot be used: what fits its error, and nothing else."""

import shlex

from bridge.errors import LoginRefused, Unavailable
from bridge.texts import Said, gettext
from config import Settings

BROKER_AWAY = Said(
    "start RabbitMQ or correct RABBITMQ_HOST and RABBITMQ_PORT; the port is that of AMQP, usually 5672 "
    "(5671 with TLS), not that of the web page"
)
ENGINE_AWAY = Said(
    "start the engine or correct CAMUNDA_BASE_URL (it usually ends in /engine-rest); look for a proxy between"
)
ENGINE_LOGIN = Said(
    "correct CAMUNDA_AUTH_USERNAME and CAMUNDA_AUTH_PASSWORD; after a wrong one Camunda refuses "
    "even the right one for up to a minute, and after ten it may lock the user"
)
PROVIDER = Said("make the identity provider answer, or correct the settings of the token that are named above")
TLS_WORDS = ("TLS", "certificate", "_CA_FILE")


def for_broker(error: Unavailable, settings: Settings) -> str:
    """Return what to do where the broker cannot be used."""
    text, (user, vhost) = (
        str(error),
        map(shlex.quote, (settings.rabbitmq_username, settings.rabbitmq_virtual_host)),
    )
    if "OAUTH" in text:
        return PROVIDER
    if "RABBITMQ_VIRTUAL_HOST" in text:
        return gettext(
            "correct RABBITMQ_VIRTUAL_HOST, or make it: rabbitmqctl add_vhost {vhost}; "
            'rabbitmqctl set_permissions -p {vhost} {user} ".*" ".*" ".*"'
        ).format(vhost=vhost, user=user)
    if isinstance(error, LoginRefused) and settings.rabbitmq_auth == "password":
        return gettext(
            "correct RABBITMQ_USERNAME and RABBITMQ_PASSWORD, or give the user that password: "
            "rabbitmqctl change_password {user}; the user guest may log in on the broker's own machine only"
        ).format(user=user)
    if isinstance(error, LoginRefused):
        return gettext("see in the broker's log why it refused: journalctl -u rabbitmq-server")
    if any(word in text for word in TLS_WORDS):
        return _show_certificate(f"{settings.rabbitmq_host}:{settings.rabbitmq_port}")
    return BROKER_AWAY


def for_engine(error: Unavailable) -> str:
    """Return what to do where the engine cannot be reached."""
    text = str(error)
    if "OAUTH" in text:
        return PROVIDER
    if isinstance(error, LoginRefused):
        return ENGINE_LOGIN
    if "CAMUNDA_PROXY" in text:
        return gettext("correct CAMUNDA_PROXY or the environment's proxy; CAMUNDA_PROXY=none uses no proxy")
    return _show_certificate("HOST:PORT") if any(word in text for word in TLS_WORDS) else ENGINE_AWAY


def _show_certificate(place: str) -> str:
    text = gettext("set what is named above; openssl s_client -connect {place} shows its certificate")
    return text.format(place=place)
