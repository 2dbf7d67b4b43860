"""Fetched tasks in our hand: each with its lease, and the message that is to tell its system."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from loguru import logger

from bridge import clock, metrics
from bridge.contract import ExternalTask, Publication, task_message
from bridge.counted import counted
from bridge.engine import CamundaClient
from bridge.errors import TaskGone, Unavailable, Unprocessable
from bridge.leases import STALE_SECONDS, LeaseRules, LeaseTable
from bridge.routing import Routing, System
from bridge.statistics import Statistics

if TYPE_CHECKING:  # its packages are there only where spans are recorded
    from bridge.tracing import Span, Tracing

SAFE_LEASE_SECONDS = 10.0  # a lease with less left is let go, not published
SAFE_LEASE_SECONDS_AGAIN = 20.0
LEAST_PAUSE_MS = 1_000  # a queue that refuses is not asked more often


@dataclass(frozen=True, slots=True)
class HeldTask:
    """A task locked by us and its message; `lease_ends` on the monotonic clock.

    `may_be_out`: an earlier copy of the message may be delivered yet, so the task must never be unlocked.
    `span`: the span of its way into the queue, where spans are recorded.
    """

    task: ExternalTask
    system: System
    publication: Publication
    lease_ends: float
    may_be_out: bool = False
    span: "Span | None" = None

    def lease_left(self) -> float:
        """Return how many seconds of the lease are left."""
        return self.lease_ends - clock.now()

    def end_span(self, outcome: str, *, failed: bool = True) -> None:
        """Note in the task's span what became of its message."""
        if self.span:
            self.span.end(outcome, failed=failed)


@dataclass(frozen=True, slots=True)
class MessageRules:
    """How tasks become messages: how they are locked, how large a message may be (bytes), and who traces it."""

    leases: LeaseRules
    max_bytes: int
    tracing: "Tracing | None" = None


