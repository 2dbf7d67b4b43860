"""The way out: tasks with their messages, until each message is safe in a queue or its task is given back."""

import threading
from collections import Counter
from collections.abc import Sequence
from queue import Empty, SimpleQueue

from loguru import logger

from bridge import clock, heartbeats, metrics
from bridge.broker import Outcome, Publisher
from bridge.contract import ExternalTask
from bridge.counted import counted
from bridge.errors import Unavailable
from bridge.intake.admission import Admission
from bridge.intake.held_tasks import HeldTask, HeldTasks
from bridge.leases import LeaseTable
from bridge.statistics import PublishedLine, Statistics

UNCONFIRMED_BATCHES = 4  # fetching goes on while the broker writes the last batches to its disk
CONFIRM_SECONDS_AT_STOP = 10.0
NOT_DELIVERED = (Outcome.RETURNED, Outcome.REFUSED, Outcome.DENIED, Outcome.TOO_LARGE, Outcome.UNSENT)
REFUSED = (Outcome.REFUSED, Outcome.DENIED)


class Outbox:
    """Publishes tasks and looks after those whose message was not confirmed.

    Used by the worker's thread; the outcomes come on the publisher's.
    """

    def __init__(
        self,
        publisher: Publisher,
        held_tasks: HeldTasks,
        leases: LeaseTable,
        admission: Admission,
        statistics: Statistics,
        stopping: threading.Event,
    ) -> None:
        self._publisher = publisher
        self._held_tasks = held_tasks
        self._leases = leases
        self._admission = admission
        self._statistics = statistics
        self._stopping = stopping
        self._window = clock.BoundedSemaphore(UNCONFIRMED_BATCHES)
        self._undelivered: SimpleQueue[tuple[HeldTask, Outcome]] = SimpleQueue()
        self._published_line = PublishedLine()

    def take(self, tasks: Sequence[ExternalTask], fetch_sent: float) -> None:
        """Publish what a fetch has brought, which was sent at that moment (monotonic)."""
        self._send(self._held_tasks.hold_all(tasks, fetch_sent))

    def look_after(self) -> None:
        """Publish again or give back what was not confirmed, and say what was. Raises Unavailable."""
        self._published_line.say_if_due()
        self._send(self._to_publish_again())

    def give_back_refused(self) -> None:
        """Give back what the broker refused; that needs nothing of the broker."""
        for outcome in REFUSED:
            for held in self._take(outcome):
                self._give_back(held, outcome)

    def close(self) -> None:
        """Wait for the confirms that are out, and free what was certainly not published."""
        deadline = clock.now() + CONFIRM_SECONDS_AT_STOP
        for _ in range(UNCONFIRMED_BATCHES):
            self._window.acquire(timeout=max(0.0, deadline - clock.now()))
        self._published_line.say()
        for held, outcome in self._take_all():
            self._held_tasks.free(held, is_undelivered=outcome in NOT_DELIVERED)

    def _send(self, batch: Sequence[HeldTask]) -> None:
        """Hand a batch to the publisher once few enough are unconfirmed; after a long wait, what is in time."""
        if not batch:
            return
        waits_since = clock.now()
        if not self._enter_window():
            for held in batch:
                self._undelivered.put((held, Outcome.UNSENT))
            return
        sent = clock.now()
        if sent - waits_since > 1.0:
            batch = self._in_time(batch)
        if not batch:
            self._window.release()
            return
        self._publisher.publish(
            [held.publication for held in batch],
            lambda outcomes: self._note_outcomes(batch, outcomes, sent),
            send_by=min(held.lease_ends for held in batch),
        )

    def _enter_window(self) -> bool:
        """Wait for a place among the unconfirmed batches; False when stopping."""
        while not self._window.acquire(timeout=1.0):
            heartbeats.beat()
            if self._stopping.is_set():
                return False
        return True

    def _in_time(self, batch: Sequence[HeldTask]) -> list[HeldTask]:
        """Return what may be published after a wait, with messages that expire in time; let the rest go."""
        again = []
        for held in batch:
            if not self._held_tasks.is_in_time(held):
                self._held_tasks.let_go(held)
            elif fresh := self._held_tasks.hold_again(held, may_be_out=held.may_be_out):
                again.append(fresh)
        if len(again) < len(batch):
            late = counted(len(batch) - len(again), "task")
            logger.warning("letting {} go, which waited too long to be published", late)
        return again

    def _note_outcomes(self, batch: Sequence[HeldTask], outcomes: Sequence[Outcome], sent: float) -> None:
        """Note what is confirmed and leave the rest to the next turn. Runs on the publisher's thread."""
        confirmed = []
        for held, outcome in zip(batch, outcomes, strict=True):
            if outcome is Outcome.CONFIRMED:
                confirmed.append(held)
            else:
                self._undelivered.put((held, outcome))
                metrics.published(held.system.name, outcome.name.lower()).inc()
        if confirmed:
            metrics.CONFIRM_SECONDS.observe(clock.now() - sent)
            self._note_confirmed(confirmed)
        self._window.release()

    def _note_confirmed(self, confirmed: Sequence[HeldTask]) -> None:
        self._leases.published(held.task.id for held in confirmed)
        for held in confirmed:
            held.end_span("confirmed", failed=False)
        self._statistics.add(succeeded=len(confirmed))
        metrics.succeeded("publish")
        systems = Counter(held.system for held in confirmed)
        for system, count in systems.items():
            self._admission.note_published(system, count)
            metrics.published(system.name, "confirmed").inc(count)
        self._published_line.add({system.name: count for system, count in systems.items()})

    def _to_publish_again(self) -> list[HeldTask]:
        """Return what must be published again now, and give back what the broker refused. Raises Unavailable."""
        self.give_back_refused()
        unknown = self._take(Outcome.UNSENT, Outcome.UNKNOWN)
        again = self._still_ours(unknown) if unknown else []
        mended = [fresh for held in self._take(Outcome.RETURNED) if (fresh := self._when_mended(held))]
        if mended:
            logger.info("publishing {} again that no queue took: it is bound again", counted(len(mended), "task"))
        smaller = [fresh for held in self._take(Outcome.TOO_LARGE) if (fresh := self._smaller(held))]
        return again + mended + smaller

    def _still_ours(self, unknown: Sequence[HeldTask]) -> list[HeldTask]:
        try:
            return self._held_tasks.still_ours(unknown)
        except Unavailable:
            for held in unknown:
                self._undelivered.put((held, Outcome.UNKNOWN))
            raise

    def _when_mended(self, held: HeldTask) -> HeldTask | None:
        """Return what no queue took once its queue exists again; until then it waits, if the lease allows."""
        if not self._held_tasks.is_in_time(held) or not self._admission.mends:
            self._give_back(held, Outcome.RETURNED)
        elif self._admission.is_mended(held.system):
            return self._held_tasks.hold_again(held, may_be_out=held.may_be_out)
        else:
            self._undelivered.put((held, Outcome.RETURNED))
        return None

    def _smaller(self, held: HeldTask) -> HeldTask | None:
        """Return a task with a message that the broker takes; where it can have none, it gets an incident."""
        self._held_tasks.note_most_bytes(self._publisher.most_bytes)
        if self._held_tasks.is_in_time(held):
            return self._held_tasks.hold_again(held, may_be_out=held.may_be_out)
        self._held_tasks.let_go(held)
        return None

    def _give_back(self, held: HeldTask, outcome: Outcome) -> None:
        self._admission.pause(held.system, self._held_tasks.give_back(held, outcome.value))

    def _take(self, *outcomes: Outcome) -> list[HeldTask]:
        """Take out what had one of these outcomes."""
        taken = []
        for held, outcome in self._take_all():
            if outcome in outcomes:
                taken.append(held)
            else:
                self._undelivered.put((held, outcome))
        return taken

    def _take_all(self) -> list[tuple[HeldTask, Outcome]]:
        taken = []
        try:
            while True:
                taken.append(self._undelivered.get_nowait())
        except Empty:
            return taken
