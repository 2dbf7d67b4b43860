"""From the answers to the engine: one response, one engine call, and what follows from the engine's verdict."""

import random
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from queue import SimpleQueue
from typing import Protocol

from loguru import logger

from bridge import clock, metrics
from bridge.answers.calls import AnswerCalls
from bridge.answers.circuit_breaker import EngineGate
from bridge.answers.detours import Detours
from bridge.broker import ERROR_QUEUE, RETRY_TIERS, Delivery, Outcome, Publisher, retry_queue
from bridge.contract import NamedTask, Publication, Response, ResponseType, named_task
from bridge.engine import FOR_NOW, Answer, Verdict
from bridge.errors import Reason, TaskGone, Unavailable, Unprocessable
from bridge.leases import LeaseTable

REPEATS_AFTER_COLLISION = 5
TIERS = tuple(RETRY_TIERS)
SECOND_TIER, SLOW_TIER = TIERS[1], TIERS[-1]
LOCK_BEYOND_TIER_MS = 60_000
PARKED_SECONDS = 2.0
COPIES_AT_STOP_SECONDS = 5.0


def tier_of(seconds: float, *, at_least: str) -> str:
    """Return the first tier from `at_least` on that lasts that long, the last one where none does."""
    longer = TIERS[TIERS.index(at_least) :]
    return next((tier for tier in longer if RETRY_TIERS[tier] >= 1000 * seconds), SLOW_TIER)


class Fate(Enum):
    """What has become of a response."""

    DONE = "acknowledge it"
    AGAIN = "try again at once"
    ELSEWHERE = "it is acknowledged, or comes again, without us"


class Answers(Protocol):
    """Where responses come from."""

    def ack(self, delivery: Delivery) -> None:
        """Acknowledge a response: it is safe."""

    def deliver_again(self, delivery: Delivery, seconds: float) -> None:
        """Bring a response again after a while, which no thread waits for."""


class Step(Enum):
    """What to do with a response after the engine's verdict."""

    DONE = "acknowledge it"
    RELOCK = "lock the task again if nobody holds it and repeat, else set the response aside"
    REPEAT = "call again at once"
    DELAY = "try again after a delay, a few times"
    DELAY_SLOWLY = "try again after a long delay, for as long as it takes"
    REJECT = "set it aside, and raise an incident at the task"
    ASK_ENGINE = "find out whether the engine is there at all; it waits until the engine has its say"


POLICY = {
    Verdict.ACCEPTED: Step.DONE,
    Verdict.GONE: Step.DONE,
    Verdict.STALE: Step.DONE,
    Verdict.LOCKED: Step.RELOCK,
    Verdict.EXPIRED: Step.DELAY,
    Verdict.SUSPENDED: Step.DELAY_SLOWLY,
    Verdict.REJECTED: Step.REJECT,
    Verdict.COLLISION: Step.REPEAT,
    Verdict.TROUBLE: Step.DELAY,
    Verdict.UNCLEAR: Step.DELAY,
    Verdict.AWAY: Step.ASK_ENGINE,
    Verdict.UNAUTHORIZED: Step.ASK_ENGINE,
    Verdict.UNKNOWN_CALL: Step.ASK_ENGINE,
}
OUTCOMES = {Verdict.ACCEPTED: "applied", Verdict.GONE: "gone", Verdict.STALE: "stale"}
INVALID = "invalid"  # the reason of what is not as the contract says
UNKNOWN = "unknown"  # the type of a response that cannot be read
# A heartbeat that the engine does not want is worth nothing a moment later.
HEARTBEAT_POLICY = {
    **POLICY,
    Verdict.LOCKED: Step.DONE,
    Verdict.EXPIRED: Step.DONE,
    Verdict.SUSPENDED: Step.DONE,
    Verdict.REJECTED: Step.DONE,
    Verdict.TROUBLE: Step.DONE,
    Verdict.UNCLEAR: Step.DONE,
    Verdict.UNKNOWN_CALL: Step.DONE,
}


@dataclass(frozen=True, slots=True)
class AnswerRules:
    """Which responses are read at all."""

    max_message_bytes: int
    require_user_id: bool = False


