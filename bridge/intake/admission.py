"""What can be delivered now: nothing is locked at the engine that could not reach its queue."""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from loguru import logger

from bridge import clock
from bridge.broker import Inbox, Publisher, QueueState
from bridge.contract import RESPONSE_QUEUE
from bridge.errors import Unavailable
from bridge.leases import LeaseKeeper, LeaseTable
from bridge.routing import System
from bridge.texts import Said

CATCHING_UP_SECONDS = 10.0
STANDSTILL_SECONDS = 30.0  # of an engine whose answers we have in hand: it may have just started
ON_ITS_WAY_SECONDS = 0.25  # what the broker has delivered is not ready any more, and not in hand yet
SETTLED_SECONDS = 7.0  # another process may find out later than we that the engine is back
RECONCILED_PER_SECOND = 1000


@dataclass(frozen=True, slots=True)
class Limits:
    """How much may be under way."""

    queue_high_water: int
    max_in_flight: int
    waiting_answers: int


class Admission:
    """Says which systems may get more tasks. On the worker's thread, but `paused` and `note_published`."""

    def __init__(
        self,
        publisher: Publisher,
        leases: LeaseTable,
        keeper: LeaseKeeper,
        inbox: Inbox,
        limits: Limits,
    ) -> None:
        self._publisher = publisher
        self._leases = leases
        self._keeper = keeper
        self._inbox = inbox
        self._limits = limits
        self._published: Counter[str] = Counter()
        self._counted_at: dict[str, float] = {}
        self._paused: dict[str, str] = {}
        self._reconcile_at = 0.0
        self._refused_until: dict[str, float] = {}
        self.note_outage()  # what was answered before we began is applied first

    def wait_for_broker(self, seconds: float) -> bool:
        """Wait at most `seconds` until the broker takes messages; whether it does."""
        if self._publisher.wait_until_ready(seconds):
            return True
        self.note_outage()
        return False

    def may_fetch(self) -> bool:
        """Whether anything may be fetched: the broker takes messages, and answers do not wait for the engine.

        Work that is finished leaves first; fetching is cheap for the engine and completing is dear. The tasks that
        an earlier process of ours locked are known before. Raises Unavailable where the engine does not tell them.
        """
        self._keeper.rebuild_once()
        # The last look at the queue may be old: where the engine is fast, it would keep us waiting too long.
        responses = self._publisher.watch.state(RESPONSE_QUEUE)
        in_queue = 0 if self._inbox.has_all else responses.ready
        if not self._is_read or (in_queue and not responses.consumers):
            self.note_outage()  # of whoever should read or apply them
        if in_queue >= self._limits.waiting_answers:
            self._publisher.watch.look_soon()
        return (
            self._publisher.ready
            and in_queue + self._inbox.in_hand < self._limits.waiting_answers
            and self._has_caught_up()
        )

    def note_outage(self) -> None:
        """Note that engine or broker is unavailable: fetch no more until the answers that wait then are applied.

        Where the locks of their tasks ended during the outage, the engine would offer the same tasks again.
        """
        self._outage_at = self._progress_at = clock.now()
        self._caught_up_at_done: int | None = None
        self._fewest_waiting = math.inf

    def _has_caught_up(self) -> bool:
        """Whether the answers that waited after the outage are applied; those that came since do not count."""
        if self._outage_at == -math.inf:
            return True
        responses = self._publisher.watch.state(RESPONSE_QUEUE)
        is_seen = clock.now() > responses.seen_at + ON_ITS_WAY_SECONDS and responses.seen_at > self._outage_at
        if self._caught_up_at_done is None and is_seen and self._is_read:
            # While some are ready, those in hand are as many as the broker delivers, or soon will be.
            delivered = self._inbox.prefetch if responses.ready and self._inbox.is_read else self._inbox.in_hand
            self._caught_up_at_done = self._inbox.done + responses.ready + delivered
        is_done = self._caught_up_at_done is not None and self._inbox.done >= self._caught_up_at_done
        is_empty = (
            is_seen and self._is_read and not self._inbox.in_hand and self._was_emptied(responses.seen_empty_at)
        )
        if is_done or is_empty or not self._makes_progress(responses.ready + self._inbox.in_hand):
            self._outage_at = -math.inf
            return True
        self._publisher.watch.look_soon()
        return False

    def _was_emptied(self, seen_empty_at: float) -> bool:
        """Whether the queue was seen empty after the outage; what another process took needs a little longer."""
        return seen_empty_at > self._outage_at + (0.0 if self._inbox.is_read else SETTLED_SECONDS)

    @property
    def _is_read(self) -> bool:
        return self._inbox.subscribed or not self._inbox.is_read

    def _makes_progress(self, waiting: int) -> bool:
        """Whether fewer answers wait now and then: those that nobody applies must not stop new work for ever."""
        now = clock.now()
        if waiting < self._fewest_waiting:
            self._fewest_waiting, self._progress_at = waiting, now
        return now - self._progress_at < (STANDSTILL_SECONDS if self._inbox.in_hand else CATCHING_UP_SECONDS)

    def is_open(self, system: System) -> bool:
        """Whether a system may get more tasks; logs when that changes."""
        reason = self._reason_to_pause(system)
        if reason != self._paused.get(system.name, ""):
            self._paused[system.name] = reason
            if reason:
                logger.warning("tasks for {} stay in the engine: {}", system.name, reason)
            else:
                logger.info("tasks for {} flow again", system.name)
        return not reason

    def paused(self) -> dict[str, str]:
        """Return the names of the systems that get no tasks, each with the reason. From any thread."""
        return {name: reason for name, reason in self._paused.copy().items() if reason}

    def room(self, systems: Iterable[System]) -> int:
        """Return how many tasks the fullest of these systems can take, not counting full ones."""
        return min((room for room in map(self._room, systems) if room > 0), default=0)

    def _room(self, system: System) -> int:
        most = self._limits.max_in_flight if system.max_in_flight is None else system.max_in_flight
        return most - self._leases.in_flight(system)

    def note_published(self, system: System, count: int) -> None:
        """Count what went out since the queue was last seen; look again soon when that is much."""
        self._published[system.name] += count
        if self._published[system.name] > self._limits.queue_high_water // 4:
            self._publisher.watch.look_soon()

    def pause(self, system: System, seconds: float) -> None:
        """Leave a system out for a while: its queue refused a message."""
        self._refused_until[system.name] = clock.now() + seconds

    def is_mended(self, system: System) -> bool:
        """Whether a queue that took no message exists again, and is bound."""
        return not self._publisher.watch.state(system.queue).is_lost

    @property
    def mends(self) -> bool:
        """Whether such a queue is declared and bound again, unless somebody hinders it."""
        return self._publisher.watch.may_declare

    def _reason_to_pause(self, system: System) -> str:
        state = self._publisher.watch.state(system.queue)
        if state.trouble:
            return state.trouble
        if state.is_lost:
            return Said("{queue} was deleted or lost its binding", queue=system.queue)
        if system.name in self._refused_until and clock.now() < self._refused_until[system.name]:
            return Said("{queue} took no message lately", queue=system.queue)
        if (ready := self._ready(system, state)) >= self._limits.queue_high_water:
            return Said(
                "messages in {queue}: {ready}, RABBITMQ_QUEUE_HIGH_WATER is reached",
                queue=system.queue,
                ready=ready,
            )
        if self._room(system) <= 0:
            self._reconcile()
            if self._room(system) <= 0:
                name = "CAMUNDA_MAX_IN_FLIGHT" if system.max_in_flight is None else "max_in_flight"
                return Said("{setting} is reached", setting=name)
        return ""

    def _ready(self, system: System, state: QueueState) -> int:
        """Return the ready messages as last seen plus what was published since."""
        if state.seen_at != self._counted_at.get(system.name):
            self._counted_at[system.name] = state.seen_at
            self._published[system.name] = 0
        return state.ready + self._published[system.name]

    def _reconcile(self) -> None:
        """Correct the counts by the engine's own: answers may pass through another process."""
        if clock.now() >= self._reconcile_at:
            self._reconcile_at = clock.now() + 1.0 + len(self._leases.all()) / RECONCILED_PER_SECOND
            try:
                self._keeper.reconcile()
            except Unavailable as error:
                logger.warning("tasks in flight cannot be counted: {}", error)
