"""What must be true in every world: checked when tasks, messages and answers move, and every second.

The auditor sees the engine, the broker and the systems; of the worker only its log and its in-flight figures.
"""

import json
import math
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

from bridge.broker import ERROR_QUEUE
from bridge.contract import RESPONSE_QUEUE, attempt_of
from bridge.leases import LeaseTable
from tests.simulation.broker import Message
from tests.simulation.engine import Task
from tests.simulation.plan import Plan
from tests.simulation.systems import lock_end_of

LEASE = 30.0
CALM_LIMBO_SECONDS, FORGOTTEN_SECONDS = 8.0, 60.0
ATTEMPTS = 3  # that a task may need
STARVED_SECONDS = 15.0
ALARM_SECONDS = 10.0  # so old may be what an alarm says
RACE_SECONDS = 1.0
LATE_SECONDS = 1.5  # a thread may be so late with a message, and its expiration counts from there
IN_FLIGHT_SECONDS = 65.0
CALLS_PER_SECOND, WINDOW_SECONDS = 25, 10
REDELIVERING = ("broker down", "broker frozen", "connections lost", "kill", "restart", "freeze")
ANSWERS = ("complete", "failure", "bpmn_error")
TIERS = "camunda.responses.retry."


@dataclass(frozen=True)
class Broken:
    """An invariant that does not hold: `rule` is its name, `what` says it of this world, at `moment` (seconds)."""

    rule: str
    what: str
    moment: float


@dataclass(slots=True, eq=False)
class Answer:
    """An answer that is with us: in the response queue, in hand, or in a delay tier."""

    kind: str
    attempt: str | None
    since: float


@dataclass(slots=True, eq=False)
class Truth:
    """What is known of one task from outside."""

    messages: dict[Message, None] = field(default_factory=dict)
    answers: dict[Message, Answer] = field(default_factory=dict)
    answered: set[str | None] = field(default_factory=set)  # the attempts that got an answer; None: not said
    handed_on: dict[bytes, tuple[float, float]] = field(default_factory=dict)  # copies that left: since when, when
    fetched_at: float = 0.0
    is_extended: bool = False
    taken: set[str] = field(default_factory=set)  # the attempts whose message a system took
    behind_until: float = 0.0  # a system has it, or the broker lost it: until its lock ends
    pause_until: float = 0.0
    paused_too_long_since: float = 0.0
    limbo_since: float = 0.0
    fetchable_since: float = 0.0
    before_it: int = 0
    over_since: float = 0.0
    excuses: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    failed_at: float = 0.0
    is_touched: bool = False  # an operator freed it, or gave it other retries


class View(Protocol):
    """What the auditor may look at; made by the world."""

    @property
    def now(self) -> float: ...
    @property
    def calls(self) -> int: ...
    @property
    def runs(self) -> bool: ...
    @property
    def had_trouble(self) -> bool: ...

    def tasks(self) -> Iterator[Task]: ...
    def task(self, task_id: str) -> Task: ...
    def find(self, task_id: str) -> Task | None: ...
    def system_of(self, task: Task) -> str: ...
    def works_until(self, task: Task) -> float: ...
    def has_unsent(self, task: Task) -> bool: ...
    def is_healthy(self, system: str) -> bool: ...
    def echoes(self, task: Task) -> bool: ...
    def outlasts_lock(self, task: Task) -> bool: ...
    def says_twice(self, task: Task) -> bool: ...
    def answered(self, task: Task) -> bool: ...
    def is_set_aside(self, task_id: str) -> bool: ...
    def is_listened_to(self, queue: str) -> bool: ...
    def tables(self) -> Iterator[tuple[str, LeaseTable]]: ...


