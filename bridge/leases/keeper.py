"""The thread that looks after the leases."""

import threading
from collections.abc import Sequence
from datetime import datetime

from loguru import logger

from bridge import clock, heartbeats
from bridge.contract import TaskState
from bridge.engine import CamundaClient
from bridge.errors import Unavailable
from bridge.leases.extension import Extension
from bridge.leases.lease import Lease
from bridge.leases.silence import LOOK_AGAIN_SECONDS, Silence
from bridge.leases.table import LeaseTable
from bridge.routing import Routing

TICK_SECONDS = 0.25
PAGE = 1000
RECONCILE_SECONDS = 30.0
LAPSED_SECONDS = 10.0  # a lock that has ended may be extended yet: its answer may be waiting


class LeaseKeeper:
    """Extends leases, reports silence, and keeps the table true to the engine."""

    def __init__(
        self,
        camunda: CamundaClient,
        table: LeaseTable,
        extension: Extension,
        silence: Silence,
        routing: Routing,
        stopping: threading.Event,
    ) -> None:
        self._camunda = camunda
        self._table = table
        self._extension = extension
        self._silence = silence
        self._routing = routing
        self._is_rebuilt = False
        self._stopping = stopping
        self._reconcile_at = clock.now() + RECONCILE_SECONDS
        self._at_work = clock.Lock()  # the worker's thread finishes what this one began

    def run(self) -> None:
        """Look after the leases until stopping."""
        while not self._stopping.wait(TICK_SECONDS):
            heartbeats.beat()
            with self._at_work:
                if not self._stopping.is_set():
                    self.tick()

    def tick(self) -> None:
        """Do what is due now."""
        now = clock.now()
        due = self._table.due(now)
        self._look(due, now)
        self._extension.extend([lease for lease in due if not lease.extended])
        self._check([lease for lease in due if lease.extended and (lease.checked_at <= now or lease.silent_since)])
        if now >= self._reconcile_at:
            self._reconcile_at = now + RECONCILE_SECONDS
            self._reconcile_if_possible()

    def _look(self, due: Sequence[Lease], now: float) -> None:
        """See whose messages were taken, and plan when to ask for their answers."""
        for lease in due:
            if lease.published_at and not lease.is_heard:
                self._silence.look(lease)
            if lease.extended and now < lease.checked_at and not lease.silent_since:
                self._table.plan(lease, lease.looked_at_next)

    def _check(self, leases: Sequence[Lease]) -> None:
        for place, lease in enumerate(leases):
            try:
                self._silence.check(lease)
            except Unavailable as error:
                logger.warning("tasks that wait to be asked for their answers: {}; {}", len(leases) - place, error)
                for later in (*leases[place + 1 :], lease):  # the one in trouble goes behind the others
                    self._table.plan(later, clock.now() + LOOK_AGAIN_SECONDS)
                return

    def finish(self) -> None:
        """Extend the leases of all published tasks now: nobody will do so later."""
        with self._at_work:
            pending = [lease for lease in self._table.all() if lease.published_at and not lease.extended]
            self._extension.extend(pending)
            self._extension.close()

    def rebuild_once(self) -> None:
        """Enter the tasks that this worker id held at the engine before we began. Raises Unavailable."""
        first = 0
        while not self._is_rebuilt:
            states = self._camunda.read_locked_tasks(first, PAGE)
            for state in states.values():
                self._table.add_locked(state, self._routing.system_of(state))
            first += PAGE
            self._is_rebuilt = not states

    def _reconcile_if_possible(self) -> None:
        try:
            self.reconcile()
        except Unavailable as error:
            logger.warning("tasks in flight cannot be counted: {}", error)

    def reconcile(self) -> None:
        """Drop what is not in flight any more: cancelled, answered elsewhere, or lapsed. Raises Unavailable."""
        leases = self._table.all()
        locked = self._locked_ids() if any(lease.is_rebuilt for lease in leases) else set()
        for lease in leases:
            if lease.is_rebuilt and lease.task_id not in locked:
                self._table.drop_gone(lease)
        published = [lease for lease in leases if lease.published_at]
        for start in range(0, len(published), PAGE):
            batch = published[start : start + PAGE]
            ends = [
                lease.lock_expires_at for lease in batch
            ]  # before the look: others make locks longer meanwhile
            states = self._camunda.read_tasks([lease.task_id for lease in batch])
            for lease, lock_expires_at in zip(batch, ends, strict=True):
                state = states.get(lease.task_id)
                if state is None:
                    self._table.drop_gone(lease)
                elif not (lease.answering or self._is_in_flight(lease, state, lock_expires_at)):
                    self._table.drop(lease)

    def _is_in_flight(self, lease: Lease, state: TaskState, lock_expires_at: datetime) -> bool:
        return (
            state.worker_id == self._camunda.worker_id
            and state.retries == lease.retries
            and not _has_paused(lease, state, lock_expires_at)
            and clock.now() < self._table.held_until(lease) + LAPSED_SECONDS
        )

    def _locked_ids(self) -> set[str]:
        """Return the ids of all tasks that our worker id holds now. Raises Unavailable."""
        ids: set[str] = set()
        first = 0  # not the number that is known: tasks come and go between two pages, and some are seen twice
        while states := self._camunda.read_locked_tasks(first, PAGE):
            ids.update(states)
            first += PAGE
        return ids


def _has_paused(lease: Lease, state: TaskState, lock_expires_at: datetime) -> bool:
    """Whether another process reported a failure: the lock ends earlier than any call of ours would let it."""
    if state.lock_expires_at is None:
        return True
    return (lock_expires_at - state.lock_expires_at).total_seconds() > lease.tolerance
