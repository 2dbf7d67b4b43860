"""Where responses go that cannot be applied now: into a delay tier, or to the error queue with a reason."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

from loguru import logger

from bridge import clock, metrics
from bridge.broker import (
    ERROR_QUEUE,
    KEPT_BYTES,
    RETRY_TIERS,
    Delivery,
    Outcome,
    Publisher,
    copied,
    retry_queue,
    sendable,
)
from bridge.contract import ERROR_EXCHANGE, ERROR_KEY, Publication, Response
from bridge.errors import Unprocessable

ATTEMPTS = "x-attempts"
SENDER_USER_ID = "x-sender-user-id"
SENDER_EXPIRATION = "x-sender-expiration"
BROKERS_OWN = ("x-death", "x-first-death-", "x-last-death-")
# All properties of a message go in one frame, and the broker ends a connection whose frame is too large.
MOST_BYTES_OF_HEADERS = 65_536
MOST_ATTEMPTS = 100
TIERS = tuple(RETRY_TIERS)
SECOND_TIER, SLOW_TIER = TIERS[1], TIERS[-1]
PARKED_SECONDS = 2.0
COPIES_AT_STOP_SECONDS = 5.0
UNKNOWN = "unknown"  # the type of a response that cannot be read


def tier_of(seconds: float, *, at_least: str) -> str:
    """Return the first tier from `at_least` on that lasts that long, the last one where none does."""
    longer = TIERS[TIERS.index(at_least) :]
    return next((tier for tier in longer if RETRY_TIERS[tier] >= 1000 * seconds), SLOW_TIER)


class Originals(Protocol):
    """Where responses come from."""

    def ack(self, delivery: Delivery) -> None:
        """Acknowledge a response: it is safe."""

    def deliver_again(self, delivery: Delivery, seconds: float) -> None:
        """Hand a response out again after a while, which no thread waits for."""


class SideQueues:
    """Publishes copies of responses; an original is acknowledged only once a queue has its copy for certain.

    `user_id` returns our name at the broker, which compares it with a message's. May be used from any thread.
    """

    def __init__(self, publisher: Publisher, originals: Originals, user_id: Callable[[], str]) -> None:
        self._publisher = publisher
        self._originals = originals
        self._user_id = user_id
        self._copies_out: set[Delivery] = set()

    def delay(self, delivery: Delivery, response: Response, tier: str, attempts: int) -> None:
        """Let a response come again after the time of a delay tier, as one that has failed so often."""

        def on_moved() -> None:
            metrics.responses(response.response_type, "delayed").inc()
            logger.warning("the answer for task {} is tried again in {}", response.task_id, tier)

        self._move(delivery, self._delayed(delivery, tier, attempts), on_moved)

    def set_aside(
        self,
        delivery: Delivery,
        error: Unprocessable,
        *,
        task_id: str | None,
        topic: str | None,
        response_type: str = UNKNOWN,
    ) -> None:
        """Move a response to the error queue; whose answer it is, and of which type, as far as that is known."""

        def on_moved() -> None:
            metrics.dead_letters(error.reason).inc()
            metrics.responses(response_type, "error_queue").inc()
            logger.error("a response went to the error queue: {}", error)

        copy = self._dead_letter(delivery, error, task_id, topic)
        self._move(delivery, copy, on_moved, on_refused=lambda: self._set_aside_later(delivery, error))

    def ack(self, delivery: Delivery) -> None:
        """Acknowledge a response that needs no copy."""
        self._originals.ack(delivery)

    def park(self, delivery: Delivery, reason: object) -> None:
        """Let a response wait in this process for a moment, without a copy and without a thread."""
        logger.warning("a response waits: {}", reason)
        self._originals.deliver_again(delivery, PARKED_SECONDS)

    def wait_for_copies(self) -> None:
        """At a stop: let the broker confirm the copies that are out, so that their originals are acknowledged."""
        ends, pause = clock.now() + COPIES_AT_STOP_SECONDS, clock.Event()
        while self._copies_out and clock.now() < ends:
            pause.wait(0.05)

    def _set_aside_later(self, delivery: Delivery, error: Unprocessable) -> None:
        """Let a response that the error queue does not take wait where it keeps no other from being delivered."""
        copy = self._delayed(delivery, SLOW_TIER, self.attempts(delivery))
        reason = f"{ERROR_QUEUE} takes nothing; a response is set aside in {SLOW_TIER}: {error}"
        self._move(delivery, copy, lambda: logger.error("{}", reason))

    def _move(
        self,
        delivery: Delivery,
        copy: Publication,
        on_moved: Callable[[], None],
        *,
        on_refused: Callable[[], None] | None = None,
    ) -> None:
        """Publish a copy; only once a queue has it for certain the original is acknowledged."""
        self._copies_out.add(delivery)

        def on_outcomes(outcomes: Sequence[Outcome]) -> None:
            self._copies_out.discard(delivery)
            if outcomes[0] is Outcome.CONFIRMED:
                on_moved()
                self._originals.ack(delivery)
            elif on_refused and outcomes[0] in (Outcome.REFUSED, Outcome.RETURNED):
                on_refused()
            else:
                self.park(delivery, f"its copy for {copy.routing_key} is not safe: {outcomes[0].value}")

        self._publisher.publish([copy], on_outcomes)

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
        is_ours = delivery.properties.user_id == self._user_id()
        return is_ours and ATTEMPTS in (delivery.properties.headers or {})

    def _delayed(self, delivery: Delivery, tier: str, attempts: int) -> Publication:
        """Return the copy for a delay tier, which leads back to the response queue."""
        headers = self._headers(delivery) | {ATTEMPTS: attempts}
        return Publication("", retry_queue(tier), delivery.body, headers, self._properties(delivery))

    def _dead_letter(
        self, delivery: Delivery, error: Unprocessable, task_id: str | None, topic: str | None
    ) -> Publication:
        """Return the copy for the error queue: the body as it came, and why it is there."""
        body = delivery.body
        headers = self._headers(delivery) | {
            ATTEMPTS: self.attempts(delivery),
            "x-error-reason": error.reason,
            "x-error-detail": error.detail[:2000].encode("utf-8", "replace").decode(),
            "x-failed-at": datetime.now(UTC).isoformat(timespec="milliseconds"),
        }
        headers |= {name: value for name, value in (("x-task-id", task_id), ("x-topic", topic)) if value}
        if error.reason == "too_large":
            headers |= {"x-size": delivery.size, "x-sha256": delivery.sha256}
            body = body[:KEPT_BYTES]
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
        return {**copied(delivery.properties), "user_id": self._user_id()}
