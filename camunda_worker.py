"""From the engine to the queues: fetch and lock, route, publish; one batch per turn."""

import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue

from loguru import logger

from backoff import Backoff
from camunda_client import CamundaClient
from config import RoutingConfig
from errors import Unavailable, Unprocessable
from messages import ExternalTask, Publication, task_message
from monitoring import Statistics
from rabbitmq_client import Outcome, Publisher
from topics import Topics

UNCONFIRMED_BATCHES = 4  # fetching goes on while the broker writes the last batches to its disk
CONFIRM_SECONDS_AT_STOP = 10.0
NOT_DELIVERED = (Outcome.RETURNED, Outcome.REFUSED, Outcome.UNSENT)


@dataclass(frozen=True, slots=True)
class _Held:
    """A task locked by us, and its message on the way to a queue; `deadline` on the monotonic clock."""

    task: ExternalTask
    system: str
    publication: Publication
    deadline: float


class CamundaWorker:
    """Takes all external tasks it serves from the engine and publishes each to its system's queue."""

    def __init__(
        self,
        camunda: CamundaClient,
        publisher: Publisher,
        routing: RoutingConfig,
        topics: Topics,
        statistics: Statistics,
        stopping: threading.Event,
        *,
        max_tasks: int,
        wait_ms: int,
        retries: int,
        retry_timeout_ms: int,
        max_message_bytes: int,
    ) -> None:
        self._camunda = camunda
        self._publisher = publisher
        self._routing = routing
        self._topics = topics
        self._statistics = statistics
        self._stopping = stopping
        self._max_tasks = max_tasks
        self._wait_ms = wait_ms
        self._retries = retries
        self._retry_timeout_ms = retry_timeout_ms
        self._max_message_bytes = max_message_bytes
        self._backoff = Backoff()
        self._troubled: SimpleQueue[tuple[_Held, Outcome]] = SimpleQueue()
        self._window = threading.BoundedSemaphore(UNCONFIRMED_BATCHES)

    def run(self) -> None:
        """Take turns until stopping; then bring what is in hand to a safe end."""
        while not self._stopping.is_set():
            try:
                self.turn()
                self._backoff.reset()
            except Unavailable as error:
                pause = self._backoff.pause()
                logger.warning("{}; next attempt in {:.1f} s", error, pause)
                self._stopping.wait(pause)
        self._finish()

    def turn(self) -> None:
        """Fetch one batch and hand it to the publisher, unless nothing can be delivered now."""
        if not self._publisher.wait_until_ready(1.0):
            return
        self._settle_troubled()
        topics = self._topics.lock_ms_by_topic()
        if not topics:
            self._stopping.wait(1.0)
            return
        fetch_sent = time.monotonic()
        tasks = self._camunda.fetch_and_lock(topics, max_tasks=self._max_tasks, wait_ms=self._wait_ms)
        self._publish([held for task in tasks if (held := self._hold(task, fetch_sent))])

    def _hold(self, task: ExternalTask, fetch_sent: float) -> _Held | None:
        """Return the task with its message, or None where it has none and the engine was told why."""
        system = self._routing.system_of(task.topic)
        # A lock is at least this long, counted from the moment the request was sent.
        deadline = fetch_sent + system.lock_ms / 1000
        margin_ms = min(10_000, system.lock_ms // 10)
        expires_in_ms = system.lock_ms - margin_ms - int((time.monotonic() - fetch_sent) * 1000)
        try:
            publication = task_message(task, system.name, self._camunda.base_url, expires_in_ms)
            self._check_size(task, publication)
        except Unprocessable as error:
            self._refuse(task, error)
            return None
        return _Held(task, system.name, publication, deadline)

    def _check_size(self, task: ExternalTask, publication: Publication) -> None:
        size = len(publication.body)
        if size > self._max_message_bytes:
            sizes = {name: len(str(variable.get("value"))) for name, variable in task.variables.items()}
            largest = max(sizes, key=sizes.__getitem__, default="")
            raise Unprocessable(
                "too_large",
                f"the message has {size} bytes, RABBITMQ_MAX_MESSAGE_BYTES allows {self._max_message_bytes}; "
                f"the largest variable is {largest!r} with {sizes.get(largest, 0)} characters",
            )

    def _refuse(self, task: ExternalTask, error: Unprocessable) -> None:
        """Raise an incident: no message can carry this task, a person must act."""
        self._statistics.add(failed=1)
        logger.error("task {} of topic {} cannot be published: {}", task.id, task.topic, error.detail)
        self._camunda.failure(task.id, task.worker_id, error.detail, retries=0, retry_timeout_ms=0)

    def _publish(self, batch: list[_Held]) -> None:
        if batch:
            self._window.acquire()
            self._publisher.publish(
                [held.publication for held in batch], lambda fates: self._settled(batch, fates)
            )

    def _settled(self, batch: list[_Held], outcomes: Sequence[Outcome]) -> None:
        """Count what is confirmed and leave the rest to the next turn. Runs on the publisher's thread."""
        confirmed: Counter[str] = Counter()
        for held, outcome in zip(batch, outcomes, strict=True):
            if outcome is Outcome.CONFIRMED:
                confirmed[held.system] += 1
            else:
                self._troubled.put((held, outcome))
        if confirmed:
            self._statistics.add(succeeded=confirmed.total())
            per_system = ", ".join(f"{system} {count}" for system, count in confirmed.items())
            logger.info("published {} tasks: {}", confirmed.total(), per_system)
        self._window.release()

    def _settle_troubled(self) -> None:
        again: list[_Held] = []
        for held, outcome in self._drain_troubled():
            if outcome in (Outcome.UNSENT, Outcome.UNKNOWN):
                again.append(held)
            else:
                self._put_back(held, outcome)
        in_time = [held for held in again if time.monotonic() < held.deadline]
        if again:
            logger.warning(
                "publishing {} tasks again, {} have no lock left", len(in_time), len(again) - len(in_time)
            )
            self._statistics.add(failed=len(again) - len(in_time))
        self._publish(in_time)

    def _drain_troubled(self) -> list[tuple[_Held, Outcome]]:
        troubled = []
        try:
            while True:
                troubled.append(self._troubled.get_nowait())
        except Empty:
            return troubled

    def _put_back(self, held: _Held, outcome: Outcome) -> None:
        """Let the engine offer the task again after a pause: the broker's trouble costs no retry."""
        self._statistics.add(failed=1)
        logger.error("task {} for {}: {}; it is offered again later", held.task.id, held.system, outcome.value)
        retries = self._retries if held.task.retries is None else held.task.retries
        self._camunda.failure(
            held.task.id,
            held.task.worker_id,
            f"the message for {held.system} could not be delivered: {outcome.value}",
            retries=retries,
            retry_timeout_ms=self._retry_timeout_ms,
        )

    def _finish(self) -> None:
        """Wait for the confirms that are out, then free the tasks that were certainly not published."""
        deadline = time.monotonic() + CONFIRM_SECONDS_AT_STOP
        for _ in range(UNCONFIRMED_BATCHES):
            self._window.acquire(timeout=max(0.0, deadline - time.monotonic()))
        for held, outcome in self._drain_troubled():
            if outcome in NOT_DELIVERED:
                self._free(held)

    def _free(self, held: _Held) -> None:
        try:
            self._camunda.unlock(held.task.id)
        except Unavailable as error:
            logger.warning("task {} stays locked until its lock ends: {}", held.task.id, error)


if __name__ == "__main__":
    import sys

    from main import main

    sys.exit(main("camunda_worker"))