class Auditor:
    """Keeps the books, and writes down what is broken."""

    def __init__(self, plan: Plan, view: View) -> None:
        self.broken: list[Broken] = []
        self._plan = plan
        self._view = view
        self._truths: dict[str, Truth] = {}
        self._last_fault = 0.0
        self._limbo_seconds = LEASE + 5.0
        if plan.lease == "direct":
            self._limbo_seconds = max(system.lock for system in plan.systems) + 5.0
        self._quiet_since = 0.0
        self._calls: deque[int] = deque(maxlen=WINDOW_SECONDS // 2 + 1)
        self._queues = {f"{system.name}.queue": system for system in plan.systems}

    def _break(self, rule: str, what: str) -> None:
        if not any(broken.rule == rule for broken in self.broken):
            self.broken.append(Broken(rule, what, self._view.now))

    def truth(self, task_id: str) -> Truth:
        found = self._truths.get(task_id)
        if found is None:
            found = self._truths[task_id] = Truth()
        return found

    # --- faults -----------------------------------------------------------------------------------------------

    def disturbed(self, *, everybody: bool) -> None:
        """A fault begins or ends: what is fetched and neither extended nor answered may come twice."""
        self._last_fault = self._view.now
        if everybody:
            self._quiet_since = max(self._quiet_since, self._view.now)
        for task in self._view.tasks():
            truth = self.truth(task.id)
            if not truth.is_extended and task.worker is not None:
                truth.excuses += 1

    def held_up(self, seconds: float) -> None:
        """A call is spoilt, which may hold its caller up for so long."""
        self.disturbed(everybody=True)
        self._quiet_since = max(self._quiet_since, self._view.now + seconds)

    def touched(self, task: Task) -> None:
        """An operator changed a task under our hands."""
        truth = self.truth(task.id)
        truth.is_touched = True
        truth.excuses += 1

    # --- the engine -------------------------------------------------------------------------------------------

    def locked(self, task: Task, call: str) -> None:
        truth, now = self.truth(task.id), self._view.now
        truth.is_extended = call != "fetchAndLock"
        if call == "fetchAndLock":
            truth.fetched_at, truth.pause_until, truth.paused_too_long_since = now, 0.0, 0.0
            truth.fetchable_since = 0.0
        elif truth.pause_until and task.lock_ends > truth.pause_until + 1.0:
            truth.paused_too_long_since = truth.paused_too_long_since or now
        if task.lock_ends <= truth.pause_until + 6.0:
            truth.paused_too_long_since = 0.0

    def failed(self, task: Task, before: int | None, pause: float) -> None:
        truth, said = self.truth(task.id), task.error or ""
        truth.pause_until, truth.paused_too_long_since = self._view.now + pause, 0.0
        after = task.retries or 0
        if said.startswith("no answer from"):
            self._check_blame(task, truth, attempt_of(before))
        elif said == "it did not work":
            truth.failures[attempt_of(before)] += 1
            truth.failed_at = self._view.now
            is_new = before is None or after < before
            truth.excuses += 1  # a late one counts for the attempt that goes on
            for answer in truth.answers.values():
                answer.since = math.inf if answer.kind == "failure" else answer.since  # it has had its effect
            if is_new and self._view.echoes(task) and attempt_of(before) not in truth.answered:
                self._break(
                    "false failure", f"{task.id} failed, no system said so of attempt {attempt_of(before)}"
                )
        elif "cannot be applied" in said:
            if not self._view.had_trouble:
                self._break("false verdict", f"{task.id} has an incident: {said}")
        # No call of the engine compares and sets: an operator may set retries between our look and our failure.
        elif not truth.is_touched and after < (self._plan.retries if before is None else before):
            self._break("lost retry", f"{task.id} lost a retry: {said}")

    def _check_blame(self, task: Task, truth: Truth, attempt: str) -> None:
        system = self._view.system_of(task)
        if truth.is_touched or self._has_just_failed(truth):
            return
        if attempt not in truth.taken and self._view.echoes(task):  # else an old sign of life counts
            self._break(
                "false blame",
                f"{task.id} lost a retry, 'no answer from {system}', which never had its message",
            )
        elif self._is_hidden:
            return
        # A call that met another one is repeated once in a simulated second, which another process cannot see.
        known_for = 1.0 if len(self._plan.processes) == 1 else 3.0
        is_answered = self._waiting_answer(task, truth, self._view.now - known_for)
        if is_answered and self._view.now - self._last_fault > LEASE:
            self._break("false silence", f"{task.id} lost a retry, 'no answer from {system}', which had answered")

    def _has_just_failed(self, truth: Truth) -> bool:
        """Whether another process reported a failure just now: the engine compares nothing when it gets one."""
        return len(self._plan.processes) > 1 and self._view.now - truth.failed_at < RACE_SECONDS

    def ended(self, task: Task) -> None:
        self.truth(task.id).over_since = self._view.now
        if task.end in ("completed", "bpmn_error") and not self._view.answered(task):
            self._break("false completion", f"{task.id} is {task.end}, and no system said so")

    def unlocked(self, task: Task, *, by_operator: bool) -> None:
        truth = self.truth(task.id)
        if by_operator:
            self.touched(task)
        elif truth.messages:
            self._break("published task unlocked", f"{task.id} was unlocked while its message is in a queue")

    # --- the broker -------------------------------------------------------------------------------------------

    def message(self, word: str, queue: str, message: Message) -> None:
        if queue in self._queues or queue == "default.queue":
            self._task_message(word, queue, message)
        elif queue in (RESPONSE_QUEUE, ERROR_QUEUE) or queue.startswith(TIERS):
            self._answer(word, queue, message)

    def _task_message(self, word: str, queue: str, message: Message) -> None:
        truth = self.truth(message.task_id)
        if word == "enqueued":
            self._check_hand_out(queue, message, truth)
            truth.messages[message] = None
        elif word in ("expired", "acked", "deleted", "dropped", "rejected"):
            truth.messages.pop(message, None)
            if word != "acked":  # nothing comes of it until its lock ends
                truth.behind_until = max(truth.behind_until, lock_end_of(message))
            if word == "deleted":  # by its partner; who had it by then cannot be known
                truth.taken.add(attempt_of(self._view.task(message.task_id).retries))

    def _check_hand_out(self, queue: str, message: Message, truth: Truth) -> None:
        task, now = self._view.task(message.task_id), self._view.now
        if queue == "default.queue" and self._view.system_of(task) != "default":
            self._break("wrong queue", f"{task.id} of {self._view.system_of(task)} went to the default queue")
        if task.end:
            return  # it ended while its message was on the way
        system = self._view.system_of(task)
        at_work = now < self._view.works_until(task)
        waiting = [
            one
            for one in truth.messages
            if (one.expires is None or one.expires > now + LATE_SECONDS) and lock_end_of(one) > now
        ]
        if waiting or at_work:
            if truth.excuses:
                truth.excuses -= 1
            else:
                what = f"{system} works on it" if at_work else "another message of it waits"
                self._break("doubled", f"{task.id} was published again while {what}")
        elif (
            not truth.is_touched
            and not self._is_hidden
            and not self._is_late(task)
            and self._waiting_answer(task, truth, truth.fetched_at - 0.5)
        ):
            self._break("answered and handed out", f"{task.id} was published again while its answer is with us")

    @property
    def _is_hidden(self) -> bool:
        """Whether an answer may be in the hand of a process that another one cannot look into, after a fault."""
        return len(self._plan.processes) > 1 and self._view.now - self._last_fault < 2 * FORGOTTEN_SECONDS

    def _is_late(self, task: Task) -> bool:
        """Whether an answer that does not say its attempt may have come too late for another process to know.

        While a connection was lost, or where its system works for longer than its lock.
        """
        is_missed = self._view.now - self._last_fault < CALM_LIMBO_SECONDS
        is_slow = len(self._plan.processes) > 1 and self._view.outlasts_lock(task)
        return not self._view.echoes(task) and (is_missed or is_slow)

    def _waiting_answer(self, task: Task, truth: Truth, before: float) -> bool:
        """Whether an answer to the task's present attempt has been with us since before that moment."""
        attempt = attempt_of(task.retries)
        return any(
            answer.kind in ANSWERS and answer.since < before and self._is_of(answer, attempt)
            for answer in truth.answers.values()
        )

    def _is_of(self, answer: Answer, attempt: str) -> bool:
        """Whether it answers this attempt; a failure that does not say may have had its effect already."""
        return answer.attempt == attempt or (answer.attempt is None and answer.kind != "failure")

    def sent(self, message: Message) -> None:
        """The worker publishes: for a task whose lock has ended it must not."""
        task = self._view.find(message.task_id)
        if task is not None and message.exchange == "camunda.external.tasks" and not task.end:
            late = self._view.now - task.lock_ends
            # A second failure that does not say its attempt ends the lock of the next one, which was just fetched.
            is_fenced = self._view.echoes(task) or not self._view.says_twice(task)
            truth = self.truth(task.id)
            # Another process reported a failure while the fetch's reply was on its way.
            is_raced = len(self._plan.processes) > 1 and truth.failed_at >= truth.fetched_at
            is_excused = truth.is_touched or is_raced
            if task.worker is not None and late > 0.2 and is_fenced and not is_excused:
                self._break(
                    "published too late", f"{task.id} was published {late:.1f} s after its lease had ended"
                )

    def _answer(self, word: str, queue: str, message: Message) -> None:
        if word == "enqueued" and queue != ERROR_QUEUE:
            body = json.loads(message.body)
            truth, attempt = self.truth(body["task_id"]), body.get("attempt")
            truth.answered.add(attempt)
            truth.answers[message] = Answer(body["response_type"], attempt, self._since(truth, message.body))
        elif word in ("acked", "expired"):
            truth = self.truth(message.task_id)
            answer = truth.answers.pop(message, None)
            if answer is not None:
                truth.handed_on[message.body] = answer.since, self._view.now
            if word == "acked" and answer is not None:
                self._check_applied(message.task_id, truth, answer)
        elif word == "deleted":
            self.truth(message.task_id).answers.pop(message, None)

    def _since(self, truth: Truth, body: bytes) -> float:
        """Return since when this answer is with us: a copy is as old as what it was made of."""
        now = self._view.now
        since, left = truth.handed_on.get(body, (now, now))
        copies = [answer.since for message, answer in truth.answers.items() if message.body == body]
        return min([now, *copies, *([since] if left == now else [])])

    def _check_applied(self, task_id: str, truth: Truth, answer: Answer) -> None:
        """An acknowledged answer has had its effect, is of no use any more, or waits elsewhere."""
        task = self._view.task(task_id)
        is_elsewhere = bool(truth.answers) or self._view.is_set_aside(task_id)
        if task.end or is_elsewhere or answer.kind not in ANSWERS or task.worker is None or truth.is_touched:
            return
        if answer.attempt not in (None, attempt_of(task.retries)):
            return
        if answer.kind != "failure" or (answer.attempt and not truth.failures[answer.attempt]):
            self._break(
                "lost answer", f"the answer {answer.kind} for {task_id} was acknowledged and never applied"
            )

    # --- the systems ------------------------------------------------------------------------------------------

    def worked(self, word: str, task_id: str, message_lock_end: float) -> None:
        if word in ("taken", "reject", "requeue"):
            truth = self.truth(task_id)
            truth.taken.add(attempt_of(self._view.task(task_id).retries))
            truth.behind_until = max(truth.behind_until, message_lock_end)
        elif "extend_lock" in word:
            truth = self.truth(task_id)
            truth.behind_until = max(truth.behind_until, message_lock_end)
        elif word.startswith("answers") and self.truth(task_id).behind_until <= message_lock_end:
            self.truth(task_id).behind_until = 0.0

    # --- every second -----------------------------------------------------------------------------------------

    def look(self) -> None:
        """Check what takes time to go wrong."""
        for task in self._view.tasks():
            self._look_at(task, self.truth(task.id))
        for name, table in self._view.tables():
            self._check_in_flight(name, table)
        self._calls.append(self._view.calls)
        if self._calls[-1] - self._calls[0] > CALLS_PER_SECOND * WINDOW_SECONDS + 15 * len(self._truths):
            self._break(
                "spinning", f"{self._calls[-1] - self._calls[0]} calls to the engine in {WINDOW_SECONDS} s"
            )

    def _look_at(self, task: Task, truth: Truth) -> None:
        now = self._view.now
        self._check_limbo(task, truth, now)
        self._check_pace(task, truth, now)
        is_held = any(answer.kind in ("complete", "bpmn_error") for answer in truth.answers.values())
        is_too_long = truth.paused_too_long_since and now - truth.paused_too_long_since > 6.0
        is_held = is_held or not self._can_be_fenced(task)
        if is_too_long and now < task.lock_ends and not is_held:
            self._break(
                "pause became a lock",
                f"{task.id} was to be offered again at {truth.pause_until - 1000:.1f} s, "
                f"now it is locked until {task.lock_ends - 1000:.1f} s",
            )

    def _can_be_fenced(self, task: Task) -> bool:
        """Whether it can be known of which attempt a sign of life or a failure is.

        It is where its system says so; also through one process, unless that system or the broker says it twice,
        or its system works for longer than its lock.
        """
        is_said_once = not self._view.says_twice(task) and not any(
            f.what in REDELIVERING for f in self._plan.faults
        )
        is_said_once = is_said_once and not self._view.outlasts_lock(task)
        return self._view.echoes(task) or (len(self._plan.processes) == 1 and is_said_once)

    def _check_limbo(self, task: Task, truth: Truth, now: float) -> None:
        is_behind = (
            not task.is_locked(now)
            or task.retries == 0
            or task.worker is None
            or task.instance.is_suspended
            or truth.is_touched
            or (truth.paused_too_long_since and not self._can_be_fenced(task))
            or truth.messages
            or truth.answers
            or now < max(truth.behind_until, truth.pause_until) + 0.5
            or self._view.works_until(task)
            or self._view.has_unsent(task)
        )
        if is_behind:
            truth.limbo_since = 0.0
            return
        truth.limbo_since = truth.limbo_since or now
        limit = CALM_LIMBO_SECONDS if now - self._last_fault > FORGOTTEN_SECONDS else self._limbo_seconds
        if self._view.runs and now - max(truth.limbo_since, self._quiet_since) > limit:
            self._break("locked for nobody", f"{task.id} is locked by us for {limit:g} s, nothing is behind it")

    def _check_pace(self, task: Task, truth: Truth, now: float) -> None:
        system = self._view.system_of(task)
        is_held_up = not task.is_fetchable(now) or not self._view.is_healthy(system) or not self._view.runs
        if is_held_up:
            truth.fetchable_since = 0.0
            return
        if not truth.fetchable_since:
            truth.fetchable_since = now
            truth.before_it = sum(1 for _ in self._view.tasks())  # they may all be served first, each some times
        # Its queue may have refused a message just before; and a thread that looks again for room in flight does
        # so once in a simulated second (`grain`), or once in a real one where another process reads the answers.
        rounds = ATTEMPTS * truth.before_it / min(self._plan.max_in_flight, self._plan.high_water)
        limit = STARVED_SECONDS + self._plan.retry_pause + rounds
        if now - max(truth.fetchable_since, self._quiet_since) > limit:
            self._break("starved", f"{task.id} could be fetched for {limit:g} s, its system {system} is well")

    def _check_in_flight(self, process: str, table: LeaseTable) -> None:
        for lease in table.all():
            over_since = self.truth(lease.task_id).over_since
            if (
                over_since
                and self._view.runs
                and self._view.now - max(over_since, self._quiet_since) > IN_FLIGHT_SECONDS
            ):
                self._break(
                    "in flight for ever", f"{lease.task_id} is over and counts as in flight in process {process}"
                )

    def crashed(self, process: str, error: BaseException) -> None:
        self._break("crash", f"process {process} crashed: {error!r}")

    def finish(self) -> None:
        """Say what never ended, where nothing worse was seen."""
        if self.broken:
            return
        for task in self._view.tasks():
            if task.retries != 0:
                self._break("never done", f"{task.id} is neither done nor shown to a person")

    def logged(self, line: str) -> None:
        """Read what a person would."""
        if "nobody listens to" in line:
            queue = line.split("nobody listens to ")[1].split(",")[0]
            is_settled = self._view.now - self._last_fault > ALARM_SECONDS
            if is_settled and self._view.is_listened_to(queue):
                self._break("wrong alarm", line)
