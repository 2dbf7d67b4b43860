"""From the engine to the queues: fetch and lock, route, publish; one batch per turn."""

import math
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from loguru import logger

from bridge import clock, heartbeats, metrics
from bridge.backoff import Backoff
from bridge.broker import Outcome, Publisher
from bridge.contract import ExternalTask
from bridge.engine import CamundaClient
from bridge.errors import LoginRefused, NotGivenOut, Unavailable
from bridge.intake.admission import DeliveryGate
from bridge.intake.backlogs import Backlogs
from bridge.intake.held_task import HeldTask, TaskHolder
from bridge.intake.narrowing import Narrowing
from bridge.intake.polls import Polls
from bridge.intake.topics import Topics
from bridge.intake.undelivered import Undelivered
from bridge.leases import LeaseKeeper, LeaseRules, LeaseTable
from bridge.routing import Routing, System
from bridge.statistics import PublishedLine, Statistics

UNCONFIRMED_BATCHES = 4  # fetching goes on while the broker writes the last batches to its disk
CLOSED_GATE_SECONDS = 0.02
NO_TOPICS_SECONDS = 0.25
WAIT_MS_BESIDE_FULL_SYSTEM = 500
FIRST_WAIT_MS = 500
LONGEST_PAUSE_SECONDS = 5.0  # tasks flow again soon after the engine is back
CONFIRM_SECONDS_AT_STOP = 10.0


@dataclass(frozen=True, slots=True)
class WorkerRules:
    """How tasks are fetched: how many and how long a poll waits, in milliseconds, and how they are locked."""

    max_tasks: int
    wait_ms: int
    leases: LeaseRules


