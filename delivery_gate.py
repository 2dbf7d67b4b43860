"""What can be delivered now: nothing is locked at the engine that could not reach its queue."""

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from loguru import logger

import clock
from config import RoutingConfig
from errors import Unavailable
from leases import LeaseKeeper, LeaseTable
from messages import RESPONSE_QUEUE
from rabbitmq_client import Publisher
from routing_file import System

RECONCILE_SECONDS = 10.0
CATCHING_UP_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Limits:
    """How much may be under way."""

    queue_high_water: int
    max_in_flight: int
    waiting_answers: int


class DeliveryGate:
    """Says which systems may get more tasks.

    `answers_in_hand` counts responses that wait for the engine; `has_all_answers`: none of them is in the queue.
    """

    def __init__(
        self,
        publisher: Publisher,
        leases: LeaseTable,
        keeper: LeaseKeeper,
        routing: RoutingConfig,
        limits: Limits,
        answers_in_hand: Callable[[], int],
        has_all_answers: Callable[[], bool],
    ) -> None:
        self._publisher = publisher
        self._leases = leases
        self._keeper = keeper
        self._routing = routing
        self._limits = limits
        self._answers_in_hand = answers_in_hand
        self._has_all_answers = has_all_answers
        self._published: Counter[str] = Counter()
        self._counted_at: dict[str, float] = {}
        self._paused: dict[str, str] = {}
        self._reconcile_at: dict[str, float] = {}
        self._refused_until: dict[str, float] = {}
        self._outage_at = self._behind_at = -math.inf

    def may_fetch(self) -> bool:
        """Whether anything may be fetched: the broker takes messages, and answers do not wait for the engine.

        Work that is finished leaves first; fetching is cheap for the engine and completing is dear.
        """
        # The last look at the queue may be old: where the engine is fast, it would keep the gate closed too long.
        in_queue = 0 if self._has_all_answers() else self._publisher.watch.state(RESPONSE_QUEUE).ready
        if in_queue >= self._limits.waiting_answers:
            self._publisher.watch.hurry()
        return (
            self._publisher.ready
            and in_queue + self._answers_in_hand() < self._limits.waiting_answers
            and self._has_caught_up()
        )

    def note_outage(self) -> None:
        """Note that the engine is away: fetch no more until the answers that wait meanwhile are applied.

        Where the locks of their tasks ended during the outage, the engine would offer the same tasks again.
        """
        self._outage_at = self._behind_at = clock.now()

    def _has_caught_up(self) -> bool:
        """Whether the response queue was seen empty after the outage, and nothing of it is in hand since then."""
        now = clock.now()
        if now - self._outage_at > CATCHING_UP_SECONDS:
            return True  # answers that nobody applies must not stop new work for ever
        if self._answers_in_hand():
            self._behind_at = now
        if self._publisher.watch.state(RESPONSE_QUEUE).seen_empty_at > self._behind_at:
            self._outage_at = -math.inf
            return True
        self._publisher.watch.hurry()
        return False

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

    def room(self) -> int:
        """Return how many tasks the fullest of the open systems can still take."""
        rooms = (self._limits.max_in_flight - self._leases.in_flight(system) for system in self._routing.systems)
        return min((room for room in rooms if room > 0), default=0)

    def note_published(self, system: System, count: int) -> None:
        """Count what went out since the queue was last seen; look again soon when that is much."""
        self._published[system.name] += count
        if self._published[system.name] > self._limits.queue_high_water // 4:
            self._publisher.watch.hurry()

    def pause(self, system: System, seconds: float) -> None:
        """Leave a system out for a while: its queue refused a message."""
        self._refused_until[system.name] = clock.now() + seconds

    def is_mended(self, system: System) -> bool:
        """Whether a queue that took no message is there again, and bound."""
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
            return f"{system.queue} was deleted or lost its binding"
        if clock.now() < self._refused_until.get(system.name, 0.0):
            return f"{system.queue} took no message lately"
        if self._ready(system) >= self._limits.queue_high_water:
            return f"{system.queue} holds {state.ready} messages, RABBITMQ_QUEUE_HIGH_WATER is reached"
        if self._leases.in_flight(system) >= self._limits.max_in_flight:
            self._reconcile(system)
            if self._leases.in_flight(system) >= self._limits.max_in_flight:
                return "CAMUNDA_MAX_IN_FLIGHT is reached"
        return ""

    def _ready(self, system: System) -> int:
        """Return the ready messages as last seen plus what was published since."""
        state = self._publisher.watch.state(system.queue)
        if state.seen_at != self._counted_at.get(system.name):
            self._counted_at[system.name] = state.seen_at
            self._published[system.name] = 0
        return state.ready + self._published[system.name]

    def _reconcile(self, system: System) -> None:
        """Correct the count by the engine's own: answers may pass through another process."""
        if clock.now() >= self._reconcile_at.get(system.name, 0.0):
            self._reconcile_at[system.name] = clock.now() + RECONCILE_SECONDS
            try:
                self._keeper.reconcile(system)
            except Unavailable as error:
                logger.warning("tasks in flight for {} cannot be counted: {}", system.name, error)
