"""What a response means at the engine: the call that applies it, and those that help its task meanwhile."""

from collections.abc import Callable, Sequence
from contextlib import suppress

from bridge import clock, metrics
from bridge.answers.in_vain import UNKNOWN_SYSTEM, InVain
from bridge.answers.values import AnswerValues
from bridge.contract import NamedTask, Response, ResponseType, TaskState, attempt_of
from bridge.engine import Answer, CamundaClient, Verdict, shortened
from bridge.errors import TaskGone, Unavailable
from bridge.leases import LeaseTable, retry_policy
from bridge.retry_policy import RetryPolicy
from bridge.routing import SHORTEST_LOCK_MS, Routing, System, matches

NO_MESSAGE = "the system reported a failure without a message"
MOST_TOLD = 10_000
PAUSE_AGAIN_MS = 5_000  # what its system asked for is not known here
SERVER_ERROR = 500
REFUSED = (Verdict.REJECTED, Verdict.TROUBLE, Verdict.UNCLEAR)


class AnswerCalls:
    """Calls the engine for responses; may be shared by threads.

    `accepted_worker_ids`: patterns of other names under which a task may be answered.
    """

    def __init__(
        self, engine: CamundaClient, routing: Routing, leases: LeaseTable, accepted_worker_ids: Sequence[str]
    ) -> None:
        self._engine = engine
        self._routing = routing
        self._leases = leases
        self._accepted_worker_ids = accepted_worker_ids
        self._in_vain = InVain()
        self._values = AnswerValues(engine, self.system_of, self._in_vain)
        self._told_until: dict[str, float] = {}

    def apply(self, response: Response) -> Answer:
        """Do what the response asks for and return the engine's word. Raises Unprocessable."""
        place = self._leases.place_of(response.task_id)
        answer = self._apply_or_say_why(response)
        if answer.verdict is Verdict.ACCEPTED and response.response_type is not ResponseType.EXTEND_LOCK:
            system, topic = place or (UNKNOWN_SYSTEM, UNKNOWN_SYSTEM)
            metrics.task_results(system, topic, response.response_type).inc()
        return answer

    def _apply_or_say_why(self, response: Response) -> Answer:
        try:
            answer = self._apply(response, self._values.json_type)
            if answer.verdict in REFUSED and response.response_type is not ResponseType.EXTEND_LOCK:
                answer = self._after_refusal(response, answer)
            return self._read_before_rejecting(response, answer)
        except TaskGone as error:
            return Answer(Verdict.GONE, str(error))
        except Unavailable as error:
            return Answer.missing(error)

    def _after_refusal(self, response: Response, refusal: Answer) -> Answer:
        """Try again with text where the engine knows no Json, else say which variables may be why."""
        if not self._values.must_be_text(response, refusal):
            return self._values.explained(response, refusal)
        answer = self._apply(response, "String")
        if answer.verdict is Verdict.ACCEPTED:
            self._values.note_text_taken()
        return self._values.explained(response, answer) if answer.verdict in REFUSED else answer

    def _read_before_rejecting(self, response: Response, answer: Answer) -> Answer:
        """Return GONE for a task that is gone, whatever error of the engine's own (500) it met on the way.

        A NullPointerException says nothing of the answer: one of two answers of an instance that met through two
        replicas gets it, and so does everybody while an engine is deployed. Raises TaskGone, Unavailable.
        """
        is_rejected = answer.verdict is Verdict.REJECTED and answer.status >= SERVER_ERROR
        if answer.verdict is Verdict.UNCLEAR or is_rejected:
            self._engine.read_task(response.task_id)
        return answer

    def _apply(self, response: Response, json_type: str) -> Answer:
        worker_id = self._worker_id_of(response)
        match response.response_type:
            case ResponseType.COMPLETE:
                variables = self._values.of(response, json_type)
                return self._earlier(response) or self._engine.complete(response.task_id, worker_id, variables)
            case ResponseType.FAILURE:
                return self._fail(response, worker_id, json_type)
            case ResponseType.BPMN_ERROR:
                code, message = str(response.error_code), response.error_message
                given = self._values.of(response, json_type).get("variables")
                stale = self._earlier(response)
                return stale or self._engine.bpmn_error(response.task_id, worker_id, code, message, given)
            case ResponseType.EXTEND_LOCK:
                return self._keep_alive(response)

    def _earlier(self, response: Response) -> Answer | None:
        """Return the verdict on an answer of an earlier attempt, which must not end a later one.

        The engine is asked only where this process does not know the task to be at the attempt.
        """
        if response.attempt is None or self._leases.attempt_of(response.task_id) == response.attempt:
            return None
        return _stale(response, self._engine.read_task(response.task_id))

    def _fail(self, response: Response, worker_id: str, json_type: str) -> Answer:
        variables = self._values.of_failure(response, json_type)
        state = self._engine.read_task(response.task_id)
        if self._leases.pauses.has_begun(state, response.attempt):
            self._leases.pauses.note(state.id, self._pause_ms(response, state, state.retries))
            return Answer(Verdict.ACCEPTED, "it was taken before, and the reply was lost")
        if stale := _stale(response, state):
            return stale
        retries = self._policy(state).left(state.retries) if response.retries is None else response.retries
        pause_ms = self._pause_ms(response, state, retries)
        message = response.error_message or NO_MESSAGE
        self._leases.pauses.begin(state, retries, shortened(message))
        answer = self._engine.failure(
            response.task_id,
            worker_id,
            message,
            response.error_details,
            retries=retries,
            retry_timeout_ms=pause_ms,
            variables=variables,
        )
        if answer.verdict is Verdict.ACCEPTED:
            self._leases.pauses.note(state.id, pause_ms, state.lock_expires_at)
            self._leases.attempt_done(state.id, state.lock_expires_at)
        elif answer.verdict is not Verdict.AWAY:
            self._leases.pauses.forget(state.id)
        return answer

    def has_had_effect(self, response: Response) -> bool:
        """Whether a failure was taken whose reply was lost. Raises TaskGone, Unavailable."""
        if response.response_type is not ResponseType.FAILURE:
            return False
        state = self._engine.read_task(response.task_id)
        has_begun = self._leases.pauses.has_begun(state, response.attempt)
        if has_begun:
            self._leases.pauses.note(state.id, self._pause_ms(response, state, state.retries))
        return has_begun

    def _pause_ms(self, response: Response, state: TaskState, left: int | None) -> int:
        """Return the pause after a failure that leaves so many retries."""
        return (
            self._policy(state).pause_ms(left or 0) if response.retry_timeout is None else response.retry_timeout
        )

    def _policy(self, state: TaskState) -> RetryPolicy:
        """Return what a failure of a task costs where its system does not say. Raises Unavailable."""
        return retry_policy(self._engine, state, self._routing.system_of(state))

    def _keep_alive(self, response: Response) -> Answer:
        """Make the lock of a task longer that is being worked on, and never the pause after a failure."""
        state = self._engine.read_task(response.task_id)
        if stale := _stale(response, state):
            return stale
        is_known = self._leases.topic_of(state.id) is not None
        if self._pauses(state):
            return Answer(Verdict.STALE, "it has failed and pauses")
        if response.attempt is None and self._leases.is_unsent(state.id):  # a longer lock would keep it from all
            return Answer(Verdict.STALE, "it is of an earlier attempt: the message of this one is not out")
        system = self._routing.system_of(state)
        lock_ms = response.lock_duration or system.lock_ms
        if lock_ms < SHORTEST_LOCK_MS:
            self._in_vain.note_short_lock(system.name, lock_ms)
        answer = self._engine.extend_lock(response.task_id, self._worker_id_of(response), lock_ms)
        self._note_extended(response, answer, lock_ms)
        if answer.verdict is Verdict.EXPIRED:
            answer = self._lock_again(response, state, lock_ms, is_known=is_known)
        return self._give_back_pause(response, state) if answer.verdict is Verdict.ACCEPTED else answer

    def _lock_again(self, response: Response, before: TaskState, lock_ms: int, *, is_known: bool) -> Answer:
        """Take back a task whose lock has ended, unless it has failed: then it waits to be fetched."""
        if not is_known and before.retries is not None:
            return Answer(Verdict.STALE, "it may have failed and wait to be fetched")  # through another process
        if _has_failed(self._engine.read_task(before.id), before):
            return Answer(Verdict.STALE, "it failed just before, and waits to be fetched")
        answer = self._engine.lock(response.task_id, self._worker_id_of(response), lock_ms)
        return self._note_extended(response, answer, lock_ms)

    def _give_back_pause(self, response: Response, before: TaskState) -> Answer:
        """Shorten the lock again where a failure took effect between the look and the extension."""
        if not _has_failed(self._engine.read_task(before.id), before):
            return Answer(Verdict.ACCEPTED)
        self._engine.extend_lock(before.id, self._worker_id_of(response), PAUSE_AGAIN_MS)
        return Answer(Verdict.STALE, "it failed just before, and pauses again")

    def _note_extended(self, response: Response, answer: Answer, lock_ms: int) -> Answer:
        if answer.verdict is Verdict.ACCEPTED:
            self._leases.extended(response.task_id, lock_ms)
        return answer

    def _worker_id_of(self, response: Response) -> str:
        given = response.worker_id
        return given if given and self._is_accepted(given) else self._engine.worker_id

    def _is_accepted(self, worker_id: str | None) -> bool:
        return matches(worker_id or "", self._accepted_worker_ids)

    def is_held_by_us(self, answer: Answer) -> bool:
        """Whether the engine refused a call because our own worker id holds the task."""
        return answer.owner == self._engine.worker_id

    def system_of(self, task_id: str) -> System:
        """Return the system that a task was routed to. Raises TaskGone, Unavailable."""
        return self._leases.system_of(task_id) or self._routing.system_of(self._engine.read_task(task_id))

    def take_back(self, response: Response) -> Answer:
        """Lock a task again that nobody holds, for an answer of its attempt. Raises TaskGone, Unavailable."""
        if response.attempt is not None and (stale := _stale(response, self._engine.read_task(response.task_id))):
            return stale
        lock_ms = response.lock_duration or self.system_of(response.task_id).lock_ms
        return self._engine.lock(response.task_id, self._worker_id_of(response), lock_ms)

    def lock_through_delay(self, response: Response, delay_ms: int) -> Answer:
        """Let the task's lock end later than a delay of its response. Raises TaskGone, Unavailable.

        A failure without a reply may take effect between our look and the longer lock, in an engine that stood
        still: its pause is given back then, or nobody would have the task for as long as the lock lasts.

        STALE where the response is of no use any more: nothing is made longer then. The lock of a suspended task,
        or one that has ended, cannot be extended; the engine takes a new one.
        """
        state = self._engine.read_task(response.task_id)
        if stale := _stale(response, state):
            return stale
        if response.attempt is None and self._pauses(state):
            return Answer(Verdict.ACCEPTED, "it pauses")
        if state.retries == 0:
            return Answer(Verdict.ACCEPTED, "it has an incident, and is offered to nobody")
        lock_ms = max(self._routing.system_of(state).lock_ms, delay_ms)
        hold = self._engine.lock if state.suspended else self._engine.prolong
        answer = self._note_extended(
            response, hold(response.task_id, self._worker_id_of(response), lock_ms), lock_ms
        )
        may_have_begun = response.response_type is ResponseType.FAILURE and answer.verdict is Verdict.ACCEPTED
        return self._give_back_pause(response, state) if may_have_begun else answer

    def _pauses(self, state: TaskState) -> bool:
        """Whether a task has failed, and was not fetched since."""
        return self._leases.topic_of(state.id) is None and self._leases.pauses.goes_on(state.id)

    def note_in_vain(self, response: Response) -> None:
        """Warn of what an answer carries in vain, once for each system; unknown keys are counted, too."""
        if not response.unknown_keys and not response.unused_fields:
            return
        system = self._name_of_system(response.task_id)
        if response.unknown_keys:
            self._in_vain.note(system, response.unknown_keys)
        if system != UNKNOWN_SYSTEM:
            self._in_vain.note_unused(system, response)

    def _name_of_system(self, task_id: str) -> str:
        if self._leases.topic_of(task_id) or self._in_vain.may_look():
            with suppress(TaskGone, Unavailable):
                return self.system_of(task_id).name
        return UNKNOWN_SYSTEM

    def report_unusable(self, named: NamedTask, detail: str) -> Answer:
        """Tell a task of ours why its answer cannot be used; see `report_failure`."""
        return self.report_failure(named, lambda system: f"the answer of {system.name} cannot be used: {detail}")

    def report_failure(
        self, named: NamedTask, describe: Callable[[System], str], *, costs_retry: bool = True
    ) -> Answer:
        """Tell a task of ours what went wrong with it; that costs a retry, once for each attempt.

        So a repaired system may try again, and at no retries left a person sees it. Raises TaskGone, Unavailable.
        """
        state = self._engine.read_task(named.task_id)
        if not self._waits_for_answer(named, state):
            return Answer(Verdict.GONE, "it waits for no such answer")
        system = self._routing.system_of(state)
        policy = self._policy(state)
        retries = policy.left(state.retries) if costs_retry else max(1, state.retries or policy.retries)
        pause_ms = policy.pause_ms(retries)
        answer = self._engine.failure(
            state.id,
            str(state.worker_id),
            describe(system),
            retries=retries,
            retry_timeout_ms=pause_ms,
        )
        if answer.verdict is Verdict.ACCEPTED:
            self._note_told(state.id, pause_ms)
        return answer

    def _waits_for_answer(self, named: NamedTask, state: TaskState) -> bool:
        """Whether it is a task of ours, still at the attempt that was answered, and was not told just now."""
        is_ours = state.worker_id == self._engine.worker_id or self._is_accepted(state.worker_id)
        return (
            is_ours
            and state.retries != 0
            and not state.suspended
            and named.attempt in (None, attempt_of(state.retries))
            and self._leases.is_at(state.id, state.retries)
            and clock.now() >= self._told_until.get(state.id, 0.0)
        )

    def _note_told(self, task_id: str, pause_ms: int) -> None:
        """Forget the task, which pauses now: what comes about the same attempt meanwhile costs nothing more."""
        now = clock.now()
        if len(self._told_until) >= MOST_TOLD:
            self._told_until = {told: until for told, until in self._told_until.items() if until > now}
        self._told_until[task_id] = now + pause_ms / 1000
        self._leases.done(task_id)

    def raise_incident(self, response: Response, detail: str) -> Answer:
        """Let a person see that the response cannot be applied. Raises TaskGone, Unavailable."""
        if stale := _stale(response, self._engine.read_task(response.task_id)):
            return stale
        return self._engine.failure(
            response.task_id,
            self._worker_id_of(response),
            f"the answer of the system cannot be applied: {detail}",
            retries=0,
            retry_timeout_ms=0,
        )


def _has_failed(now: TaskState, before: TaskState) -> bool:
    """Whether a failure was reported between two looks at a task."""
    return (now.retries, now.error_message) != (before.retries, before.error_message)


def _stale(response: Response, state: TaskState) -> Answer | None:
    """Return the verdict on a response of an earlier attempt; None where it is not known to be one."""
    attempt = attempt_of(state.retries)
    if response.attempt in (None, attempt):
        return None
    return Answer(Verdict.STALE, f"stale: attempt {response.attempt}, it is at {attempt} now")