class HeldTasks:
    """Enters fetched tasks in the in-flight table and makes their messages; gives back what cannot go out."""

    def __init__(
        self,
        engine: CamundaClient,
        leases: LeaseTable,
        routing: Routing,
        statistics: Statistics,
        rules: MessageRules,
    ) -> None:
        self._engine = engine
        self._leases = leases
        self._routing = routing
        self._statistics = statistics
        self._rules = rules.leases
        self._max_message_bytes = rules.max_bytes
        self._limit = "RABBITMQ_MAX_MESSAGE_BYTES"
        self._tracing = rules.tracing

    def note_most_bytes(self, most_bytes: int) -> None:
        """Make no larger messages from now on: the broker takes none."""
        if most_bytes < self._max_message_bytes:
            self._max_message_bytes, self._limit = most_bytes, "max_message_size of the broker"

    def hold_all(self, tasks: Iterable[ExternalTask], fetch_sent: float) -> list[HeldTask]:
        """Return the tasks to publish, each with its message; the others are dealt with."""
        held = (self._hold_new(task, fetch_sent) for task in tasks)
        return [one for one in held if one]

    def hold_again(self, held: HeldTask, *, may_be_out: bool = True) -> HeldTask | None:
        """Return the same with a message that expires, as the first one does, before the lock ends."""
        fresh = self._hold(held.task, held.system, held.lease_ends)
        if fresh is None:
            held.end_span("unpublishable")
            return None
        return replace(fresh, may_be_out=may_be_out, span=held.span)

    def is_in_time(self, held: HeldTask) -> bool:
        """Whether enough of a lease is left to publish its task."""
        return self._is_in_time(held.system, held.lease_ends)

    def _is_in_time(self, system: System, lease_ends: float) -> bool:
        lease_seconds = self._rules.lease_ms_of(system) / 1000
        return lease_ends - clock.now() >= min(SAFE_LEASE_SECONDS, lease_seconds / 2)

    def _hold_new(self, task: ExternalTask, fetch_sent: float) -> HeldTask | None:
        system = self._routing.system_of(task)
        lease_ends = fetch_sent + self._rules.lease_ms_of(system) / 1000
        if not self._is_in_time(system, lease_ends):
            logger.warning("task {} comes too late to be published, its lease is let go", task.id)
            metrics.lapsed(system.name).inc()
            return None
        if not self._leases.add(task, system, fetch_sent):
            return None
        if self._tracing:
            return self._hold_traced(task, system, lease_ends, self._tracing)
        return self._hold(task, system, lease_ends)

    def _hold_traced(
        self, task: ExternalTask, system: System, lease_ends: float, tracing: "Tracing"
    ) -> HeldTask | None:
        """Hold a task whose message carries on the trace of its process, or begins one."""
        span = tracing.publishing(task, system)
        held = self._hold(replace(task, trace=span.trace), system, lease_ends)
        if held is None:
            span.end("unpublishable", failed=True)
            return None
        return replace(held, span=span)

    def _hold(self, task: ExternalTask, system: System, lease_ends: float) -> HeldTask | None:
        try:
            publication = self._message(task, system, lease_ends)
        except Unprocessable as error:
            self._refuse(task, system, error)
            return None
        return HeldTask(task, system, publication, lease_ends)

    def _message(self, task: ExternalTask, system: System, lease_ends: float) -> Publication:
        """Return the message of a task; where it is too large, with references if its system takes any.

        Raises Unprocessable.
        """
        publication = self._written(task, system, lease_ends)
        excess = len(publication.body) - self._max_message_bytes
        if excess > 0 and system.large_variables == "reference":
            task = task.with_references(self._engine.base_url, excess)
            publication = self._written(task, system, lease_ends)
        self._check_size(task, publication)
        return publication

    def _written(self, task: ExternalTask, system: System, lease_ends: float) -> Publication:
        lease_ms = self._rules.lease_ms_of(system)
        left_ms = int((lease_ends - clock.now()) * 1000) + system.lock_ms - lease_ms
        return task_message(
            task,
            system.name,
            self._engine.base_url,
            lock_grows_by_ms=system.lock_ms - lease_ms,
            expires_in_ms=left_ms - system.margin_ms,
            sends_priority=system.sends_priority,
        )

    def _check_size(self, task: ExternalTask, publication: Publication) -> None:
        size = len(publication.body)
        if size > self._max_message_bytes:
            sizes = {name: len(str(variable.get("value"))) for name, variable in task.variables.items()}
            largest = max(sizes, key=sizes.__getitem__, default="")
            raise Unprocessable(
                "too_large",
                f"the message has {size} bytes, {self._limit} is {self._max_message_bytes}; "
                f"the largest variable is {largest!r} with {sizes.get(largest, 0)} characters",
            )

    def _refuse(self, task: ExternalTask, system: System, error: Unprocessable) -> None:
        """Raise an incident: no message can carry this task, a person must act."""
        self._statistics.add(failed=1)
        metrics.published(system.name, "unpublishable").inc()
        self._leases.done(task.id)
        logger.error("task {} of topic {} cannot be published: {}", task.id, task.topic, error.detail)
        self._report_failure(task, error.detail, retries=0, retry_timeout_ms=0)

    def _report_failure(self, task: ExternalTask, message: str, *, retries: int, retry_timeout_ms: int) -> None:
        """Report a task as failed; while the engine is unavailable its lease ends, and it is offered again."""
        try:
            self._engine.failure(
                task.id, task.worker_id, message, retries=retries, retry_timeout_ms=retry_timeout_ms
            )
        except Unavailable as error:
            logger.warning("task {} is offered again when its lease ends: {}", task.id, error)

    def let_go(self, held: HeldTask) -> None:
        """Let a lease end: the engine offers the task again."""
        held.end_span("its lease is let go")
        self._statistics.add(failed=1)
        self._leases.let_go(held.task)
        metrics.lapsed(held.system.name).inc()

    def still_ours(self, batch: Sequence[HeldTask]) -> list[HeldTask]:
        """Return those that the engine still gives us time for, with messages that are valid now; let the rest go.

        Never unlocked: a message whose confirm was lost is often delivered later. Raises Unavailable.
        """
        states = self._engine.read_tasks([held.task.id for held in batch])
        again = []
        for held in batch:
            state = states.get(held.task.id)
            is_ours = state is not None and state.lock_expires_at == held.task.lock_expires_at
            if is_ours and held.lease_left() > SAFE_LEASE_SECONDS_AGAIN:
                fresh = self.hold_again(held)
                again += [fresh] if fresh else []
            else:
                self.let_go(held)
        logger.warning("publishing {} again, letting {} go", counted(len(again), "task"), len(batch) - len(again))
        return again

    def give_back(self, held: HeldTask, reason: str) -> float:
        """Let the engine offer a task again after a pause, and return that pause in seconds.

        `reason`: why its message was not delivered. The broker's trouble costs no retry.
        """
        held.end_span(reason)
        policy = held.system.retry
        retries = max(1, policy.retries if held.task.retries is None else held.task.retries)
        pause_ms = max(LEAST_PAUSE_MS, policy.pause_ms(retries))
        self._statistics.add(failed=1)
        self._leases.let_go(held.task)
        logger.error("task {} for {}: {}; it is offered again later", held.task.id, held.system.name, reason)
        with self._leases.giving_back(held.task) as is_free:
            if is_free and self._is_as_fetched(held):
                message = f"the message for {held.system.name} could not be delivered: {reason}"
                self._report_failure(held.task, message, retries=retries, retry_timeout_ms=pause_ms)
        return pause_ms / 1000

    def _is_as_fetched(self, held: HeldTask) -> bool:
        """Whether the task is as it was fetched: an answer to its last attempt may have come late."""
        asked = clock.now()
        try:
            state = self._engine.read_task(held.task.id)
        except (TaskGone, Unavailable):
            return False
        if clock.now() - asked > STALE_SECONDS:
            return False
        return state.retries == held.task.retries and state.lock_expires_at == held.task.lock_expires_at

    def free(self, held: HeldTask, *, is_undelivered: bool) -> None:
        """At a stop: unlock what certainly was not delivered, so that it is offered again at once."""
        held.end_span("the worker stops")
        self._leases.let_go(held.task)
        if not is_undelivered or held.may_be_out:
            return
        try:
            self._engine.unlock(held.task.id)
        except Unavailable as error:
            logger.warning("task {} stays locked until its lease ends: {}", held.task.id, error)
