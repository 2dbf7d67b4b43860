"""From the engine to the queues: fetch and lock, route, publish; one batch per turn."""

import threading
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from queue import Empty, SimpleQueue

from loguru import logger

import heartbeats
import metrics
from backoff import Backoff
from camunda_client import CamundaClient
from config import RoutingConfig
from delivery_gate import DeliveryGate
from errors import Unavailable, Unprocessable
from leases import LeaseKeeper, LeaseRules, LeaseTable
from messages import ExternalTask, Publication, task_message
from monitoring import Statistics
from rabbitmq_client import Outcome, Publisher
from routing_file import System
from topics import Topics

UNCONFIRMED_BATCHES = 4  # fetching goes on while the broker writes the last batches to its disk
CLOSED_GATE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 5.0  # tasks flow again soon after the engine is back
CONFIRM_SECONDS_AT_STOP = 10.0
SAFE_LEASE_SECONDS = 10.0  # a lease with less left is let go, not published
SAFE_LEASE_SECONDS_AGAIN = 20.0
NOT_DELIVERED = (Outcome.RETURNED, Outcome.REFUSED, Outcome.UNSENT)


@dataclass(frozen=True, slots=True)
class WorkerRules:
    """The settings of the way out; times in milliseconds."""

    max_tasks: int
    wait_ms: int
    retries: int
    retry_timeout_ms: int
    max_message_bytes: int
    leases: LeaseRules


@dataclass(frozen=True, slots=True)
class _Held:
    """A task locked by us and its message; `lease_ends` on the monotonic clock.

    `may_be_out`: an earlier copy of the message may be delivered yet, so the task must never be unlocked.
    """

    task: ExternalTask
    system: System
    publication: Publication
    lease_ends: float
    may_be_out: bool = False

    def lease_left(self) -> float:
        return self.lease_ends - time.monotonic()


