"""What becomes of tasks whose message was not confirmed: published again, given back, or let go."""

from collections.abc import Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue

from loguru import logger

from bridge import metrics
from bridge.broker import Outcome
from bridge.engine import CamundaClient
from bridge.errors import TaskGone, Unavailable
from bridge.intake.admission import DeliveryGate
from bridge.intake.held_task import HeldTask, TaskHolder, report_failure
from bridge.leases import LeaseTable
from bridge.statistics import Statistics

SAFE_LEASE_SECONDS_AGAIN = 20.0
LEAST_PAUSE_MS = 1_000  # a queue that refuses is not asked more often
NOT_DELIVERED = (Outcome.RETURNED, Outcome.REFUSED, Outcome.DENIED, Outcome.UNSENT)
REFUSED = (Outcome.REFUSED, Outcome.DENIED)


@dataclass(frozen=True, slots=True)
class RetryRules:
    """What a task is given back with: the retries of one without a failure so far, and the pause that follows."""

    retries: int
    retry_timeout_ms: int


class Undelivered:
    """Collects tasks with the outcome of their publication, from any thread, until they are settled."""

    def __init__(
        self,
        camunda: CamundaClient,
        leases: LeaseTable,
        gate: DeliveryGate,
        holder: TaskHolder,
        statistics: Statistics,
        rules: RetryRules,
    ) -> None:
        self._camunda = camunda
        self._leases = leases
        self._gate = gate
        self._holder = holder
        self._statistics = statistics
        self._rules = rules
        self._waiting: SimpleQueue[tuple[HeldTask, Outcome]] = SimpleQueue()

    def add(self, held: HeldTask, outcome: Outcome) -> None:
        """Take a task whose message was not confirmed."""
        self._waiting.put((held, outcome))

    def settle(self) -> list[HeldTask]:
        """Give back what the broker refused; return what must be published again now. Raises Unavailable."""
        self.give_back()
        unknown = self._take(Outcome.UNSENT, Outcome.UNKNOWN)
        again = self._still_ours(unknown) if unknown else []
        mended = [fresh for held in self._take(Outcome.RETURNED) if (fresh := self._when_mended(held))]
        if mended:
            logger.info("publishing {} tasks again that no queue took: theirs is bound again", len(mended))
        return again + mended

    def give_back(self) -> None:
        """Give back what the broker refused; that needs nothing of the broker."""
        for outcome in REFUSED:
            for held in self._take(outcome):
                self._give_back(held, outcome)

    def _when_mended(self, held: HeldTask) -> HeldTask | None:
        """Return what no queue took once its queue is there again; until then it waits, if the lease allows."""
        if not self._holder.is_in_time(held.system, held.lease_ends) or not self._gate.mends:
            self._give_back(held, Outcome.RETURNED)
        elif self._gate.is_mended(held.system):
            return self._holder.hold_again(held, may_be_out=held.may_be_out)
        else:
            self.add(held, Outcome.RETURNED)
        return None

    def free(self) -> None:
        """At a stop: unlock what certainly was not delivered, so that it is offered again at once."""
        for held, outcome in self._take_all():
            self._leases.let_go(held.task)
            if outcome in NOT_DELIVERED and not held.may_be_out:
                self._unlock(held)

    def _take(self, *outcomes: Outcome) -> list[HeldTask]:
        """Take out what had one of these outcomes."""
        taken = []
        for held, outcome in self._take_all():
            if outcome in outcomes:
                taken.append(held)
            else:
                self.add(held, outcome)
        return taken

    def _take_all(self) -> list[tuple[HeldTask, Outcome]]:
        taken = []
        try:
            while True:
                taken.append(self._waiting.get_nowait())
        except Empty:
            return taken

    def in_time(self, batch: Sequence[HeldTask]) -> list[HeldTask]:
        """Return what may be published after a wait, with messages that expire in time; let the rest go."""
        again = []
        for held in batch:
            if not self._holder.is_in_time(held.system, held.lease_ends):
                self._let_go(held)
            elif fresh := self._holder.hold_again(held, may_be_out=held.may_be_out):
                again.append(fresh)
        if len(again) < len(batch):
            logger.warning("letting {} tasks go, which waited too long to be published", len(batch) - len(again))
        return again

    def _let_go(self, held: HeldTask) -> None:
        """Let a lease end: the engine offers the task again."""
        self._statistics.add(failed=1)
        self._leases.let_go(held.task)
        metrics.lapsed(held.system.name).inc()

    def _still_ours(self, batch: Sequence[HeldTask]) -> list[HeldTask]:
        """Return those that the engine still gives us time for, with the same messages.

        Never unlocked: a message whose confirm was lost is often delivered later.
        """
        try:
            states = self._camunda.read_tasks([held.task.id for held in batch])
        except Unavailable:
            for held in batch:
                self.add(held, Outcome.UNKNOWN)
            raise
        again = []
        for held in batch:
            state = states.get(held.task.id)
            is_ours = state is not None and state.lock_expires_at == held.task.lock_expires_at
            if is_ours and held.lease_left() > SAFE_LEASE_SECONDS_AGAIN:
                fresh = self._holder.hold_again(held)
                again += [fresh] if fresh else []
            else:
                self._let_go(held)
        logger.warning("publishing {} tasks again, letting {} go", len(again), len(batch) - len(again))
        return again

    def _give_back(self, held: HeldTask, outcome: Outcome) -> None:
        """Let the engine offer the task again after a pause: the broker's trouble costs no retry."""
        pause_ms = max(LEAST_PAUSE_MS, self._rules.retry_timeout_ms)
        self._statistics.add(failed=1)
        self._leases.let_go(held.task)
        self._gate.pause(held.system, pause_ms / 1000)
        logger.error(
            "task {} for {}: {}; it is offered again later", held.task.id, held.system.name, outcome.value
        )
        if not self._is_ours(held):
            return
        retries = self._rules.retries if held.task.retries is None else held.task.retries
        report_failure(
            self._camunda,
            held.task,
            f"the message for {held.system.name} could not be delivered: {outcome.value}",
            retries=max(1, retries),
            retry_timeout_ms=pause_ms,
        )

    def _is_ours(self, held: HeldTask) -> bool:
        """Whether the task is as it was fetched: an answer to its last attempt may have come late."""
        try:
            state = self._camunda.read_task(held.task.id)
        except (TaskGone, Unavailable):
            return False
        return state.retries == held.task.retries and state.lock_expires_at == held.task.lock_expires_at

    def _unlock(self, held: HeldTask) -> None:
        try:
            self._camunda.unlock(held.task.id)
        except Unavailable as error:
            logger.warning("task {} stays locked until its lease ends: {}", held.task.id, error)
