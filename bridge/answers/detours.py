"""Copies of responses that go elsewhere: into a delay tier, or to the error queue with a reason."""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from bridge.broker import Delivery, copied, sendable
from bridge.contract import ERROR_EXCHANGE, ERROR_KEY, Publication
from bridge.errors import Reason

ATTEMPTS = "x-attempts"
SENDER_USER_ID = "x-sender-user-id"
SENDER_EXPIRATION = "x-sender-expiration"
BROKERS_OWN = ("x-death", "x-first-death-", "x-last-death-")
KEPT_BYTES_OF_TOO_LARGE = 65_536
# All properties of a message go in one frame, and the broker ends a connection whose frame is too large.
MOST_BYTES_OF_HEADERS = 65_536
MOST_ATTEMPTS = 100


@dataclass(frozen=True, slots=True)
class Detours:
    """Makes the copies; `username` is our own name at the broker, which it checks against `user_id`."""

    username: str

    def attempts(self, delivery: Delivery) -> int:
        """Return how often this response has failed before; only our own copies are believed."""
        count = (delivery.properties.headers or {}).get(ATTEMPTS)
        if not isinstance(count, int) or isinstance(count, bool) or not self.is_our_copy(delivery):
            return 0
        # A system that shares our login at the broker may write what it likes there.
        return count if 0 <= count <= MOST_ATTEMPTS else 0

    def sender(self, delivery: Delivery) -> str | None:
        """Return the broker-checked user who sent the response, also behind our own copy."""
        if self.is_our_copy(delivery):
            sender = (delivery.properties.headers or {}).get(SENDER_USER_ID)
            return sender if isinstance(sender, str) else None
        return delivery.properties.user_id

    def is_our_copy(self, delivery: Delivery) -> bool:
        """Whether it is a copy that we have published, and no partner."""
        is_ours = delivery.properties.user_id == self.username
        return is_ours and ATTEMPTS in (delivery.properties.headers or {})

    def delayed(self, delivery: Delivery, queue: str, attempts: int) -> Publication:
        """Return the copy for a delay tier, which leads back to the response queue."""
        headers = self._headers(delivery) | {ATTEMPTS: attempts}
        return Publication("", queue, delivery.body, headers, self._properties(delivery))

    def dead_letter(
        self, delivery: Delivery, reason: Reason, detail: str, *, task_id: str | None, topic: str | None
    ) -> Publication:
        """Return the copy for the error queue: the body as it came, and why it is there."""
        body = delivery.body
        headers = self._headers(delivery) | {
            ATTEMPTS: self.attempts(delivery),
            "x-error-reason": reason,
            "x-error-detail": detail[:2000].encode("utf-8", "replace").decode(),
            "x-failed-at": datetime.now(UTC).isoformat(timespec="milliseconds"),
        }
        headers |= {name: value for name, value in (("x-task-id", task_id), ("x-topic", topic)) if value}
        if reason == "too_large":
            headers |= {"x-size": len(body), "x-sha256": hashlib.sha256(body).hexdigest()}
            body = body[:KEPT_BYTES_OF_TOO_LARGE]
        return Publication(ERROR_EXCHANGE, ERROR_KEY, body, headers, self._properties(delivery))

    def _headers(self, delivery: Delivery) -> dict[str, Any]:
        given = delivery.properties.headers or {}
        names = (name for name in given if isinstance(name, str) and not name.startswith(BROKERS_OWN))
        headers = sendable({name: given[name] for name in names}, MOST_BYTES_OF_HEADERS)
        if not self.is_our_copy(delivery):
            headers.pop(ATTEMPTS, None)
            # The broker closes the channel of whoever sends another's user id, and an expiration of the
            # sender's would make the copy vanish.
            for name, value in (
                (SENDER_USER_ID, delivery.properties.user_id),
                (SENDER_EXPIRATION, delivery.properties.expiration),
            ):
                headers.pop(name, None)
                if value is not None:
                    headers[name] = value
        return headers

    def _properties(self, delivery: Delivery) -> dict[str, Any]:
        return {**copied(delivery.properties), "user_id": self.username}
