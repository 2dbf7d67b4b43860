"""From the engine to the queues: fetch and lock, route, publish; one batch per turn."""

import math
import sys
import threading
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from loguru import logger

from bridge import clock, heartbeats, metrics
from bridge.backoff import Backoff
from bridge.contract import ExternalTask
from bridge.engine import CamundaClient
from bridge.errors import LoginRefused, NotGivenOut, Unavailable
from bridge.intake import (
    Admission,
    Backlogs,
    FailedTasks,
    HeldTasks,
    Limits,
    MessageRules,
    Narrowing,
    OddNames,
    Outbox,
    Polls,
    Topics,
)
from bridge.leases import Cancellations, Extension, LeaseKeeper, LeaseRules, Silence
from bridge.observe import Shown
from bridge.process import Component, Service, Shared, parse_arguments, run
from bridge.routing import Subscription, System
from config import worker_settings
from rabbitmq_client import RabbitMQClient

NOTHING_OPEN_SECONDS = 0.02
NO_TOPICS_SECONDS = 0.25
WAIT_MS_BESIDE_FULL_SYSTEM = 500
WAIT_MS_BESIDE_SHARED_TOPIC = 250  # of the systems that share it each has a request of its own, in turn
FIRST_WAIT_MS = 500
LONGEST_PAUSE_SECONDS = 5.0  # tasks flow again soon after the engine is back


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
        engine: CamundaClient,
        topics: Topics,
        admission: Admission,
        outbox: Outbox,
        stopping: threading.Event,
        rules: WorkerRules,
    ) -> None:
        self._engine = engine
        self._topics = topics
        self._routing = topics.routing
        self._admission = admission
        self._outbox = outbox
        self._stopping = stopping
        self._rules = rules
        self._backlogs = Backlogs(topics.routing.apart)
        self._polls = Polls(rules.wait_ms, engine.back_offs)
        self._narrowing = Narrowing(engine, topics.routing, self._take)
        self._odd_names = OddNames(engine.stored_variables, topics.routing)
        self._backoff = Backoff(longest=LONGEST_PAUSE_SECONDS)
        self._began = -math.inf
        self.has_fetched = False
        self.engine_trouble = ""

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
                self._admission.note_outage()
                pause = max(self._backoff.pause(), error.wait_seconds)
                logger.log(error.log_level, "{}; next attempt in {:.1f} s", error, pause)
                heartbeats.beat(within=pause + heartbeats.PATIENCE_SECONDS)
                self._stopping.wait(pause)
        self._outbox.close()

    def turn(self) -> None:
        """Fetch one batch and hand it to the publisher, unless nothing can be delivered now."""
        if not self._admission.wait_for_broker(1.0):
            self._outbox.give_back_refused()
            return
        self._outbox.look_after()
        open_systems = self._open_systems() if self._admission.may_fetch() else ()
        topics = self._topics.of_systems() if open_systems else {}
        served = [system for system in open_systems if system.name in topics]
        asked = self._backlogs.next(served)
        if not asked:
            nothing_to_ask_for = open_systems and not topics
            self._stopping.wait(NO_TOPICS_SECONDS if nothing_to_ask_for else NOTHING_OPEN_SECONDS)
            return
        self.has_fetched = True
        if self._stopping.is_set():  # a stop does not wait for us before the first fetch
            return
        self._narrowing.attend(served)
        wait_ms = 0 if self._backlogs.has_others(served, asked) else self._wait_ms(asked, open_systems)
        self._poll(asked, topics, wait_ms)

    def _poll(
        self, asked: Sequence[System], subscribed: Mapping[str, Iterable[Subscription]], wait_ms: int
    ) -> None:
        """Fetch the tasks of these systems and publish them; wait where the engine did not."""
        sent, max_tasks = clock.now(), min(self._rules.max_tasks, self._admission.room(asked))
        subscriptions = self._narrowing.unsuspected(
            chain.from_iterable(subscribed[system.name] for system in asked)
        )
        if not subscriptions:
            self._stopping.wait(min(NO_TOPICS_SECONDS, self._narrowing.due_in()))
            return
        try:
            tasks = self._engine.fetch_and_lock(subscriptions, max_tasks=max_tasks, wait_ms=wait_ms)
        except NotGivenOut as error:
            self._narrowing.search(subscriptions, max_tasks, error)
            return
        except Unavailable as error:
            self._bear_cut(error, wait_ms, clock.now() - sent)
            return
        seconds = clock.now() - sent
        self._take(tasks, sent)
        systems = [self._routing.system_of(task) for task in tasks]
        self._backlogs.note(asked, systems, is_full=len(tasks) >= max_tasks)
        if pause := self._polls.pause_after(wait_ms, seconds, is_empty=not tasks):
            self._stopping.wait(pause)

    def _bear_cut(self, error: Unavailable, wait_ms: int, seconds: float) -> None:
        """Go on with shorter polls where one that waited was cut off, and the engine answers all the same."""
        if isinstance(error, LoginRefused) or error.wait_seconds or not self._polls.is_cut_off(wait_ms, seconds):
            raise error
        self._engine.probe()
        self._polls.note_cut(seconds, str(error))

    def not_given_out(self) -> list[str]:
        """Return a line for each topic with tasks that the engine cannot give out. From any thread."""
        return self._narrowing.troubles()

    def _take(self, tasks: Sequence[ExternalTask], fetch_sent: float) -> None:
        """Publish what a fetch has brought."""
        self.engine_trouble = ""
        metrics.succeeded("fetch")
        for (system, topic), count in Counter((self._routing.system_of(t).name, t.topic) for t in tasks).items():
            metrics.fetched(system, topic).inc(count)
        odd = [task for task in tasks if self._odd_names.of(task)]
        self._outbox.take([task for task in tasks if task not in odd] if odd else tasks, fetch_sent)
        if odd:
            self._outbox.take(self._odd_names.with_ids(odd), fetch_sent)

    def _open_systems(self) -> list[System]:
        """Return the systems that may get more tasks."""
        return [system for system in self._routing.systems if self._admission.is_open(system)]

    def _wait_ms(self, asked: Sequence[System], open_systems: Sequence[System]) -> int:
        """Return how long the poll waits: one without the topics of a full system must let these in again soon.

        A stop waits for the poll, which is no longer than we have run: a worker that has just started stops soon.
        """
        all_open = len(open_systems) == len(self._routing.systems)
        longest = self._rules.wait_ms if all_open else WAIT_MS_BESIDE_FULL_SYSTEM
        if self._routing.apart:
            longest = min(longest, WAIT_MS_BESIDE_SHARED_TOPIC)
        run_ms = int(min(clock.now() - self._began, 3600) * 1000)
        return self._polls.wait_ms(
            [self._rules.leases.lease_ms_of(system) for system in asked],
            at_most_ms=min(longest, max(FIRST_WAIT_MS, run_ms), 1000 * self._narrowing.due_in()),
        )