class ResponseHandler:
    """Applies the systems' responses to the engine; `work` is the body of each thread of its pool."""

    def __init__(
        self,
        calls: AnswerCalls,
        gate: EngineGate,
        leases: LeaseTable,
        publisher: Publisher,
        detours: Detours,
        deliveries: SimpleQueue[Delivery | None],
        answers: Answers,
        stopping: threading.Event,
        rules: AnswerRules,
    ) -> None:
        self._calls = calls
        self._gate = gate
        self._leases = leases
        self._publisher = publisher
        self._detours = detours
        self._deliveries = deliveries
        self._answers = answers
        self._copies_out: set[Delivery] = set()
        self._stopping = stopping
        self._rules = rules

    def work(self) -> None:
        """Handle deliveries one by one until a None comes, which is passed on to the next thread."""
        while (delivery := self._deliveries.get()) is not None:
            self.handle(delivery)
        self._deliveries.put(None)
        self._wait_for_copies()

    def _wait_for_copies(self) -> None:
        """At a stop: let the broker confirm the copies that are out, so that their originals are acknowledged."""
        ends, pause = clock.now() + COPIES_AT_STOP_SECONDS, clock.Event()
        while self._copies_out and clock.now() < ends:
            pause.wait(0.05)

    def handle(self, delivery: Delivery) -> None:
        """Bring one response to a safe end and acknowledge it; what has to wait comes again, and holds no thread.

        Left unacknowledged when stopping or when its channel is gone: the broker then delivers it again.
        """
        while not self._stopping.is_set() and delivery.is_acknowledgeable:
            try:
                fate = self._settle(delivery)
            except Unavailable as error:
                self._park(delivery, error)
                return
            if fate is Fate.DONE:
                self._answers.ack(delivery)
            if fate is not Fate.AGAIN:
                return

    def _park(self, delivery: Delivery, reason: object) -> None:
        logger.warning("a response waits: {}", reason)
        self._answers.deliver_again(delivery, PARKED_SECONDS)

    def _settle(self, delivery: Delivery) -> Fate:
        """Try to bring a response to its end. Raises Unavailable where that has to wait."""
        try:
            response = Response.decode(delivery.body, delivery.correlation_id, self._rules.max_message_bytes)
            self._check_sender(delivery, response.task_id)
        except TaskGone:
            metrics.responses(UNKNOWN, "gone").inc()
            return Fate.DONE
        except Unprocessable as error:
            return self._set_aside_unread(delivery, error)
        except Unavailable as error:  # whose task it is cannot be asked
            return self._follow(delivery, response, Answer.missing(error))
        self._calls.note_unknown_keys(response)
        try:
            with self._leases.answering(response.named, lambda: self._deliveries.put(delivery)) as is_free:
                answer = self._call_with_repeats(response) if is_free else None
                return self._follow(delivery, response, answer) if answer else Fate.ELSEWHERE
        except TaskGone:
            metrics.responses(response.response_type, "gone").inc()
            return Fate.DONE
        except Unprocessable as error:
            if error.reason == INVALID:  # a variable that has no type at the engine
                return self._set_aside_unread(delivery, error)
            return self._give_up(delivery, response, error.reason, error.detail)

    def _check_sender(self, delivery: Delivery, task_id: str) -> None:
        """Let nobody answer for another system, where users are told apart. Raises Unprocessable."""
        if not self._rules.require_user_id:
            return
        system, sender = self._calls.system_of(task_id), self._detours.sender(delivery)
        if not system.is_user(sender):
            raise Unprocessable("forged", f"user_id {sender!r} may not answer for {system.name}, task {task_id}")

    def _call_with_repeats(self, response: Response) -> Answer | None:
        """Return the engine's last word on a response; None when stopping."""
        for _ in range(REPEATS_AFTER_COLLISION):
            if not self._gate.enter():
                return None
            served = False
            try:
                answer = self._apply(response)
                served = answer.verdict not in (Verdict.AWAY, Verdict.UNAUTHORIZED)
            finally:
                self._gate.leave(served=served)
            if POLICY[answer.verdict] is not Step.REPEAT:
                return answer
            self._stopping.wait(random.uniform(0.005, 0.05))
        return Answer(Verdict.TROUBLE, answer.detail)

    def _apply(self, response: Response) -> Answer:
        sent = clock.now()
        answer = self._calls.apply(response)
        metrics.APPLY_SECONDS.observe(clock.now() - sent)
        return answer

    def _follow(self, delivery: Delivery, response: Response, answer: Answer) -> Fate:
        """Take the step that the verdict asks for."""
        is_heartbeat = response.response_type is ResponseType.EXTEND_LOCK
        step = (HEARTBEAT_POLICY if is_heartbeat else POLICY)[answer.verdict]
        if answer.verdict is not Verdict.ACCEPTED:
            logger.info("{} for task {}: {}", response.response_type, response.task_id, answer.detail)
        match step:
            case Step.DONE:
                return self._note_done(response, answer.verdict)
            case Step.RELOCK:
                return self._relock(delivery, response, answer)
            case Step.REJECT:
                return self._give_up(delivery, response, "rejected_by_engine", answer.detail)
            case Step.DELAY_SLOWLY:
                tier = SLOW_TIER if self._detours.is_our_copy(delivery) else SECOND_TIER
                return self._delay(delivery, response, tier, self._detours.attempts(delivery))
            case Step.ASK_ENGINE if not self._gate.engine_is_there(answer.detail):
                return Fate.AGAIN
            case Step.ASK_ENGINE if not is_heartbeat and not answer.timed_out:
                return self._wait_for_the_engines_word(delivery, response, answer)
        return self._delay_or_give_up(delivery, response, answer)

    def _note_done(self, response: Response, verdict: Verdict) -> Fate:
        metrics.responses(response.response_type, OUTCOMES.get(verdict, "ignored")).inc()
        is_accepted = verdict is Verdict.ACCEPTED
        if is_accepted:
            metrics.succeeded("apply")
        if is_accepted and response.response_type is ResponseType.FAILURE:
            self._leases.attempt_done(response.task_id)
        elif response.response_type is not ResponseType.EXTEND_LOCK:
            if verdict is Verdict.STALE:
                self._leases.answer_is_gone(response.task_id)
            else:
                self._leases.done(response.task_id, answered=is_accepted)
        return Fate.DONE

    def _relock(self, delivery: Delivery, response: Response, answer: Answer) -> Fate:
        """Take a task back that nobody holds, so that the response can be applied."""
        if self._calls.is_held_by_us(answer):
            ours = response.model_copy(update={"worker_id": None})
            return self._follow(delivery, ours, self._calls.apply(ours))
        if answer.owner == "null":
            taken = self._calls.take_back(response)
            if taken.verdict in FOR_NOW:
                raise Unavailable(taken.detail)
            if taken.verdict is Verdict.GONE:
                return self._note_done(response, taken.verdict)
            if taken.verdict is Verdict.ACCEPTED:
                return Fate.AGAIN
        self._leases.done(response.task_id)
        return self._set_aside(delivery, Unprocessable("foreign_lock", answer.detail), response)

    def _wait_for_the_engines_word(self, delivery: Delivery, response: Response, answer: Answer) -> Fate:
        """Try again later, for as long as it takes: what a gateway says is no failed attempt of the answer."""
        self._gate.note_refusal(response.task_id, answer.detail, answer.wait_seconds)
        attempts = self._detours.attempts(delivery)
        if answer.may_run:
            tier = SLOW_TIER
        else:
            shortest = SECOND_TIER if self._detours.is_our_copy(delivery) else TIERS[0]
            tier = tier_of(answer.wait_seconds, at_least=shortest)
        return self._delay(delivery, response, tier, attempts)

    def _delay_or_give_up(self, delivery: Delivery, response: Response, answer: Answer) -> Fate:
        attempts = self._detours.attempts(delivery)
        if response.response_type is ResponseType.EXTEND_LOCK:
            return self._note_done(response, Verdict.TROUBLE)
        if attempts < len(TIERS):
            tier = SLOW_TIER if answer.may_run else TIERS[attempts]
            return self._delay(delivery, response, tier, attempts + 1)
        return self._give_up(delivery, response, "retries_exhausted", answer.detail)

    def _delay(self, delivery: Delivery, response: Response, tier: str, attempts: int) -> Fate:
        """Put the response into a delay tier, with the task's lock made to outlast it."""
        if self._has_had_effect(response):
            return self._note_done(response, Verdict.ACCEPTED)
        outlast_ms = RETRY_TIERS[tier] + LOCK_BEYOND_TIER_MS
        helped = self._help(lambda: self._calls.outlast(response, outlast_ms))
        if helped.verdict in (Verdict.GONE, Verdict.STALE):
            return self._note_done(response, helped.verdict)
        self._leases.answer_waits(response.named, outlast_ms / 1000)

        def moved() -> None:
            metrics.responses(response.response_type, "delayed").inc()
            logger.warning("the answer for task {} is tried again in {}", response.task_id, tier)

        return self._move(delivery, self._detours.delayed(delivery, retry_queue(tier), attempts), moved)

    def _has_had_effect(self, response: Response) -> bool:
        try:
            return self._calls.has_had_effect(response)
        except (TaskGone, Unavailable):
            return False

    def _help(self, call: Callable[[], Answer]) -> Answer:
        """Make a call that helps the task while its answer goes elsewhere; it may fail, the answer must not wait.

        Raises Unavailable, so that all of it is done again, only where two calls met or the engine is away.
        """
        try:
            answer = call()
        except TaskGone as error:
            answer = Answer(Verdict.GONE, str(error))
        except Unavailable as error:
            answer = Answer.missing(error)
        match POLICY[answer.verdict]:
            case Step.REPEAT:
                raise Unavailable(answer.detail)
            case Step.ASK_ENGINE if not self._gate.engine_is_there(answer.detail):
                raise Unavailable(answer.detail)
        return answer

    def _give_up(self, delivery: Delivery, response: Response, reason: Reason, detail: str) -> Fate:
        """Set the response aside, and raise an incident so that its task does not wait in silence."""
        told = self._help(lambda: self._calls.raise_incident(response, detail))
        if reason == "retries_exhausted" and told.verdict in (Verdict.GONE, Verdict.STALE):
            return self._note_done(response, told.verdict)  # it was no fault of the answer
        self._leases.attempt_done(response.task_id)
        return self._set_aside(delivery, Unprocessable(reason, detail), response)

    def _set_aside_unread(self, delivery: Delivery, error: Unprocessable) -> Fate:
        """Set aside what is no answer, once the task that it names is told why."""
        named = None if error.reason == "forged" else named_task(delivery.body, delivery.correlation_id)
        # A heartbeat is no answer: its system is still at work.
        if named and named.response_type != ResponseType.EXTEND_LOCK and not self._tell(delivery, named, error):
            return Fate.ELSEWHERE
        return self._set_aside(delivery, error, None, named.task_id if named else None)

    def _tell(self, delivery: Delivery, named: NamedTask, error: Unprocessable) -> bool:
        """Report at a task why its answer cannot be used, unless the sender may not answer for it.

        Returns False where another answer of its process is being applied: this one comes again after that. Raises
        Unavailable where it cannot be told now.
        """

        def report() -> Answer:
            self._check_sender(delivery, named.task_id)
            return self._calls.report_unusable(named, error.detail)

        with (
            suppress(TaskGone, Unprocessable),
            self._leases.answering(NamedTask(named.task_id), lambda: self._deliveries.put(delivery)) as is_free,
        ):
            if not is_free:
                return False
            told = self._help(report)
            if told.verdict in FOR_NOW:
                raise Unavailable(told.detail)
        return True

    def _set_aside(
        self, delivery: Delivery, error: Unprocessable, response: Response | None, task_id: str | None = None
    ) -> Fate:
        task_id = response.task_id if response else task_id
        topic = self._leases.topic_of(task_id) if task_id else None
        copy = self._detours.dead_letter(delivery, error.reason, error.detail, task_id=task_id, topic=topic)

        def moved() -> None:
            metrics.dead_letters(error.reason).inc()
            metrics.responses(response.response_type if response else UNKNOWN, "error_queue").inc()
            logger.error("a response went to the error queue: {}", error)

        return self._move(delivery, copy, moved, refused=lambda: self._set_aside_later(delivery, error))

    def _set_aside_later(self, delivery: Delivery, error: Unprocessable) -> None:
        """Let a response that the error queue does not take wait where it keeps no other from being delivered."""
        copy = self._detours.delayed(delivery, retry_queue(SLOW_TIER), self._detours.attempts(delivery))
        reason = f"{ERROR_QUEUE} takes nothing; a response is set aside in {SLOW_TIER}: {error}"
        self._move(delivery, copy, lambda: logger.error("{}", reason))

    def _move(
        self,
        delivery: Delivery,
        copy: Publication,
        moved: Callable[[], None],
        *,
        refused: Callable[[], None] | None = None,
    ) -> Fate:
        """Publish a copy; only once a queue has it for certain the original is acknowledged."""
        self._copies_out.add(delivery)

        def settled(outcomes: Sequence[Outcome]) -> None:
            self._copies_out.discard(delivery)
            if outcomes[0] is Outcome.CONFIRMED:
                moved()
                self._answers.ack(delivery)
            elif refused and outcomes[0] in (Outcome.REFUSED, Outcome.RETURNED):
                refused()
            else:
                self._park(delivery, f"its copy for {copy.routing_key} is not safe: {outcomes[0].value}")

        self._publisher.publish([copy], settled)
        return Fate.ELSEWHERE


if __name__ == "__main__":
    import sys

    from main import main

    sys.exit(main("response_handler"))
