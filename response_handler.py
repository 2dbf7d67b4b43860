"""From the answers to the engine: one response, one engine call, and what follows from the engine's verdict."""

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from queue import SimpleQueue

from loguru import logger

import clock
import metrics
from answer_calls import AnswerCalls
from backoff import Backoff
from camunda_client import FOR_NOW, Answer, Verdict
from detours import Detours
from engine_gate import EngineGate
from errors import TaskGone, Unavailable, Unprocessable
from leases import LeaseTable
from messages import NamedTask, Publication, Response, ResponseType, named_task
from rabbitmq_client import RETRY_TIERS, Delivery, Outcome, Publisher, retry_queue

REPEATS_AFTER_COLLISION = 5
TIERS = tuple(RETRY_TIERS)
SECOND_TIER, SLOW_TIER = TIERS[1], TIERS[-1]
LOCK_BEYOND_TIER_MS = 60_000


def tier_of(seconds: float, *, at_least: str) -> str:
    """Return the first tier from `at_least` on that lasts that long, the last one where none does."""
    longer = TIERS[TIERS.index(at_least) :]
    return next((tier for tier in longer if RETRY_TIERS[tier] >= 1000 * seconds), SLOW_TIER)


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
    Verdict.LOCKED: Step.RELOCK,
    Verdict.EXPIRED: Step.RELOCK,
    Verdict.SUSPENDED: Step.DELAY_SLOWLY,
    Verdict.REJECTED: Step.REJECT,
    Verdict.COLLISION: Step.REPEAT,
    Verdict.TROUBLE: Step.DELAY,
    Verdict.UNCLEAR: Step.DELAY,
    Verdict.AWAY: Step.ASK_ENGINE,
    Verdict.UNAUTHORIZED: Step.ASK_ENGINE,
    Verdict.UNKNOWN_CALL: Step.ASK_ENGINE,
}
OUTCOMES = {Verdict.ACCEPTED: "applied", Verdict.GONE: "gone"}
UNKNOWN = "unknown"  # the type of a response that cannot be read
# A heartbeat that the engine does not want is worth nothing a moment later.
HEARTBEAT_POLICY = {
    **POLICY,
    Verdict.LOCKED: Step.DONE,
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
        ack: Callable[[Delivery], None],
        stopping: threading.Event,
        rules: AnswerRules,
    ) -> None:
        self._calls = calls
        self._gate = gate
        self._leases = leases
        self._publisher = publisher
        self._detours = detours
        self._deliveries = deliveries
        self._ack = ack
        self._stopping = stopping
        self._rules = rules

    def work(self) -> None:
        """Handle deliveries one by one until a None comes, which is passed on to the next thread."""
        while (delivery := self._deliveries.get()) is not None:
            self.handle(delivery)
        self._deliveries.put(None)

    def handle(self, delivery: Delivery) -> None:
        """Bring one response to a safe end, however long it takes, and acknowledge it.

        Left unacknowledged when stopping or when its channel is gone: the broker then delivers it again.
        """
        backoff = Backoff(first=0.1)
        while not self._stopping.is_set() and delivery.is_acknowledgeable:
            try:
                if self._settle(delivery):
                    self._ack(delivery)
                    return
            except Unavailable as error:
                logger.warning("a response waits: {}", error)
                self._stopping.wait(backoff.pause())

    def _settle(self, delivery: Delivery) -> bool:
        """Return whether the response is done with; raise Unavailable where the broker does not take a copy."""
        try:
            response = Response.decode(delivery.body, delivery.correlation_id, self._rules.max_message_bytes)
            self._check_sender(delivery, response.task_id)
        except TaskGone:
            metrics.responses(UNKNOWN, "gone").inc()
            return True
        except Unprocessable as error:
            return self._set_aside_unread(delivery, error)
        except Unavailable as error:  # whose task it is cannot be asked
            return self._follow(delivery, response, Answer.missing(error))
        self._calls.note_unknown_keys(response)
        try:
            with self._leases.answering(response.task_id):
                answer = self._call_with_repeats(response)
                return answer is not None and self._follow(delivery, response, answer)
        except TaskGone:
            metrics.responses(response.response_type, "gone").inc()
            return True
        except Unprocessable as error:
            self._give_up(delivery, response, error.reason, error.detail)
            return True

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

    def _follow(self, delivery: Delivery, response: Response, answer: Answer) -> bool:
        """Take the step that the verdict asks for; return whether the response is done with."""
        is_heartbeat = response.response_type is ResponseType.EXTEND_LOCK
        step = (HEARTBEAT_POLICY if is_heartbeat else POLICY)[answer.verdict]
        if answer.verdict is not Verdict.ACCEPTED:
            logger.info("{} for task {}: {}", response.response_type, response.task_id, answer.detail)
        match step:
            case Step.DONE:
                self._note_done(response, answer.verdict)
                return True
            case Step.RELOCK:
                return self._relock(delivery, response, answer)
            case Step.REJECT:
                self._give_up(delivery, response, "rejected_by_engine", answer.detail)
                return True
            case Step.DELAY_SLOWLY:
                self._delay(delivery, response, SLOW_TIER, self._detours.attempts(delivery))
                return True
            case Step.ASK_ENGINE if not self._gate.engine_is_there(answer.detail):
                return False
            case Step.ASK_ENGINE if not is_heartbeat and not answer.timed_out:
                self._wait_for_the_engines_word(delivery, response, answer)
                return True
        return self._delay_or_give_up(delivery, response, answer)

    def _note_done(self, response: Response, verdict: Verdict) -> None:
        metrics.responses(response.response_type, OUTCOMES.get(verdict, "ignored")).inc()
        if verdict is Verdict.ACCEPTED:
            metrics.succeeded("apply")
        if response.response_type is not ResponseType.EXTEND_LOCK:
            self._leases.done(response.task_id, answered=verdict is Verdict.ACCEPTED)

    def _relock(self, delivery: Delivery, response: Response, answer: Answer) -> bool:
        """Take a task back that nobody holds, so that the response can be applied; False: apply it again."""
        if self._calls.is_held_by_us(answer):
            ours = response.model_copy(update={"worker_id": None})
            return self._follow(delivery, ours, self._calls.apply(ours))
        if answer.verdict is Verdict.EXPIRED or answer.owner == "null":
            taken = self._calls.take_back(response)
            if taken.verdict in FOR_NOW:
                raise Unavailable(taken.detail)
            if taken.verdict is Verdict.GONE:
                return True
            if taken.verdict is Verdict.ACCEPTED or response.response_type is ResponseType.EXTEND_LOCK:
                if response.response_type is not ResponseType.EXTEND_LOCK:
                    return False
                self._note_done(response, taken.verdict)
                return True
        self._set_aside(delivery, Unprocessable("foreign_lock", answer.detail), response)
        return True

    def _wait_for_the_engines_word(self, delivery: Delivery, response: Response, answer: Answer) -> None:
        """Try again later, for as long as it takes: what a gateway says is no failed attempt of the answer."""
        self._gate.note_refusal(response.task_id, answer.detail, answer.wait_seconds)
        attempts = self._detours.attempts(delivery)
        if answer.may_run:
            tier = SLOW_TIER
        else:
            shortest = SECOND_TIER if self._detours.is_our_copy(delivery) else TIERS[0]
            tier = tier_of(answer.wait_seconds, at_least=shortest)
        self._delay(delivery, response, tier, attempts)

    def _delay_or_give_up(self, delivery: Delivery, response: Response, answer: Answer) -> bool:
        attempts = self._detours.attempts(delivery)
        if response.response_type is ResponseType.EXTEND_LOCK:
            self._note_done(response, Verdict.TROUBLE)
        elif attempts < len(TIERS):
            self._delay(delivery, response, SLOW_TIER if answer.may_run else TIERS[attempts], attempts + 1)
        else:
            self._give_up(delivery, response, "retries_exhausted", answer.detail)
        return True

    def _delay(self, delivery: Delivery, response: Response, tier: str, attempts: int) -> None:
        """Put the response into a delay tier, with the task's lock made to outlast it."""
        self._help(lambda: self._calls.outlast(response, RETRY_TIERS[tier] + LOCK_BEYOND_TIER_MS))
        self._publish(self._detours.delayed(delivery, retry_queue(tier), attempts))
        metrics.responses(response.response_type, "delayed").inc()
        logger.warning("the answer for task {} is tried again in {}", response.task_id, tier)

    def _help(self, call: Callable[[], Answer]) -> Answer:
        """Make a call that helps the task while its answer goes elsewhere; it may fail, the answer must not wait.

        Raises Unavailable, so that all of it is done again, only where two calls met or the engine is away.
        """
        try:
            answer = call()
        except Unavailable as error:
            answer = Answer.missing(error)
        match POLICY[answer.verdict]:
            case Step.REPEAT:
                raise Unavailable(answer.detail)
            case Step.ASK_ENGINE if not self._gate.engine_is_there(answer.detail):
                raise Unavailable(answer.detail)
        return answer

    def _give_up(self, delivery: Delivery, response: Response, reason: str, detail: str) -> None:
        """Set the response aside, and raise an incident so that its task does not wait in silence."""
        told = self._help(lambda: self._calls.raise_incident(response, detail))
        if reason == "retries_exhausted" and told.verdict is Verdict.GONE:
            self._note_done(response, told.verdict)  # it was no fault of the answer
            return
        self._set_aside(delivery, Unprocessable(reason, detail), response)
        self._leases.done(response.task_id)

    def _set_aside_unread(self, delivery: Delivery, error: Unprocessable) -> bool:
        """Set aside what is no answer; False where the task that it names could not be told before a stop."""
        named = None if error.reason == "forged" else named_task(delivery.body, delivery.correlation_id)
        self._set_aside(delivery, error, None, named.task_id if named else None)
        # A heartbeat is no answer: its system is still at work.
        if named is None or named.response_type == ResponseType.EXTEND_LOCK:
            return True
        return self._tell(delivery, named, error.detail)

    def _tell(self, delivery: Delivery, named: NamedTask, detail: str) -> bool:
        """Report at a task why its answer cannot be used, unless the sender may not answer for it."""

        def report() -> Answer:
            self._check_sender(delivery, named.task_id)
            return self._calls.report_unusable(named, detail)

        backoff = Backoff(first=0.1)
        while not self._stopping.is_set():
            try:
                with self._leases.answering(named.task_id):
                    told = self._help(report)
                if told.verdict in FOR_NOW:
                    raise Unavailable(told.detail)
                return True
            except (TaskGone, Unprocessable):
                return True
            except Unavailable as error:
                logger.warning("task {} is told later why its answer cannot be used: {}", named.task_id, error)
                self._stopping.wait(backoff.pause())
        return False

    def _set_aside(
        self, delivery: Delivery, error: Unprocessable, response: Response | None, task_id: str | None = None
    ) -> None:
        task_id = response.task_id if response else task_id
        topic = self._leases.topic_of(task_id) if task_id else None
        self._publish(
            self._detours.dead_letter(delivery, error.reason, error.detail, task_id=task_id, topic=topic)
        )
        metrics.dead_letters(error.reason).inc()
        metrics.responses(response.response_type if response else UNKNOWN, "error_queue").inc()
        logger.error("a response went to the error queue: {}", error)

    def _publish(self, publication: Publication) -> None:
        """Publish a copy. Raises Unavailable where no queue has it for certain."""
        outcome = self._publisher.publish_and_wait(publication, self._stopping)
        if outcome is not Outcome.CONFIRMED:
            raise Unavailable(f"its copy for {publication.routing_key} is not safe: {outcome.value}")


if __name__ == "__main__":
    import sys

    from main import main

    sys.exit(main("response_handler"))
