"""When the certificates end that the connections of the other checks have shown."""

from datetime import UTC, datetime

from bridge import certificates
from tools.lib.diagnosis.finding import Level, Seen

NAMES = {
    "engine": "that of the engine",
    "engine_client": "CAMUNDA_CLIENT_CERT_FILE",
    "broker": "that of RabbitMQ",
    "broker_client": "RABBITMQ_CLIENT_CERT_FILE",
}


def judged_certificates() -> Seen:
    """Judge those that were seen: one that ends soon has to be renewed."""
    ends = certificates.known()
    if not ends:
        return Seen(Level.OK, "no connection has one")
    lines = tuple(f"{NAMES[whose]} ends at {moment:%Y-%m-%d %H:%M} UTC" for whose, moment in ends.items())
    soon = [NAMES[whose] for whose, moment in ends.items() if moment - datetime.now(UTC) < certificates.SOON]
    if soon:
        days = f"within {certificates.SOON.days} days"
        return Seen(
            Level.WARNING, f"{len(soon)} of {len(ends)} end {days}: {', '.join(soon)}", "renew them", lines
        )
    return Seen(Level.OK, f"none of {len(ends)} ends soon", details=lines)
