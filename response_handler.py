"""From the answers to the engine: one response, one engine call, and what follows from the engine's verdict."""

import random
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from loguru import logger

from bridge import clock, metrics
from bridge.answers import (
    SECOND_TIER,
    SLOW_TIER,
    TIERS,
    UNKNOWN,
    AnswerCalls,
    CircuitBreaker,
    Rejections,
    SideQueues,
    tier_of,
)
from bridge.broker import RETRY_TIERS, Delivery, Inbox, RejectedReader
from bridge.contract import NamedTask, Response, ResponseType, check_size
from bridge.engine import FOR_NOW, Answer, Verdict
from bridge.errors import TaskGone, Unavailable, Unprocessable
from bridge.leases import LeaseTable
from bridge.observe import Shown
from bridge.process import Component, Service, Shared, parse_arguments, run
from config import worker_settings
from rabbitmq_client import RabbitMQClient

if TYPE_CHECKING:  # its packages are there only where spans are recorded
    from bridge.tracing import Tracing

ANSWER_THREADS = 8
REPEATS_AFTER_COLLISION = 5
LOCK_BEYOND_TIER_MS = 60_000
LAST_CALLS_SECONDS = 10.0  # a stop must be over in 25 s
INVALID = "invalid"  # the reason of what is not as the contract says


class Fate(Enum):
    """What has become of a response."""

    DONE = "acknowledge it"
    AGAIN = "try again at once"
    ELSEWHERE = "it is acknowledged, or comes again, without us"


class Step(Enum):
    """What to do with a response after the engine's verdict."""

    DONE = "acknowledge it"
    RELOCK = "lock the task again if nobody holds it and repeat, else set the response aside"
    REPEAT = "call again at once"
    DELAY = "try again after a delay, a few times"
    DELAY_SLOWLY = "try again after a long delay, for as long as it takes"
    REJECT = "set it aside, and raise an incident at the task"
    ASK_ENGINE = "find out whether the engine is reachable at all; the response waits for its word"


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
    """Which responses are read at all, and who traces them."""

    max_message_bytes: int
    require_user_id: bool = False
    tracing: "Tracing | None" = None


