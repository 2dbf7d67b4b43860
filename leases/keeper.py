"""The thread that looks after the leases."""

import threading
from collections.abc import Callable, Sequence

from loguru import logger

import clock
import heartbeats
from camunda_client import CamundaClient
from errors import Unavailable
from leases.extension import Extension
from leases.silence import LOOK_AGAIN_SECONDS, Silence
from leases.table import Lease, LeaseTable
from routing_file import System

TICK_SECONDS = 0.25
PAGE = 1000


class LeaseKeeper:
    """Extends leases, reports silence, and keeps the table true to the engine."""

    def __init__(
        self,
        camunda: CamundaClient,
        table: LeaseTable,
        extension: Extension,
        silence: Silence,
        stopping: threading.Event,
    ) -> None:
        self._camunda = camunda
        self._table = table
        self._extension = extension
        self._silence = silence
        self._stopping = stopping
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
        self._extension.extend([lease for lease in due if not lease.extended])
        self._check([lease for lease in due if lease.extended and (lease.checked_at <= now or lease.silent_since)])

    def _check(self, leases: Sequence[Lease]) -> None:
        for place, lease in enumerate(leases):
            try:
                self._silence.check(lease)
            except Unavailable as error:
                logger.warning("{} tasks wait to be asked for their answers: {}", len(leases) - place, error)
                for later in (*leases[place + 1 :], lease):  # the one in trouble goes behind the others
                    self._table.plan(later, clock.now() + LOOK_AGAIN_SECONDS)
                return

    def finish(self) -> None:
        """Extend the leases of all published tasks now: nobody will do so later."""
        with self._at_work:
            pending = [lease for lease in self._table.all() if lease.published_at and not lease.extended]
            self._extension.extend(pending)
            self._extension.close()

    def rebuild(self, system_of: Callable[[str], System]) -> None:
        """Enter the tasks that this worker id holds at the engine already. Raises Unavailable."""
        first = 0
        while states := self._camunda.read_locked_tasks(first, PAGE):
            for state in states.values():
                self._table.add_locked(state, system_of(state.topic))
            first += PAGE

    def reconcile(self, system: System) -> None:
        """Drop the tasks of a system that were answered through another process. Raises Unavailable."""
        held = [lease for lease in self._table.all() if lease.system is system and lease.extended]
        for start in range(0, len(held), PAGE):
            batch = held[start : start + PAGE]
            states = self._camunda.read_tasks([lease.task_id for lease in batch])
            for lease in batch:
                state = states.get(lease.task_id)
                if state is None or state.worker_id != self._camunda.worker_id or state.retries != lease.retries:
                    self._table.drop(lease)
