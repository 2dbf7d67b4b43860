"""Which permission a refusal (403) of the broker is about."""

import re
from dataclasses import dataclass
from enum import Enum

from bridge.contract import Publication
from bridge.texts import Said

ACCESS_REFUSED = 403
DEFAULT_EXCHANGE = "amq.default"  # what the permissions call the exchange without a name
_END_OF_LOGIN = "JWT token has expired"
# RabbitMQ names the permission from version 3.13 on; before that it follows from what we were about to do.
_REFUSAL = re.compile(
    r"(?:(?P<right>configure|write|read) )?access to (?:topic '(?P<topic>[^']*)' in )?"
    r"(?P<kind>queue|exchange) '(?P<name>[^']*)' in vhost '(?P<vhost>[^']*)' refused for user '(?P<user>[^']*)'"
)


class Act(Enum):
    """What the broker may refuse."""

    DECLARE = Said("declare")
    LINK = Said("declare and link")  # to the exchange that it passes messages on to
    BIND = Said("bind")
    PUBLISH = Said("publish")
    CONSUME = Said("consume")


KINDS = {"queue": Said("queue"), "exchange": Said("exchange")}


@dataclass(frozen=True, slots=True)
class Refusal:
    """What the broker says that it refuses; `topic` is a routing key, where it refuses that alone."""

    kind: str
    name: str
    topic: str | None
    virtual_host: str
    user: str
    right: str | None

    @classmethod
    def of(cls, text: str) -> "Refusal | None":
        """Return the refusal that the broker's text tells of, None where it tells of none."""
        found = _REFUSAL.search(text)
        if found is None:
            return None
        return cls(found["kind"], found["name"], found["topic"], found["vhost"], found["user"], found["right"])

    def is_of(self, publication: Publication) -> bool:
        """Whether a message with that address meets it."""
        is_same = self.kind == "exchange" and self.name == (publication.exchange or DEFAULT_EXCHANGE)
        return is_same and self.topic in (None, publication.routing_key)


def missing_right(text: str, act: Act, name: str = "") -> Said:
    """Return the broker's refusal as a sentence that names the permission.

    `name`: the exchange or queue that was to be declared, or the exchange that was to be bound to.
    """
    if _END_OF_LOGIN in text:
        return Said(
            "RabbitMQ refuses to let us {act}: our token has ended and is not renewed yet ({text})",
            act=act.value,
            text=text,
        )
    refusal = Refusal.of(text)
    if refusal is None:
        return Said("RabbitMQ refuses to let us {act}: {text}", act=act.value, text=text)
    passive = Said(" or set RABBITMQ_TOPOLOGY=passive") if act in (Act.DECLARE, Act.LINK, Act.BIND) else ""
    return Said(
        "RABBITMQ_USERNAME {user!r} lacks the {right} permission on {kind} {name!r}{topic} "
        "in virtual host {vhost!r} ({text}); grant it (rabbitmqctl set_permissions){passive}",
        user=refusal.user,
        right=refusal.right or _right(refusal, act, name),
        kind=KINDS[refusal.kind],
        name=refusal.name,
        topic=Said(", topic {topic!r}", topic=refusal.topic) if refusal.topic else "",
        vhost=refusal.virtual_host,
        text=text,
        passive=passive,
    )


def _right(refusal: Refusal, act: Act, name: str) -> str:
    """Return the permission that RabbitMQ asks for: to bind takes two, to link three."""
    match act:
        case Act.LINK if refusal.name == (name or refusal.name):
            return Said("configure or read")
        case Act.LINK:
            return "write"
        case Act.DECLARE:
            return "configure" if refusal.name == (name or refusal.name) else "write"
        case Act.BIND:
            return "read" if (refusal.kind, refusal.name) == ("exchange", name) else "write"
        case Act.PUBLISH:
            return "write"
        case Act.CONSUME:
            return "read"
