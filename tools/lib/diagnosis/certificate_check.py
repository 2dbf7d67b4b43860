"""When the certificates end that the connections of the other checks have shown."""

from datetime import UTC, datetime

from bridge import certificates
from bridge.texts import Said, gettext, translated
from tools.lib.diagnosis.finding import Level, Seen

NAMES = {
    "engine": Said("that of the engine"),
    "engine_client": "CAMUNDA_CLIENT_CERT_FILE",
    "broker": Said("that of RabbitMQ"),
    "broker_client": "RABBITMQ_CLIENT_CERT_FILE",
}


def judged_certificates() -> Seen:
    """Judge those that were seen: one that ends soon has to be renewed."""
    ends = certificates.known()
    if not ends:
        return Seen(Level.OK, gettext("no connection has one"))
    names = {whose: translated(NAMES[whose]) for whose in ends}
    line = gettext("{name} ends at {moment:%Y-%m-%d %H:%M} UTC")
    lines = tuple(line.format(name=names[whose], moment=moment) for whose, moment in ends.items())
    soon = [names[whose] for whose, moment in ends.items() if moment - datetime.now(UTC) < certificates.SOON]
    if soon:
        saw = gettext("{some} of {number} end within {days} days: {names}")
        values = {"some": len(soon), "number": len(ends), "days": certificates.SOON.days}
        return Seen(Level.WARNING, saw.format(names=", ".join(soon), **values), gettext("renew them"), lines)
    return Seen(Level.OK, gettext("none of {number} ends soon").format(number=len(ends)), details=lines)