class CamundaWorker:
    """Takes all external tasks it serves from the engine and publishes each to its system's queue."""

    def __init__(
        self,
        camunda: CamundaClient,
        publisher: Publisher,
        gate: DeliveryGate,
        leases: LeaseTable,
        keeper: LeaseKeeper,
        routing: Routing,
        topics: Topics,
        holder: TaskHolder,
        undelivered: Undelivered,
        statistics: Statistics,
        stopping: threading.Event,
        rules: WorkerRules,
    ) -> None:
        self._camunda = camunda
        self._publisher = publisher
        self._gate = gate
        self._leases = leases
        self._keeper = keeper
        self._routing = routing
        self._topics = topics
        self._holder = holder
        self._undelivered = undelivered
        self._statistics = statistics
        self._stopping = stopping
        self._rules = rules
        self._backlogs = Backlogs()
        self._polls = Polls(rules.wait_ms, camunda.back_offs)
        self._narrowing = Narrowing(camunda, routing, self._take)
        self._backoff = Backoff(longest=LONGEST_PAUSE_SECONDS)
        self._is_rebuilt = False
        self._began = -math.inf
        self.has_fetched = False
        self.engine_trouble = ""
        self._window = clock.BoundedSemaphore(UNCONFIRMED_BATCHES)
        self._published_line = PublishedLine()

    def run(self) -> None:
        """Take turns until stopping; then bring what is in hand to a safe end."""
        self._began = clock.now()
        while not self._stopping.is_set():
            heartbeats.beat()
            try:
                self.turn()
                self._backoff.reset()
            except Unavailable as error:
                self.engine_trouble = str(error)
                self._gate.note_outage()
                pause = max(self._backoff.pause(), error.wait_seconds)
                logger.warning("{}; next attempt in {:.1f} s", error, pause)
                heartbeats.beat(within=pause + heartbeats.PATIENCE_SECONDS)
                self._stopping.wait(pause)
        self._finish()

    def turn(self) -> None:
        """Fetch one batch and hand it to the publisher, unless nothing can be delivered now."""
        if not self._publisher.wait_until_ready(1.0):
            self._gate.note_outage()
            self._undelivered.give_back()
            return
        self._published_line.say_if_due()
        self._publish(self._undelivered.settle())
        self._rebuild_once()
        open_systems = self._open_systems() if self._gate.may_fetch() else ()
        topics = self._topics.of_systems() if open_systems else {}
        served = [system for system in open_systems if system.name in topics]
        asked = self._backlogs.next(served)
        if not asked:
            nothing_to_ask_for = open_systems and not topics
            self._stopping.wait(NO_TOPICS_SECONDS if nothing_to_ask_for else CLOSED_GATE_SECONDS)
            return
        self.has_fetched = True
        if self._stopping.is_set():  # a stop does not wait for us before the first fetch
            return
        self._narrowing.attend(served)
        wait_ms = 0 if len(asked) < len(served) else self._wait_ms(asked, open_systems)
        self._poll(asked, topics, wait_ms)

    def _poll(self, asked: Sequence[System], topics: Mapping[str, Iterable[str]], wait_ms: int) -> None:
        """Fetch the tasks of these systems and publish them; wait where the engine did not."""
        sent, max_tasks = clock.now(), min(self._rules.max_tasks, self._gate.room(asked))
        leases = self._narrowing.unsuspected(tuple(self._with_leases(asked, topics)))
        if not leases:
            self._stopping.wait(min(NO_TOPICS_SECONDS, self._narrowing.due_in()))
            return
        try:
            tasks = self._camunda.fetch_and_lock(leases, max_tasks=max_tasks, wait_ms=wait_ms)
        except NotGivenOut as error:
            self._narrowing.search(leases, max_tasks, error)
            return
        except Unavailable as error:
            self._bear_cut(error, wait_ms, clock.now() - sent)
            return
        seconds = clock.now() - sent
        self._take(tasks, sent)
        systems = [self._routing.system_of(task.topic) for task in tasks]
        self._backlogs.note(asked, systems, is_full=len(tasks) >= max_tasks)
        if pause := self._polls.pause_after(wait_ms, seconds, is_empty=not tasks):
            self._stopping.wait(pause)

    def _bear_cut(self, error: Unavailable, wait_ms: int, seconds: float) -> None:
        """Go on with shorter polls where one that waited was cut off, and the engine is there all the same."""
        if isinstance(error, LoginRefused) or error.wait_seconds or not self._polls.is_cut_off(wait_ms, seconds):
            raise error
        self._camunda.probe()
        self._polls.note_cut(seconds, str(error))

    def not_given_out(self) -> list[str]:
        """Return a line for each topic with tasks that the engine cannot give out. From any thread."""
        return self._narrowing.troubles()

    def _take(self, tasks: Sequence[ExternalTask], fetch_sent: float) -> None:
        """Publish what a fetch has brought."""
        self.engine_trouble = ""
        metrics.succeeded("fetch")
        for topic, count in Counter(task.topic for task in tasks).items():
            metrics.fetched(self._routing.system_of(topic).name, topic).inc(count)
        self._publish(self._holder.hold_all(tasks, fetch_sent))

    def _rebuild_once(self) -> None:
        if not self._is_rebuilt:
            self._keeper.rebuild(self._routing.system_of)
            self._is_rebuilt = True

    def _open_systems(self) -> list[System]:
        """Return the systems that may get more tasks."""
        return [system for system in self._routing.systems if self._gate.is_open(system)]

    def _with_leases(
        self, systems: Iterable[System], topics: Mapping[str, Iterable[str]]
    ) -> Iterator[tuple[str, int]]:
        """Yield the topics of these systems, each with the lease for its tasks."""
        for system in systems:
            lease_ms = self._rules.leases.lease_ms_of(system)
            yield from ((topic, lease_ms) for topic in topics[system.name])

    def _wait_ms(self, asked: Sequence[System], open_systems: Sequence[System]) -> int:
        """Return how long the poll waits: one without the topics of a full system must let these in again soon.

        A stop waits for the poll, which is no longer than we have run: a worker that has just started stops soon.
        """
        all_open = len(open_systems) == len(self._routing.systems)
        longest = self._rules.wait_ms if all_open else WAIT_MS_BESIDE_FULL_SYSTEM
        run_ms = int(min(clock.now() - self._began, 3600) * 1000)
        return self._polls.wait_ms(
            [self._rules.leases.lease_ms_of(system) for system in asked],
            at_most_ms=min(longest, max(FIRST_WAIT_MS, run_ms), 1000 * self._narrowing.due_in()),
        )

    def _publish(self, batch: Sequence[HeldTask]) -> None:
        if not batch:
            return
        waits_since = clock.now()
        while not self._window.acquire(timeout=1.0):
            heartbeats.beat()
            if self._stopping.is_set():
                for held in batch:
                    self._undelivered.add(held, Outcome.UNSENT)
                return
        sent = clock.now()
        if sent - waits_since > 1.0:
            batch = self._undelivered.in_time(batch)
        if not batch:
            self._window.release()
            return
        publications = [held.publication for held in batch]
        self._publisher.publish(publications, lambda fates: self._settled(batch, fates, sent))

    def _settled(self, batch: Sequence[HeldTask], outcomes: Sequence[Outcome], sent: float) -> None:
        """Note what is confirmed and leave the rest to the next turn. Runs on the publisher's thread."""
        confirmed = []
        for held, outcome in zip(batch, outcomes, strict=True):
            if outcome is Outcome.CONFIRMED:
                confirmed.append(held)
            else:
                self._undelivered.add(held, outcome)
                metrics.published(held.system.name, outcome.name.lower()).inc()
        if confirmed:
            metrics.CONFIRM_SECONDS.observe(clock.now() - sent)
            self._note_confirmed(confirmed)
        self._window.release()

    def _note_confirmed(self, confirmed: Sequence[HeldTask]) -> None:
        self._leases.published(held.task.id for held in confirmed)
        self._statistics.add(succeeded=len(confirmed))
        metrics.succeeded("publish")
        systems = Counter(held.system for held in confirmed)
        for system, count in systems.items():
            self._gate.note_published(system, count)
            metrics.published(system.name, "confirmed").inc(count)
        self._published_line.add({system.name: count for system, count in systems.items()})

    def _finish(self) -> None:
        """Wait for the confirms that are out, free what was certainly not published, extend the rest."""
        deadline = clock.now() + CONFIRM_SECONDS_AT_STOP
        for _ in range(UNCONFIRMED_BATCHES):
            self._window.acquire(timeout=max(0.0, deadline - clock.now()))
        self._published_line.say()
        self._undelivered.free()
        self._keeper.finish()


if __name__ == "__main__":
    import sys

    from main import main

    sys.exit(main("camunda_worker"))