def _topics_of(shared: Shared) -> Topics:
    settings = shared.settings
    return Topics(
        shared.engine,
        shared.routing,
        shared.lease_rules,
        include=settings.camunda_topics_include,
        exclude=settings.camunda_topics_exclude,
        refresh_seconds=settings.camunda_async_response_timeout / 2000,
    )


def worker_services(shared: Shared) -> Component:
    """Build what brings tasks to the queues; its services stop in their order."""
    settings, lease_rules = shared.settings, shared.lease_rules
    publisher = RabbitMQClient.of(shared).task_publisher(shared.watch)
    keeper = LeaseKeeper(
        shared.engine,
        shared.leases,
        Extension(shared.engine, shared.leases),
        Silence(shared.engine, shared.leases, shared.watch, lease_rules),
        shared.routing,
        shared.stopping,
    )
    limits = Limits(
        queue_high_water=settings.rabbitmq_queue_high_water,
        max_in_flight=settings.camunda_max_in_flight,
        waiting_answers=max(1, settings.rabbitmq_prefetch // 2),
    )
    admission = Admission(publisher, shared.leases, keeper, shared.inbox, limits)
    held_tasks = HeldTasks(
        shared.engine,
        shared.leases,
        shared.routing,
        shared.statistics,
        MessageRules(lease_rules, settings.rabbitmq_max_message_bytes, shared.tracing),
    )
    outbox = Outbox(publisher, held_tasks, shared.leases, admission, shared.statistics, shared.stopping)
    cancellations = Cancellations(shared.engine, shared.leases, publisher, shared.stopping)
    tells_cancelled = any(system.tells_cancelled for system in shared.routing.systems)
    rules = WorkerRules(settings.camunda_max_tasks, settings.camunda_async_response_timeout, lease_rules)
    topics = _topics_of(shared)
    failed_tasks = FailedTasks(shared.engine, topics, shared.stopping)
    worker = CamundaWorker(shared.engine, topics, admission, outbox, shared.stopping, rules)
    return Component(
        services=(
            Service("camunda-worker", worker.run, holds_nothing=lambda: not worker.has_fetched),
            Service("leases", keeper.run, keeper.finish),
            Service("failed-tasks", failed_tasks.run),
            *([Service("cancellations", cancellations.run)] if tells_cancelled else ()),
            Service("publisher", publisher.run, publisher.stop, holds_nothing=lambda: publisher.holds_nothing),
        ),
        shown=Shown(
            connections={"tasks": publisher},
            engine_trouble=lambda: worker.engine_trouble,
            paused=admission.paused,
            not_given_out=worker.not_given_out,
            failed_tasks=failed_tasks.counts,
        ),
    )


if __name__ == "__main__":
    parse_arguments(sys.argv[1:], __doc__)
    sys.exit(run(worker_settings, worker=worker_services))