class CamundaWorker:
    """Takes all external tasks it serves from the engine and publishes each to its system's queue."""

    def __init__(
        self,
        camunda: CamundaClient,
        publisher: Publisher,
        gate: DeliveryGate,
        leases: LeaseTable,
        keeper: LeaseKeeper,
        routing: RoutingConfig,
        topics: Topics,
        statistics: Statistics,
        stopping: threading.Event,
        rules: WorkerRules,
    ) -> None:
        self._camunda = camunda
        self._publisher = publisher
        self._gate = gate
        self._leases = leases
        self._keeper = keeper
        self._routing = routing
        self._topics = topics
        self._statistics = statistics
        self._stopping = stopping
        self._rules = rules
        self._backoff = Backoff(longest=LONGEST_PAUSE_SECONDS)
        self._is_rebuilt = False
        self.engine_trouble = ""
        self._troubled: SimpleQueue[tuple[_Held, Outcome]] = SimpleQueue()
        self._window = threading.BoundedSemaphore(UNCONFIRMED_BATCHES)

    def run(self) -> None:
        """Take turns until stopping; then bring what is in hand to a safe end."""
        while not self._stopping.is_set():
            heartbeats.beat()
            try:
                self.turn()
                self._backoff.reset()
            except Unavailable as error:
                self.engine_trouble = str(error)
                self._gate.note_outage()
                pause = self._backoff.pause()
                logger.warning("{}; next attempt in {:.1f} s", error, pause)
                self._stopping.wait(pause)
        self._finish()

    def turn(self) -> None:
        """Fetch one batch and hand it to the publisher, unless nothing can be delivered now."""
        if not self._publisher.wait_until_ready(1.0):
            return
        self._settle_troubled()
        self._rebuild_once()
        topics = self._topics_to_fetch() if self._gate.may_fetch() else []
        if not topics:
            self._stopping.wait(CLOSED_GATE_SECONDS)
            return
        fetch_sent = time.monotonic()
        tasks = self._camunda.fetch_and_lock(
            topics, max_tasks=min(self._rules.max_tasks, self._gate.room()), wait_ms=self._rules.wait_ms
        )
        self._note_fetched(tasks)
        self._publish(self._hold_all(tasks, fetch_sent))

    def _note_fetched(self, tasks: Sequence[ExternalTask]) -> None:
        self.engine_trouble = ""
        metrics.succeeded("fetch")
        for topic, count in Counter(task.topic for task in tasks).items():
            metrics.fetched(self._routing.system_of(topic).name, topic).inc(count)

    def _rebuild_once(self) -> None:
        if not self._is_rebuilt:
            self._keeper.rebuild(self._routing.system_of)
            self._is_rebuilt = True

    def _topics_to_fetch(self) -> list[tuple[str, int]]:
        """Return the topics of the systems that may get more, each with the lease for its tasks."""
        open_systems = {system.name for system in self._routing.systems if self._gate.is_open(system)}
        return [
            (topic, self._rules.leases.lease_ms_of(system))
            for topic, system in self._topics.known()
            if system.name in open_systems
        ]

    def _hold_all(self, tasks: Iterable[ExternalTask], fetch_sent: float) -> list[_Held]:
        """Return the tasks to publish, each with its message; the others are dealt with."""
        batch = []
        for task in tasks:
            system = self._routing.system_of(task.topic)
            lease_ends = fetch_sent + self._rules.leases.lease_ms_of(system) / 1000
            if lease_ends - time.monotonic() < min(
                SAFE_LEASE_SECONDS, self._rules.leases.lease_ms_of(system) / 2000
            ):
                logger.warning("task {} comes too late to be published, its lease is let go", task.id)
                metrics.lapsed(system.name).inc()
            elif self._leases.add(task, system, fetch_sent):
                held = self._hold(task, system, lease_ends)
                batch += [held] if held else []
        return batch

    def _hold(self, task: ExternalTask, system: System, lease_ends: float) -> _Held | None:
        lease_ms = self._rules.leases.lease_ms_of(system)
        margin_ms = min(10_000, system.lock_ms // 10)
        left_ms = int((lease_ends - time.monotonic()) * 1000) + system.lock_ms - lease_ms
        try:
            publication = task_message(
                task,
                system.name,
                self._camunda.base_url,
                lock_grows_by_ms=system.lock_ms - lease_ms,
                expires_in_ms=left_ms - margin_ms,
            )
            self._check_size(task, publication)
        except Unprocessable as error:
            self._refuse(task, error)
            return None
        return _Held(task, system, publication, lease_ends)

    def _check_size(self, task: ExternalTask, publication: Publication) -> None:
        size = len(publication.body)
        if size > self._rules.max_message_bytes:
            sizes = {name: len(str(variable.get("value"))) for name, variable in task.variables.items()}
            largest = max(sizes, key=sizes.__getitem__, default="")
            raise Unprocessable(
                "too_large",
                f"the message has {size} bytes, RABBITMQ_MAX_MESSAGE_BYTES is {self._rules.max_message_bytes}; "
                f"the largest variable is {largest!r} with {sizes.get(largest, 0)} characters",
            )

    def _refuse(self, task: ExternalTask, error: Unprocessable) -> None:
        """Raise an incident: no message can carry this task, a person must act."""
        self._statistics.add(failed=1)
        metrics.published(self._routing.system_of(task.topic).name, "unpublishable").inc()
        self._leases.done(task.id)
        logger.error("task {} of topic {} cannot be published: {}", task.id, task.topic, error.detail)
        self._report_failure(task, error.detail, retries=0, retry_timeout_ms=0)

    def _publish(self, batch: Sequence[_Held]) -> None:
        if not batch:
            return
        while not self._window.acquire(timeout=1.0):
            heartbeats.beat()
            if self._stopping.is_set():
                for held in batch:
                    self._troubled.put((held, Outcome.UNSENT))
                return
        sent = time.monotonic()
        publications = [held.publication for held in batch]
        self._publisher.publish(publications, lambda fates: self._settled(batch, fates, sent))

    def _settled(self, batch: Sequence[_Held], outcomes: Sequence[Outcome], sent: float) -> None:
        """Note what is confirmed and leave the rest to the next turn. Runs on the publisher's thread."""
        confirmed = []
        for held, outcome in zip(batch, outcomes, strict=True):
            if outcome is Outcome.CONFIRMED:
                confirmed.append(held)
            else:
                self._troubled.put((held, outcome))
                metrics.published(held.system.name, outcome.name.lower()).inc()
        if confirmed:
            metrics.CONFIRM_SECONDS.observe(time.monotonic() - sent)
            self._note_confirmed(confirmed)
        self._window.release()

    def _note_confirmed(self, confirmed: Sequence[_Held]) -> None:
        self._leases.published(held.task.id for held in confirmed)
        self._statistics.add(succeeded=len(confirmed))
        metrics.succeeded("publish")
        systems = Counter(held.system for held in confirmed)
        for system, count in systems.items():
            self._gate.note_published(system, count)
            metrics.published(system.name, "confirmed").inc(count)
        per_system = ", ".join(f"{system.name} {count}" for system, count in systems.items())
        logger.info("published {} tasks: {}", len(confirmed), per_system)

    def _settle_troubled(self) -> None:
        """Publish again what may not have arrived, give back to the engine what certainly did not."""
        unknown: list[_Held] = []
        for held, outcome in self._drain_troubled():
            if outcome in (Outcome.UNSENT, Outcome.UNKNOWN):
                unknown.append(held)
            else:
                self._put_back(held, outcome)
        if unknown:
            self._publish_again(unknown)

    def _drain_troubled(self) -> list[tuple[_Held, Outcome]]:
        troubled = []
        try:
            while True:
                troubled.append(self._troubled.get_nowait())
        except Empty:
            return troubled

    def _publish_again(self, batch: Sequence[_Held]) -> None:
        """Publish the same messages on the new connection, as far as the engine says they are still ours.

        Never unlocked: a message whose confirm was lost is often delivered later.
        """
        try:
            states = self._camunda.read_tasks([held.task.id for held in batch])
        except Unavailable:
            for held in batch:
                self._troubled.put((held, Outcome.UNKNOWN))
            raise
        again = []
        for held in batch:
            state = states.get(held.task.id)
            is_ours = state is not None and state.lock_expires_at == held.task.lock_expires_at
            if is_ours and held.lease_left() > SAFE_LEASE_SECONDS_AGAIN:
                # The same message but for its expiration, which must still end before the lock does.
                fresh = self._hold(held.task, held.system, held.lease_ends)
                again += [replace(fresh, may_be_out=True)] if fresh else []
            else:
                self._leases.done(held.task.id)
                metrics.lapsed(held.system.name).inc()
        self._statistics.add(failed=len(batch) - len(again))
        logger.warning("publishing {} tasks again, letting {} go", len(again), len(batch) - len(again))
        self._publish(again)

    def _put_back(self, held: _Held, outcome: Outcome) -> None:
        """Let the engine offer the task again after a pause: the broker's trouble costs no retry."""
        self._statistics.add(failed=1)
        self._leases.done(held.task.id)
        self._gate.pause(held.system, self._rules.retry_timeout_ms / 1000)
        logger.error(
            "task {} for {}: {}; it is offered again later", held.task.id, held.system.name, outcome.value
        )
        retries = self._rules.retries if held.task.retries is None else held.task.retries
        self._report_failure(
            held.task,
            f"the message for {held.system.name} could not be delivered: {outcome.value}",
            retries=max(1, retries),
            retry_timeout_ms=self._rules.retry_timeout_ms,
        )

    def _report_failure(self, task: ExternalTask, message: str, *, retries: int, retry_timeout_ms: int) -> None:
        try:
            self._camunda.failure(
                task.id, task.worker_id, message, retries=retries, retry_timeout_ms=retry_timeout_ms
            )
        except Unavailable as error:
            logger.warning("task {} is offered again when its lease ends: {}", task.id, error)

    def _finish(self) -> None:
        """Wait for the confirms that are out, free what was certainly not published, extend the rest."""
        deadline = time.monotonic() + CONFIRM_SECONDS_AT_STOP
        for _ in range(UNCONFIRMED_BATCHES):
            self._window.acquire(timeout=max(0.0, deadline - time.monotonic()))
        for held, outcome in self._drain_troubled():
            self._leases.done(held.task.id)
            if outcome in NOT_DELIVERED and not held.may_be_out:
                self._free(held)
        self._keeper.finish()

    def _free(self, held: _Held) -> None:
        try:
            self._camunda.unlock(held.task.id)
        except Unavailable as error:
            logger.warning("task {} stays locked until its lease ends: {}", held.task.id, error)


if __name__ == "__main__":
    import sys

    from main import main

    sys.exit(main("camunda_worker"))
