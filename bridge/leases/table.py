"""The in-flight table: which tasks are out, and when to look at them."""

import heapq
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import count

from bridge import clock, metrics
from bridge.contract import ExternalTask, NamedTask, TaskState, attempt_of
from bridge.leases.answers import AnswersWithUs
from bridge.leases.lease import Lease
from bridge.leases.pauses import Pauses
from bridge.leases.rules import LeaseRules
from bridge.routing import System

KEPT_PLACES = 1000
MOST_GONE = 10_000
HANDED_ON_SECONDS = 60.0  # an answer that waited for another one is applied by then
LONGEST_CALL_SECONDS = 600.0


class LeaseTable:
    """The tasks in flight by id; may be used from any thread."""

    def __init__(
        self, rules: LeaseRules, answers_in_hand: Callable[[str], Sequence[NamedTask]] = lambda _: ()
    ) -> None:
        """Take `answers_in_hand`, which tells the answers to a task that wait in this process to be applied."""
        self.pauses = Pauses()
        self._answers_in_hand = answers_in_hand
        self._answers = AnswersWithUs()
        self._rules = rules
        self._leases: dict[str, Lease] = {}
        self._in_flight: Counter[str] = Counter()
        self._lock = clock.RLock()
        # Tasks being extended, and process instances with an answer being applied; who waits for the end of that.
        self._gone: list[Lease] = []
        self._busy: dict[str, list[Callable[[], None]]] = {}
        self._agenda: list[tuple[float, int, Lease]] = []
        self._sequence = count()

    def in_flight(self, system: System) -> int:
        """Return how many tasks of a system are out."""
        return self._in_flight[system.name]

    def all(self) -> list[Lease]:
        """Return the leases as they are now."""
        with self._lock:
            return list(self._leases.values())

    def topic_of(self, task_id: str) -> str | None:
        """Return the topic of a task that is in the table."""
        lease = self._leases.get(task_id)
        return lease.topic if lease else None

    def system_of(self, task_id: str) -> System | None:
        """Return the system that a task in the table was routed to."""
        lease = self._leases.get(task_id)
        return lease.system if lease else None

    def place_of(self, task_id: str) -> tuple[str, str] | None:
        """Return the names of the system and the topic of a task that is in the table."""
        lease = self._leases.get(task_id)
        return (lease.system.name, lease.topic) if lease else None

    def attempt_of(self, task_id: str) -> str | None:
        """Return the attempt of a task that is in the table."""
        lease = self._leases.get(task_id)
        return attempt_of(lease.retries) if lease else None

    def is_at(self, task_id: str, retries: int | None) -> bool:
        """Whether a task is at the attempt that we know of; True where we know of none."""
        lease = self._leases.get(task_id)
        return lease is None or lease.retries == retries

    def is_unsent(self, task_id: str) -> bool:
        """Whether a task was fetched by this process and no queue is known to have its message."""
        lease = self._leases.get(task_id)
        return lease is not None and not lease.published_at and not lease.is_rebuilt

    def is_current(self, lease: Lease) -> bool:
        """Whether the lease is still in the table, and not replaced by a later one of the same task."""
        return self._leases.get(lease.task_id) is lease

    def has_later(self, lease: Lease) -> bool:
        """Whether a later lease of the same task took its place in the table."""
        return self._leases.get(lease.task_id) not in (None, lease)

    def add(self, task: ExternalTask, system: System, fetch_sent: float) -> bool:
        """Enter a fetched task; False where its message must not be published again.

        It is still out there, or its answer is being applied: the lock ended before the answer came.
        """
        lease = self._lease_of(task, system, fetch_sent)
        if self._answers.applied_at(task.id) > fetch_sent or self.pauses.has_failed(task.id, task.lock_expires_at):
            return False  # its answer met the fetch, and was applied before the reply came
        before = self._leases.get(task.id)
        fetched_at = task.lock_expires_at - timedelta(milliseconds=self._rules.lease_ms_of(system))
        if (
            before
            and before.is_same_attempt(task.retries, fetched_at, fetch_sent)
            and (
                before.is_still_out or task.id in self._busy or self.has_answer(before) or self.is_in_hand(task.id)
            )
        ):
            before.renew(lease)
            self.plan(before, 0.0)
            return False
        if self._is_answered(lease) or self._has_late_answer(lease):
            lease.full_lock_ends = lease.lock_ends
            self._enter(lease)
            self.plan(lease, 0.0)
            return False
        self.pauses.forget(task.id)
        self._enter(lease)
        return True

    def is_in_hand(self, task_id: str) -> bool:
        """Whether an answer to a task was delivered and waits in this process."""
        return bool(self._answers_in_hand(task_id))

    def _has_late_answer(self, lease: Lease) -> bool:
        """Whether a task that was let go before has its answer in hand; new tasks are not looked for."""
        if not self._answers.is_owed(lease.task_id):
            return False
        return any(answer.is_of_attempt(lease.retries) for answer in self._answers_in_hand(lease.task_id))

    def _lease_of(self, task: ExternalTask, system: System, fetch_sent: float) -> Lease:
        lease_ms = self._rules.lease_ms_of(system)
        return Lease(
            task_id=task.id,
            topic=task.topic,
            process_instance_id=task.process_instance_id,
            system=system,
            retries=task.retries,
            lock_expires_at=task.lock_expires_at,
            lock_ends=fetch_sent + lease_ms / 1000,
            activity_instance_id=task.activity_instance_id,
            fetched_at=task.lock_expires_at - timedelta(milliseconds=lease_ms),
            # The engine counts from somewhere between the request and now, and so does what the message promises.
            full_lock_ends=clock.now() + system.lock_ms / 1000,
            message_ends=fetch_sent + (system.lock_ms - system.margin_ms) / 1000,
            known_within=clock.now() - fetch_sent,
        )

    def add_locked(self, state: TaskState, system: System) -> None:
        """Enter a task that an earlier process of ours locked: it counts, and is published when offered again."""
        if state.id not in self._leases and state.lock_expires_at and not self.pauses.goes_on(state.id):
            self._enter(
                Lease(
                    task_id=state.id,
                    topic=state.topic,
                    process_instance_id=state.process_instance_id,
                    system=system,
                    retries=state.retries,
                    lock_expires_at=state.lock_expires_at,
                    lock_ends=0.0,
                    full_lock_ends=0.0,
                    activity_instance_id=state.activity_instance_id,
                    extended=True,
                )
            )

    def _enter(self, lease: Lease) -> None:
        with self._lock:
            if lease.task_id not in self._leases:
                self._in_flight[lease.system.name] += 1
            self._leases[lease.task_id] = lease

    def published(self, task_ids: Iterable[str]) -> None:
        """Note that the messages of these tasks are confirmed."""
        now = clock.now()
        with self._lock:  # once for all of them
            for task_id in task_ids:
                lease = self._leases.get(task_id)
                if lease is None:
                    continue  # its answer was faster than the confirm
                lease.published_at = now
                lease.extended = not self._rules.has_extension(lease.system)
                self.plan(
                    lease, lease.looked_at_next if lease.extended else now + self._rules.extend_after_seconds
                )

    def has_answer(self, lease: Lease) -> bool:
        """Whether an answer of this attempt is with us: being applied, or in a delay tier."""
        return lease.answering or self._is_answered(lease)

    def _is_answered(self, lease: Lease) -> bool:
        return clock.now() < self._answers.until(lease.task_id, lease.retries)

    def held_until(self, lease: Lease) -> float:
        """Return until when the lock should last: as its message promises, or until its answer is applied."""
        answered_until = self._answers.until(lease.task_id, lease.retries)
        return max(lease.full_lock_ends, lease.lock_ends, min(answered_until, clock.now() + HANDED_ON_SECONDS))

    def answer_waits(self, answer: NamedTask, seconds: float) -> None:
        """Note that the task's answer is with us for so long at the most: it must not be handed out again."""
        if not answer.is_answer:
            return
        lease = self._leases.get(answer.task_id)
        if lease is not None and answer.attempt is None and answer.response_type == "failure":
            answer = replace(answer, attempt=attempt_of(lease.retries))
        self._answers.note(answer, clock.now() + seconds)

    def answer_is_gone(self, task_id: str) -> None:
        """Note that an answer is of no use any more."""
        self._answers.forget(task_id)

    def done(self, task_id: str, *, answered: bool = False) -> None:
        """Forget a task: it was answered, or given back to the engine; note how long an answer took."""
        self._answers.forget(task_id, applied=answered)
        self._remove(task_id, answered=answered)

    def _remove(self, task_id: str, *, answered: bool = False) -> None:
        with self._lock:
            lease = self._leases.pop(task_id, None)
            if lease is not None:
                self._in_flight[lease.system.name] -= 1
        if lease is not None and not answered:
            self._answers.note_owed(task_id)
        if answered and lease is not None:
            metrics.heard(lease.system.name)
            if (seconds := lease.round_trip_seconds) is not None:
                metrics.round_trip(lease.system.name).observe(seconds)

    def attempt_done(self, task_id: str, lock_expires_at: datetime | None = None) -> None:
        """Forget the attempt whose failure was applied; the next one may have been fetched already.

        `lock_expires_at`: the end of the lock under which it was applied, where that is known.
        """
        self._answers.forget(task_id)
        lease = self._leases.get(task_id)
        if lease is not None and (lease.answering or lease.is_rebuilt or lease.lock_expires_at == lock_expires_at):
            self._remove(task_id, answered=True)

    def let_go(self, task: ExternalTask) -> None:
        """Forget a task that was fetched and not published, unless it was fetched again since."""
        lease = self._leases.get(task.id)
        if lease is not None and lease.lock_expires_at == task.lock_expires_at:
            self._remove(task.id)

    def drop(self, lease: Lease) -> None:
        """Forget a lease, unless a later one of the same task took its place."""
        if self.is_current(lease):
            self._remove(lease.task_id)

    def drop_gone(self, lease: Lease) -> None:
        """Forget a lease whose task is gone though no answer of it came through this process."""
        metrics.heard(lease.system.name)  # another process applied it, or the task was cancelled
        if self.is_current(lease) and lease.system.tells_cancelled:
            self.put_gone([lease])
        self.drop(lease)

    def put_gone(self, leases: Iterable[Lease]) -> None:
        """Remember tasks that are gone, of systems that want to be told of cancelled ones."""
        with self._lock:
            self._gone = [*self._gone, *leases][-MOST_GONE:]

    def take_gone(self) -> Sequence[Lease]:
        """Take what is remembered of tasks that are gone."""
        with self._lock:
            gone, self._gone = self._gone, []
        return gone

    def extended(self, task_id: str, lock_ms: int) -> None:
        """Note a lock that an answer made longer: a heartbeat, or a delay before the answer is tried again."""
        lease = self._leases.get(task_id)
        if lease is not None:
            lease.is_taken = lease.is_heard = True
            self.note_extension(lease, clock.now() + lock_ms / 1000)

    def note_extension(self, lease: Lease, lock_ends: float) -> None:
        """Note that the lock now ends at that moment, and look at the task again shortly before."""
        lease.move_end(lock_ends)
        lease.full_lock_ends = max(lease.full_lock_ends, lock_ends)
        lease.extended, lease.silent_since = True, 0.0
        self.plan(lease, lease.looked_at_next)

    @contextmanager
    def answering(self, answer: NamedTask, when_free: Callable[[], None]) -> Iterator[bool]:
        """Keep a task from extensions, and its process instance from other answers, while its answer is applied.

        An extension right after a reported failure would turn its back-off into a full lock, and two answers
        of one instance at once collide in the engine. Yields False where such a call is under way; `when_free` is
        called once it is over.
        """
        task_id = answer.task_id
        with self._lock:
            lease = self._leases.get(task_id)
            instance = lease.process_instance_id if lease else task_id
            self.answer_waits(answer, LONGEST_CALL_SECONDS)
            busy = next((key for key in (task_id, instance) if key in self._busy), None)
            if busy is not None:
                self._busy[busy].append(when_free)
            else:
                self._busy[instance] = []
                if lease is not None:
                    lease.answering = True
        if busy is not None:
            yield False
            return
        try:
            yield True
        finally:
            if lease is not None:
                lease.answering = False
            self._release(instance)

    @contextmanager
    def extending(self, lease: Lease, *, beside_others: bool = False) -> Iterator[bool]:
        """Keep answers away from a task while its lease is extended; yields False where one is being applied.

        `beside_others`: also while another task's answer of the same process instance is being applied.
        """
        busy_keys = {lease.task_id} if beside_others else {lease.task_id, lease.process_instance_id}
        with self._alone_with(
            lease.task_id, busy_keys, lambda: not lease.answering and self.is_current(lease)
        ) as may_extend:
            yield may_extend

    @contextmanager
    def giving_back(self, task: ExternalTask) -> Iterator[bool]:
        """Keep answers away from a task that was let go while its failure is reported.

        A late answer to an earlier attempt may be on its way; yields False where one is being applied.
        """
        with self._alone_with(task.id, {task.id, task.process_instance_id}) as is_free:
            yield is_free

    @contextmanager
    def _alone_with(
        self, task_id: str, busy_keys: Collection[str], is_wanted: Callable[[], bool] = lambda: True
    ) -> Iterator[bool]:
        with self._lock:
            is_free = self._busy.keys().isdisjoint(busy_keys) and is_wanted()
            if is_free:
                self._busy[task_id] = []
        try:
            yield is_free
        finally:
            if is_free:
                self._release(task_id)

    def _release(self, key: str) -> None:
        with self._lock:
            waiting = self._busy.pop(key)
        for go_on in waiting:
            go_on()

    def plan(self, lease: Lease, moment: float) -> None:
        """Look at the lease at that moment."""
        with self._lock:
            heapq.heappush(self._agenda, (moment, next(self._sequence), lease))
            if len(self._agenda) > 2 * len(self._leases) + KEPT_PLACES:
                # Answered tasks leave their places behind, which a lock of days would keep for days.
                self._agenda = [place for place in self._agenda if self.is_current(place[2])]
                heapq.heapify(self._agenda)

    def due(self, now: float) -> list[Lease]:
        """Return the leases whose moment has come, each once: a second look may find what the first one did."""
        due: dict[Lease, None] = {}
        with self._lock:
            while self._agenda and self._agenda[0][0] <= now:
                due[heapq.heappop(self._agenda)[2]] = None
        return [lease for lease in due if self.is_current(lease)]
