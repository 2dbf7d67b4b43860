"""Systems that took a message and did not answer: reported before the lock ends, so that a person sees it."""

from loguru import logger

from bridge import clock, metrics
from bridge.broker import QueueWatch
from bridge.contract import RESPONSE_QUEUE, TaskState
from bridge.counted import counted
from bridge.engine import FOR_NOW, CamundaClient, Verdict
from bridge.errors import TaskGone, Unavailable
from bridge.leases.extension import give_back_pause
from bridge.leases.lease import Lease
from bridge.leases.rules import STALE_SECONDS, LeaseRules, retry_policy
from bridge.leases.table import LeaseTable
from bridge.retry_policy import RetryPolicy

LOOK_AGAIN_SECONDS = 1.0
ENDS_SOON_MS = 1_000
SUSPENDED_SECONDS = 60.0
HEARTBEAT_TOLERANCE_SECONDS = 5.0


class Silence:
    """Checks tasks whose full lock is about to end unanswered."""

    def __init__(
        self,
        camunda: CamundaClient,
        table: LeaseTable,
        watch: QueueWatch,
        rules: LeaseRules,
    ) -> None:
        self._camunda = camunda
        self._table = table
        self._watch = watch
        self._rules = rules

    def look(self, lease: Lease) -> None:
        """Note whether the message was taken; to be asked before it expires, which empties a queue too.

        A system that goes down gives back what it had taken and not acknowledged: where messages wait and nobody
        listens, this one may be among them.
        """
        queue = self._watch.state(lease.system.queue)
        is_lost = queue.lost_at > lease.published_at  # deleted with its queue
        may_be_lost = lease.published_at < queue.vanished_at < queue.drained_at  # gone before anybody listened
        was_drained = lease.published_at < queue.drained_at < lease.message_ends
        may_be_back = queue.drained_at < queue.unheard_at < lease.message_ends
        if was_drained or clock.now() < lease.message_ends:  # later, only an earlier look tells
            lease.is_taken = was_drained and not (is_lost or may_be_lost or may_be_back)

    def check(self, lease: Lease) -> None:
        """Report the task as failed if its system really is silent; else drop it or look again later.

        Raises Unavailable where the engine does not say.
        """
        if not lease.is_taken and not self._table.has_answer(lease):
            self._check_waiting(lease)
            return
        try:
            self._ask_engine(lease)
        except TaskGone:
            self._table.drop_gone(lease)

    def _check_waiting(self, lease: Lease) -> None:
        """Drop what waited in its queue or was deleted with it, no silence: the engine offers the task again.

        A lock that was renewed while its first message still waited lasts longer than that: it ends now.
        """
        if clock.now() < lease.silent_from:
            self._table.plan(lease, lease.silent_from)
            return
        if lease.lock_ends - clock.now() > lease.system.margin_ms / 1000:
            self._camunda.extend_lock(lease.task_id, self._camunda.worker_id, ENDS_SOON_MS)
        self._table.drop(lease)

    def _ask_engine(self, lease: Lease) -> None:
        asked = clock.now()
        state = self._camunda.read_task(lease.task_id)
        now = clock.now()
        if now - asked > STALE_SECONDS and now < lease.lock_ends:
            self._table.plan(lease, now)
            return
        longer = (state.lock_expires_at - lease.lock_expires_at).total_seconds() if state.lock_expires_at else 0.0
        if state.retries != lease.retries or state.worker_id != self._camunda.worker_id:
            give_back_pause(self._camunda, self._table, lease, state)
            self._table.drop(lease)
        elif self._has_failed(lease, state):
            self._table.drop(lease)
        elif state.suspended:
            self._table.plan(lease, now + SUSPENDED_SECONDS)
        elif longer > HEARTBEAT_TOLERANCE_SECONDS:
            self._adopt(lease, longer)
        else:
            self._ask_for_answer(lease, state, now)

    def _has_failed(self, lease: Lease, state: TaskState) -> bool:
        """Whether another process of ours reported a failure that left the retries as they were.

        Nothing but history then tells its pause from a longer lock.
        """
        if state.error_message is None or lease.fetched_at is None:
            return False
        return self._camunda.failed_after(lease.task_id, lease.fetched_at)

    def _ask_for_answer(self, lease: Lease, state: TaskState, now: float) -> None:
        """Hold on to a task whose lock is as we know it while it may be answered, then report its silence."""
        lease.read_end = state.lock_expires_at
        if self._table.has_answer(lease) and not lease.answering:  # it waits for another answer of its instance
            with self._table.extending(lease, beside_others=True) as is_free:
                if is_free:
                    self._hold_on(lease, now)
                else:
                    self._table.plan(lease, now + LOOK_AGAIN_SECONDS)
        else:
            with self._table.extending(lease) as is_free:
                if not is_free:  # an extension now could turn the back-off of its failure into a lock
                    self._table.plan(lease, now + LOOK_AGAIN_SECONDS)
                elif now < lease.silent_from or self._may_be_answered(lease):
                    self._hold_on(lease, now)
                else:
                    self._fail(lease, retry_policy(self._camunda, state, lease.system))

    def _adopt(self, lease: Lease, longer: float) -> None:
        """Go on with a longer lock: a heartbeat came another way. Once the old one ended it may be a new fetch."""
        if clock.now() < lease.lock_ends:
            self._table.note_extension(lease, lease.lock_ends + longer)
        elif lease.silent_since:  # by another process, which published it again
            self._table.drop(lease)
        else:
            lease.silent_since = clock.now()
            self._table.plan(lease, clock.now() + LOOK_AGAIN_SECONDS)

    def _may_be_answered(self, lease: Lease) -> bool:
        return self._is_with_us(lease) or not self._answers_are_read(lease.silent_since)

    def _is_with_us(self, lease: Lease) -> bool:
        return self._table.has_answer(lease) or self._table.is_in_hand(lease.task_id)

    def _answers_are_read(self, since: float) -> bool:
        """Whether the response queue has a reader and was seen empty after `since`, a moment other than 0."""
        answers = self._watch.state(RESPONSE_QUEUE)
        return since > 0 and answers.consumers > 0 and answers.seen_empty_at > since

    def _hold_on(self, lease: Lease, now: float) -> None:
        """Keep the task a little longer: its answer may still wait in the response queue."""
        lease.silent_since = lease.silent_since or max(now, lease.silent_from)
        self._watch.look_soon()
        is_with_us = self._is_with_us(lease)
        if now >= lease.lock_ends and not is_with_us:  # another process may have fetched it by now
            self._table.drop(lease)
            return
        lease_ms = self._rules.lease_ms_of(lease.system)
        if lease.lock_ends - now < lease_ms / 2000:
            hold = self._camunda.prolong if is_with_us else self._camunda.extend_lock
            answer = hold(lease.task_id, self._camunda.worker_id, lease_ms)
            if answer.verdict in FOR_NOW:
                raise Unavailable(answer.detail)
            if answer.verdict is not Verdict.ACCEPTED:
                self._table.drop(lease)  # not ours any more: the engine offers it, or another has it
                return
            lease.move_end(now + lease_ms / 1000)
            lease.extended = True  # it may have been fetched again meanwhile
        self._table.plan(lease, now + LOOK_AGAIN_SECONDS)

    def _fail(self, lease: Lease, policy: RetryPolicy) -> None:
        retries = policy.left(lease.retries)
        message = (
            f"no answer from {lease.system.name} within {lease.system.lock_ms / 1000:g} s; "
            "if it needs longer, raise its lock_duration or let it send extend_lock"
        )
        # Its system may work for as long as its message said.
        pause_ms = max(policy.pause_ms(retries), int((lease.full_lock_ends - clock.now()) * 1000))
        answer = self._camunda.failure(
            lease.task_id,
            self._camunda.worker_id,
            message,
            retries=retries,
            retry_timeout_ms=pause_ms,
        )
        if answer.verdict in FOR_NOW:
            raise Unavailable(answer.detail)
        self._table.pauses.note(lease.task_id, pause_ms)
        metrics.fell_silent(lease.system.name)
        logger.error("task {}: {}; {} left", lease.task_id, message, counted(retries, "retry", "retries"))
        self._table.drop(lease)