class ResponseHandler:
    """Applies the systems' responses to the engine; `work` is the body of each thread of its pool."""

    def __init__(
        self,
        inbox: Inbox,
        calls: AnswerCalls,
        breaker: CircuitBreaker,
        leases: LeaseTable,
        side_queues: SideQueues,
        rules: AnswerRules,
    ) -> None:
        self._inbox = inbox
        self._calls = calls
        self._breaker = breaker
        self._leases = leases
        self._side_queues = side_queues
        self._rules = rules
        self._tracing = rules.tracing

    def work(self) -> None:
        """Handle deliveries one by one until the inbox is closed."""
        while (delivery := self._inbox.take()) is not None:
            self.handle(delivery)
        self._side_queues.wait_for_copies()

    def handle(self, delivery: Delivery) -> None:
        """Bring one response to a safe end and acknowledge it; what has to wait comes again, and holds no thread.

        Left unacknowledged when stopping or when its channel is gone: the broker then delivers it again.
        """
        while not self._breaker.is_stopping and delivery.is_acknowledgeable:
            try:
                fate = self._process(delivery)
            except Unavailable as error:
                self._side_queues.park(delivery, error)
                return
            if fate is Fate.DONE:
                self._side_queues.ack(delivery)
            if fate is not Fate.AGAIN:
                return

    def _process(self, delivery: Delivery) -> Fate:
        """Try to bring a response to its end. Raises Unavailable where that has to wait."""
        try:
            response = self._decode(delivery)
            self._check_sender(delivery, response.task_id)
        except TaskGone:
            metrics.responses(UNKNOWN, "gone").inc()
            return Fate.DONE
        except Unprocessable as error:
            return self._set_aside_unread(delivery, error)
        except Unavailable as error:  # whose task it is cannot be asked
            return self._follow(delivery, response, Answer.missing(error))
        self._calls.note_in_vain(response)
        return self._apply_when_free(delivery, response)

    def _decode(self, delivery: Delivery) -> Response:
        """Return the response that a delivery holds. Raises Unprocessable."""
        most = self._rules.max_message_bytes
        check_size(delivery.size, most)
        return Response.decode(delivery.body, delivery.correlation_id, most, delivery.form)

    def _apply_when_free(self, delivery: Delivery, response: Response) -> Fate:
        """Apply a response, or let it come again once another one of its process instance is applied."""
        try:
            with self._leases.answering(response.named, lambda: self._inbox.hand(delivery)) as is_free:
                answer = self._call(delivery, response) if is_free else None
                return self._follow(delivery, response, answer) if answer else Fate.ELSEWHERE
        except TaskGone:
            metrics.responses(response.response_type, "gone").inc()
            return Fate.DONE
        except Unprocessable as error:
            if error.reason == INVALID:  # a variable that has no type at the engine
                return self._set_aside_unread(delivery, error)
            return self._give_up(delivery, response, error)

    def _check_sender(self, delivery: Delivery, task_id: str) -> None:
        """Let nobody answer for another system, where users are told apart. Raises Unprocessable."""
        if not self._rules.require_user_id:
            return
        system, sender = self._calls.system_of(task_id), self._side_queues.sender(delivery)
        if not system.is_user(sender):
            raise Unprocessable("forged", f"user_id {sender!r} may not answer for {system.name}, task {task_id}")

    def _call(self, delivery: Delivery, response: Response) -> Answer | None:
        """Return the engine's last word, as a span of the trace that the response names; None when stopping."""
        if self._tracing is None:
            return self._call_with_repeats(response)
        span, outcome, failed = self._tracing.applying(response, delivery.trace), "not applied", True
        try:
            answer = self._call_with_repeats(response)
            if answer:
                outcome, failed = answer.verdict.name.lower(), answer.verdict not in OUTCOMES
            return answer
        finally:
            span.end(outcome, failed=failed)

    def _call_with_repeats(self, response: Response) -> Answer | None:
        """Return the engine's last word on a response; None when stopping."""
        for _ in range(REPEATS_AFTER_COLLISION):
            if not self._breaker.enter():
                return None
            served = False
            try:
                answer = self._apply(response)
                served = answer.verdict not in (Verdict.AWAY, Verdict.UNAUTHORIZED)
            finally:
                self._breaker.leave(served=served)
            if POLICY[answer.verdict] is not Step.REPEAT:
                return answer
            self._breaker.pause(random.uniform(0.005, 0.05))  # noqa: S311  # no secret
        return Answer(Verdict.TROUBLE, answer.detail)

    def _apply(self, response: Response) -> Answer:
        sent = clock.now()
        answer = self._calls.apply(response)
        metrics.APPLY_SECONDS.observe(clock.now() - sent)
        return answer

    def _follow(self, delivery: Delivery, response: Response, answer: Answer) -> Fate:
        """Take the step that the verdict asks for."""
        if answer.verdict is not Verdict.ACCEPTED:
            logger.info("{} for task {}: {}", response.response_type, response.task_id, answer.detail)
        is_heartbeat = response.response_type is ResponseType.EXTEND_LOCK
        match (HEARTBEAT_POLICY if is_heartbeat else POLICY)[answer.verdict]:
            case Step.DONE:
                return self._note_done(response, answer.verdict)
            case Step.RELOCK:
                return self._relock(delivery, response, answer)
            case Step.REJECT:
                error = Unprocessable("rejected_by_engine", answer.detail)
                return self._give_up(delivery, response, error)
            case Step.DELAY_SLOWLY:
                tier = SLOW_TIER if self._side_queues.is_our_copy(delivery) else SECOND_TIER
                return self._delay(delivery, response, tier, self._side_queues.attempts(delivery))
            case Step.ASK_ENGINE:
                return self._ask_engine(delivery, response, answer)
            case _:
                return self._delay_or_give_up(delivery, response, answer)

    def _ask_engine(self, delivery: Delivery, response: Response, answer: Answer) -> Fate:
        """Find out why no word of the engine's came; while it is unavailable, wait here until it is back."""
        if not self._breaker.engine_answers(answer.detail):
            return Fate.AGAIN
        if response.response_type is ResponseType.EXTEND_LOCK or answer.timed_out:
            return self._delay_or_give_up(delivery, response, answer)
        return self._wait_for_the_engines_word(delivery, response, answer)

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
            if taken.verdict in (Verdict.GONE, Verdict.STALE):
                return self._note_done(response, taken.verdict)
            if taken.verdict is Verdict.ACCEPTED:
                return Fate.AGAIN
        self._leases.done(response.task_id)
        return self._set_aside(delivery, Unprocessable("foreign_lock", answer.detail), response)

    def _wait_for_the_engines_word(self, delivery: Delivery, response: Response, answer: Answer) -> Fate:
        """Try again later, for as long as it takes: what a gateway says is no failed attempt of the answer."""
        self._breaker.note_refusal(response.task_id, answer.detail, answer.wait_seconds)
        if answer.may_run:
            tier = SLOW_TIER
        else:
            shortest = SECOND_TIER if self._side_queues.is_our_copy(delivery) else TIERS[0]
            tier = tier_of(answer.wait_seconds, at_least=shortest)
        return self._delay(delivery, response, tier, self._side_queues.attempts(delivery))

    def _delay_or_give_up(self, delivery: Delivery, response: Response, answer: Answer) -> Fate:
        if response.response_type is ResponseType.EXTEND_LOCK:
            return self._note_done(response, Verdict.TROUBLE)
        attempts = self._side_queues.attempts(delivery)
        if attempts < len(TIERS):
            tier = SLOW_TIER if answer.may_run else TIERS[attempts]
            return self._delay(delivery, response, tier, attempts + 1)
        return self._give_up(delivery, response, Unprocessable("retries_exhausted", answer.detail))

    def _delay(self, delivery: Delivery, response: Response, tier: str, attempts: int) -> Fate:
        """Put the response into a delay tier, with the task's lock made to last longer than that."""
        if self._has_had_effect(response):
            return self._note_done(response, Verdict.ACCEPTED)
        lock_ms = RETRY_TIERS[tier] + LOCK_BEYOND_TIER_MS
        locked = self._call_for_task(lambda: self._calls.lock_through_delay(response, lock_ms))
        if locked.verdict in (Verdict.GONE, Verdict.STALE):
            return self._note_done(response, locked.verdict)
        self._leases.answer_waits(response.named, lock_ms / 1000)
        self._side_queues.delay(delivery, response, tier, attempts)
        return Fate.ELSEWHERE

    def _has_had_effect(self, response: Response) -> bool:
        try:
            return self._calls.has_had_effect(response)
        except (TaskGone, Unavailable):
            return False

    def _call_for_task(self, call: Callable[[], Answer]) -> Answer:
        """Make a call that helps the task while its answer goes elsewhere; it may fail, the answer must not wait.

        Raises Unavailable, so that all of it is done again, only where two calls met or the engine is unavailable.
        """
        try:
            answer = call()
        except TaskGone as error:
            answer = Answer(Verdict.GONE, str(error))
        except Unavailable as error:
            answer = Answer.missing(error)
        step = POLICY[answer.verdict]
        if step is Step.REPEAT:
            raise Unavailable(answer.detail)
        if step is Step.ASK_ENGINE and not self._breaker.engine_answers(answer.detail):
            raise Unavailable(answer.detail)
        return answer

    def _give_up(self, delivery: Delivery, response: Response, error: Unprocessable) -> Fate:
        """Set the response aside, and raise an incident so that its task does not wait in silence."""
        told = self._call_for_task(lambda: self._calls.raise_incident(response, error.detail))
        if error.reason == "retries_exhausted" and told.verdict in (Verdict.GONE, Verdict.STALE):
            return self._note_done(response, told.verdict)  # it was no fault of the answer
        self._leases.attempt_done(response.task_id)
        return self._set_aside(delivery, error, response)

    def _set_aside_unread(self, delivery: Delivery, error: Unprocessable) -> Fate:
        """Set aside what is no answer, once the task that it names is told why."""
        named = None if error.reason == "forged" else delivery.named_task
        # A heartbeat is no answer: its system is still at work.
        if named and named.response_type != ResponseType.EXTEND_LOCK and not self._tell(delivery, named, error):
            return Fate.ELSEWHERE
        topic = self._leases.topic_of(named.task_id) if named else None
        self._side_queues.set_aside(delivery, error, task_id=named.task_id if named else None, topic=topic)
        return Fate.ELSEWHERE

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
            self._leases.answering(NamedTask(named.task_id), lambda: self._inbox.hand(delivery)) as is_free,
        ):
            if not is_free:
                return False
            told = self._call_for_task(report)
            if told.verdict in FOR_NOW:
                raise Unavailable(told.detail)
        return True

    def _set_aside(self, delivery: Delivery, error: Unprocessable, response: Response) -> Fate:
        self._side_queues.set_aside(
            delivery,
            error,
            task_id=response.task_id,
            topic=self._leases.topic_of(response.task_id),
            response_type=response.response_type,
        )
        return Fate.ELSEWHERE


