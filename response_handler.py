"""From the answers to the engine: one response, one engine call; acknowledged once the engine has taken it."""

import random
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from queue import SimpleQueue

from loguru import logger

from backoff import Backoff
from camunda_client import Answer, CamundaClient, Verdict
from errors import TaskGone, Unavailable, Unprocessable
from messages import ERROR_EXCHANGE, ERROR_KEY, FIRST_ATTEMPT, Publication, Response, ResponseType
from rabbitmq_client import Delivery, Outcome, Publisher

KEPT_BYTES_OF_TOO_LARGE = 65_536
NO_MESSAGE = "the system reported a failure without a message"


class ResponseHandler:
    """Applies the systems' responses to the engine; `work` is the body of each thread of its pool."""

    def __init__(
        self,
        camunda: CamundaClient,
        deliveries: SimpleQueue[Delivery | None],
        ack: Callable[[Delivery], None],
        errors: Publisher,
        stopping: threading.Event,
        *,
        accepted_worker_ids: Sequence[str],
        retries: int,
        retry_timeout_ms: int,
        lock_ms: int,
        max_message_bytes: int,
    ) -> None:
        self._camunda = camunda
        self._deliveries = deliveries
        self._ack = ack
        self._errors = errors
        self._stopping = stopping
        self._accepted_worker_ids = accepted_worker_ids
        self._retries = retries
        self._retry_timeout_ms = retry_timeout_ms
        self._lock_ms = lock_ms
        self._max_message_bytes = max_message_bytes

    def work(self) -> None:
        """Handle deliveries one by one until a None comes, which is passed on to the next thread."""
        while (delivery := self._deliveries.get()) is not None:
            self.handle(delivery)
        self._deliveries.put(None)

    def handle(self, delivery: Delivery) -> None:
        """Bring one response to the engine or to the error queue, however long it takes; then acknowledge it.

        Left unacknowledged only when stopping: the broker then delivers it again.
        """
        backoff = Backoff(first=0.1)
        while not self._stopping.is_set():
            try:
                self._apply(delivery)
            except _Collision:
                self._stopping.wait(random.uniform(0.005, 0.05))
            except (Unavailable, _NotYet) as error:
                pause = backoff.pause()
                logger.warning("a response waits: {}; next attempt in {:.1f} s", error, pause)
                self._stopping.wait(pause)
            else:
                self._ack(delivery)
                return

    def _apply(self, delivery: Delivery) -> None:
        try:
            response = Response.decode(delivery.body, delivery.correlation_id, self._max_message_bytes)
            answer = self._call_engine(response)
            self._follow(response, answer)
        except TaskGone as error:
            logger.info("task {} is gone: completed or cancelled before", error)
        except Unprocessable as error:
            self._set_aside(delivery, error)

    def _call_engine(self, response: Response) -> Answer:
        worker_id = self._worker_id_of(response)
        match response.response_type:
            case ResponseType.COMPLETE:
                return self._camunda.complete(response.task_id, worker_id, response.typed_variables())
            case ResponseType.FAILURE:
                return self._fail(response, worker_id)
            case ResponseType.BPMN_ERROR:
                return self._camunda.bpmn_error(
                    response.task_id,
                    worker_id,
                    str(response.error_code),
                    response.error_message,
                    response.typed_variables().get("variables"),
                )
            case ResponseType.EXTEND_LOCK:
                lock_ms = response.lock_duration or self._lock_ms
                return self._camunda.extend_lock(response.task_id, worker_id, lock_ms)

    def _worker_id_of(self, response: Response) -> str:
        given = response.worker_id
        if given and any(fnmatchcase(given, pattern) for pattern in self._accepted_worker_ids):
            return given
        return self._camunda.worker_id

    def _fail(self, response: Response, worker_id: str) -> Answer:
        current = self._camunda.retries_of(response.task_id)
        attempt = FIRST_ATTEMPT if current is None else str(current)
        if response.attempt not in (None, attempt):
            raise TaskGone(f"{response.task_id}, attempt {response.attempt}: it is at {attempt} now")
        left = self._retries if current is None else max(0, current - 1)
        timeout = response.retry_timeout
        return self._camunda.failure(
            response.task_id,
            worker_id,
            response.error_message or NO_MESSAGE,
            response.error_details,
            retries=left if response.retries is None else response.retries,
            retry_timeout_ms=self._retry_timeout_ms if timeout is None else timeout,
        )

    def _follow(self, response: Response, answer: Answer) -> None:
        """Do what the engine's verdict asks for; return where the response is done with."""
        logger.debug("{} for task {}: {}", response.response_type, response.task_id, answer.verdict.name)
        is_heartbeat = response.response_type is ResponseType.EXTEND_LOCK
        match answer.verdict:
            case Verdict.ACCEPTED:
                return
            case Verdict.GONE:
                raise TaskGone(response.task_id)
            case Verdict.LOCKED | Verdict.EXPIRED | Verdict.REJECTED if is_heartbeat:
                logger.info("heartbeat for task {} comes too late: {}", response.task_id, answer.detail)
            case Verdict.LOCKED:
                raise Unprocessable("foreign_lock", answer.detail)
            case Verdict.REJECTED | Verdict.EXPIRED | Verdict.UNKNOWN_CALL:
                self._report_rejection(response, answer)
                raise Unprocessable("rejected_by_engine", answer.detail)
            case Verdict.COLLISION:
                raise _Collision
            case _:
                raise _NotYet(f"task {response.task_id}: {answer.verdict.value} ({answer.detail})")

    def _report_rejection(self, response: Response, answer: Answer) -> None:
        """Raise an incident, so that a task whose answer cannot be used does not wait out its lock in silence."""
        self._camunda.failure(
            response.task_id,
            self._worker_id_of(response),
            f"the engine rejected the system's answer: {answer.detail}",
            retries=0,
            retry_timeout_ms=0,
        )

    def _set_aside(self, delivery: Delivery, error: Unprocessable) -> None:
        """Put the message, as it came, into the error queue. Raises Unavailable while the broker refuses it."""
        logger.error("a response goes to the error queue: {}", error)
        outcome = self._errors.publish_and_wait(_dead_letter(delivery, error))
        if outcome is not Outcome.CONFIRMED:
            raise Unavailable(f"the error queue did not take it: {outcome.value}")


class _NotYet(Exception):
    """The engine cannot apply this response now; it will be tried again."""


class _Collision(Exception):
    """Two answers of one process instance met in the engine; the next attempt is likely to succeed."""


def _dead_letter(delivery: Delivery, error: Unprocessable) -> Publication:
    is_too_large = error.reason == "too_large"
    headers = {
        **(delivery.properties.headers or {}),
        "x-error-reason": error.reason,
        "x-error-detail": error.detail[:2000],
        "x-failed-at": datetime.now(UTC).isoformat(timespec="milliseconds"),
    }
    return Publication(
        exchange=ERROR_EXCHANGE,
        routing_key=ERROR_KEY,
        body=delivery.body[:KEPT_BYTES_OF_TOO_LARGE] if is_too_large else delivery.body,
        headers=headers,
        properties={
            "delivery_mode": 2,
            "content_type": delivery.properties.content_type,
            "correlation_id": delivery.correlation_id,
            "message_id": delivery.properties.message_id,
        },
    )


if __name__ == "__main__":
    import sys

    from main import main

    sys.exit(main("response_handler"))
