"""Systems that work for days are told when the process has cancelled a task of theirs."""

import threading
from collections.abc import Iterable, Sequence

from loguru import logger

from bridge import heartbeats, metrics
from bridge.broker import Outcome, Publisher
from bridge.contract import CancelledTask, Publication, attempt_of, cancellation_message
from bridge.engine import CamundaClient
from bridge.errors import Unavailable
from bridge.leases.lease import Lease
from bridge.leases.table import LeaseTable

PERIOD_SECONDS = 5.0


class Cancellations:
    """Asks the engine's history about tasks that are gone unanswered, and tells their systems of those cancelled.

    Only for systems that want it. What this process has not seen, as while it did not run, nobody tells.
    """

    def __init__(
        self, engine: CamundaClient, table: LeaseTable, publisher: Publisher, stopping: threading.Event
    ) -> None:
        self._engine = engine
        self._table = table
        self._publisher = publisher
        self._stopping = stopping

    def run(self) -> None:
        """Look every few seconds until stopping."""
        while not self._stopping.wait(PERIOD_SECONDS):
            heartbeats.beat()
            self.tick()

    def tick(self) -> None:
        """Tell of all that is gone and was cancelled; while the engine is unavailable, later."""
        leases = self._table.take_gone()
        cancelled = []
        for place, lease in enumerate(leases):
            heartbeats.beat()
            try:
                if self._engine.was_cancelled(lease.activity_instance_id):
                    cancelled.append(lease)
            except Unavailable as error:
                logger.warning("gone tasks that wait to be looked up: {}; {}", len(leases) - place, error)
                self._table.put_gone(leases[place:])
                break
        if cancelled:
            self._tell(cancelled)

    def _tell(self, leases: Sequence[Lease]) -> None:
        self._publisher.publish(
            [message_of(lease, self._engine.worker_id) for lease in leases],
            lambda outcomes: self._note(zip(leases, outcomes, strict=True)),
        )

    def _note(self, told: Iterable[tuple[Lease, Outcome]]) -> None:
        """Note what is in its queue, and try the rest again. Runs on the publisher's thread."""
        for lease, outcome in told:
            if outcome is Outcome.CONFIRMED:
                metrics.cancelled(lease.system.name).inc()
                logger.info("told {} that task {} was cancelled", lease.system.name, lease.task_id)
            elif outcome in (Outcome.UNSENT, Outcome.UNKNOWN):
                self._table.put_gone([lease])
            else:
                logger.warning(
                    "cannot tell {} that task {} was cancelled: {}",
                    lease.system.name,
                    lease.task_id,
                    outcome.value,
                )


def message_of(lease: Lease, worker_id: str) -> Publication:
    """Return the message for a lease whose task was cancelled."""
    return cancellation_message(
        CancelledTask(
            task_id=lease.task_id,
            topic=lease.topic,
            process_instance_id=lease.process_instance_id,
            attempt=attempt_of(lease.retries),
            worker_id=worker_id,
            system=lease.system.name,
            expires_in_ms=lease.system.lock_ms,
        )
    )