def handler_services(shared: Shared) -> Component:
    """Build what brings answers to the engine; its services stop in their order."""
    settings, rabbitmq = shared.settings, RabbitMQClient.of(shared)
    rejected = RejectedReader(settings.rabbitmq_max_message_bytes)
    consumer = rabbitmq.response_consumer(shared.inbox, rejected)
    copies = rabbitmq.copy_publisher(None if shared.fetches else shared.watch)
    breaker = CircuitBreaker(
        shared.engine.probe,
        shared.stopping,
        width=ANSWER_THREADS,
        on_close=consumer.pause,
        on_open=consumer.resume,
    )
    calls = AnswerCalls(shared.engine, shared.routing, shared.leases, settings.camunda_accept_worker_ids)
    rejections = Rejections(
        rejected, calls, shared.leases, rabbitmq.side_queues(copies, rejected), shared.stopping
    )
    handler = ResponseHandler(
        shared.inbox,
        calls,
        breaker,
        shared.leases,
        rabbitmq.side_queues(copies, consumer),
        AnswerRules(settings.rabbitmq_max_message_bytes, settings.responses_require_user_id, shared.tracing),
    )

    def end_answers() -> None:
        """Let the threads of the pool finish what they have in hand."""
        shared.engine.give_up_after(LAST_CALLS_SECONDS)
        shared.inbox.close()

    names = [f"answers-{number}" for number in range(1, ANSWER_THREADS + 1)]
    return Component(
        services=(
            *(Service(name, handler.work, end_answers, turns=False) for name in names),
            Service("rejections", rejections.work, rejected.close, turns=False),
            Service("response-handler", consumer.run, consumer.stop, holds_nothing=lambda: consumer.holds_nothing),
            Service("detours", copies.run, copies.stop, holds_nothing=lambda: copies.holds_nothing),
        ),
        shown=Shown(connections={"answers": consumer, "detours": copies}, engine_trouble=lambda: breaker.trouble),
    )


if __name__ == "__main__":
    parse_arguments(sys.argv[1:], __doc__)
    sys.exit(run(worker_settings, handler=handler_services))
