"""Leases made into full locks, never blindly."""

from collections.abc import Iterable, Sequence

from loguru import logger

from bridge import clock, heartbeats, metrics
from bridge.contract import TaskState
from bridge.engine import FOR_NOW, CamundaClient, Verdict
from bridge.errors import Unavailable
from bridge.leases.lease import Lease
from bridge.leases.table import LeaseTable

THREADS = 4
# The read and the extensions it permits must lie close together, so the batches are small.
READ_AT_ONCE = 2 * THREADS
REPEAT_SECONDS = 2.0
URGENT_SECONDS = 15.0  # before a lease ends: a call of its process instance may take longer than that
SURE_SECONDS = 1.0  # a lock that should last longer has not ended by itself
# What its system asked for is not known any more; a short pause comes nearer to it than a full lock.
PAUSE_AGAIN_MS = 5_000


def give_back_pause(camunda: CamundaClient, table: LeaseTable, lease: Lease, state: TaskState | None) -> None:
    """Drop a lease whose task failed through another process; shorten its lock if it grew just after."""
    if state is None or state.retries == lease.retries or table.has_later(lease):
        return
    table.drop(lease)
    if state.worker_id == camunda.worker_id and _ends_as(lease, state):
        logger.warning("task {} was extended just after its failure; it pauses again", lease.task_id)
        camunda.extend_lock(lease.task_id, camunda.worker_id, PAUSE_AGAIN_MS)


def _ends_as(lease: Lease, state: TaskState) -> bool:
    """Whether the lock ends where our last call put it, and not where a later failure or the next fetch did."""
    if state.lock_expires_at is None:
        return False
    if lease.read_end:
        return state.lock_expires_at == lease.read_end
    return abs((state.lock_expires_at - lease.lock_expires_at).total_seconds()) < lease.tolerance


class Extension:
    """Extends leases that are exactly as they were fetched, and forgets the others.

    The engine would take an extension after a reported failure too, and turn its back-off into a full lock.
    Another process of ours may report one between the look at the task and the extension, so the next look is
    also at the tasks just extended.
    """

    def __init__(self, camunda: CamundaClient, table: LeaseTable) -> None:
        self._camunda = camunda
        self._table = table
        self._just_extended: Sequence[Lease] = ()
        self._pool = clock.ThreadPoolExecutor(THREADS, thread_name_prefix="extend")

    def extend(self, leases: Sequence[Lease]) -> None:
        """Extend the leases, look at those extended before; what fails for the moment is planned again."""
        for start in range(0, len(leases) or len(self._just_extended), READ_AT_ONCE):
            try:
                self._extend_batch(leases[start : start + READ_AT_ONCE])
            except Unavailable as error:
                logger.warning("leases that wait for their extension: {}; {}", len(leases) - start, error)
                self._plan_again(leases[start:])
                return

    def close(self) -> None:
        """Look at the tasks extended last and end the threads."""
        self.extend(())
        self._pool.shutdown()

    def _extend_batch(self, batch: Sequence[Lease]) -> None:
        before, self._just_extended = self._just_extended, ()
        states = self._camunda.read_tasks([lease.task_id for lease in (*before, *batch)])
        for lease in before:
            give_back_pause(self._camunda, self._table, lease, states.get(lease.task_id))
        unchanged = []
        for lease in batch:
            if self._is_unchanged(lease, states.get(lease.task_id)):
                unchanged.append(lease)
            elif not lease.answering:
                (self._table.drop if lease.task_id in states else self._table.drop_gone)(lease)
        unsettled = []
        for lease, is_settled in zip(unchanged, self._pool.map(self._extend_one, unchanged), strict=True):
            heartbeats.beat()
            unsettled += [] if is_settled else [lease]
        self._plan_again(unsettled)
        self._just_extended = [lease for lease in unchanged if lease.extended]
        logger.debug("settled {} of {} leases", len(unchanged) - len(unsettled), len(batch))

    def _is_unchanged(self, lease: Lease, state: TaskState | None) -> bool:
        return (
            state is not None
            and state.worker_id == self._camunda.worker_id
            and state.retries == lease.retries
            and state.lock_expires_at == lease.lock_expires_at
        )

    def _plan_again(self, leases: Iterable[Lease]) -> None:
        for lease in leases:
            self._table.plan(lease, clock.now() + REPEAT_SECONDS)

    def _extend_one(self, lease: Lease) -> bool:
        """Return whether the lease needs no further attempt."""
        if lease.extended:  # a fetch or a sign of life made its lock longer meanwhile
            return True
        ends_soon = lease.lock_ends - clock.now() < URGENT_SECONDS
        with self._table.extending(lease, beside_others=ends_soon) as may_extend:
            try:
                return self._call_engine(lease) if may_extend else not self._table.is_current(lease)
            except Unavailable:
                return False

    def _call_engine(self, lease: Lease) -> bool:
        sent = clock.now()
        lock_ms = max(1000, int((self._table.held_until(lease) - sent) * 1000))
        answer = self._camunda.extend_lock(lease.task_id, self._camunda.worker_id, lock_ms)
        if answer.verdict is Verdict.EXPIRED:
            if sent < lease.lock_ends - SURE_SECONDS:  # another process reported a failure, or somebody freed it
                self._table.drop(lease)
                return True
            metrics.lapsed(lease.system.name).inc()
        if answer.verdict in (
            Verdict.EXPIRED,
            Verdict.SUSPENDED,
        ):  # the engine takes a lock for both, if it has the call
            answer = self._camunda.lock(lease.task_id, self._camunda.worker_id, lock_ms)
        match answer.verdict:
            case Verdict.ACCEPTED:
                self._table.note_extension(lease, sent + lock_ms / 1000)
                metrics.extended(lease.system.name).inc()
                metrics.succeeded("extend")
            case verdict if verdict in FOR_NOW:
                return False
            case Verdict.UNKNOWN_CALL:
                pass  # 7.14 cannot lock again: it offers the task soon, and the table knows it
            case _:
                self._table.drop(lease)
        return True
