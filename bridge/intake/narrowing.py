"""Tasks that the engine cannot give out: found, told to a person, and kept from stopping the others.

One such task makes each fetch that would bring it fail as a whole: a variable whose serializer is gone, or a
process whose BPMN cannot be parsed any more. Fetched without variables and extension properties it can be seen.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from loguru import logger

from bridge import clock, metrics
from bridge.backoff import Backoff
from bridge.contract import ExternalTask
from bridge.engine import FOR_NOW, CamundaClient, Verdict
from bridge.errors import NotGivenOut, Unavailable
from bridge.routing import Routing, Subscription, System
from bridge.texts import Said

PAGE = 10  # tasks of a suspect topic at once: each may have to be looked at by itself
LONGEST_PAUSE_SECONDS = 60.0
HELD_MS = 600_000  # how long tasks are put aside that cannot even get an incident
MOST_HELD = 1000


@dataclass(slots=True)
class Suspect:
    """A topic of a system with a task that the engine cannot give out; `words` are the engine's."""

    subscription: Subscription
    words: str
    due_at: float = 0.0
    backoff: Backoff = field(default_factory=lambda: Backoff(1.0, LONGEST_PAUSE_SECONDS))

    @property
    def topic(self) -> str:
        """The name of the topic."""
        return self.subscription.topic


class Narrowing:
    """Fetches topic by topic where a common fetch fails, and keeps what fails by itself out of the common ones.

    `take` is handed the tasks of each fetch that succeeds, and when it was sent.
    """

    def __init__(
        self,
        camunda: CamundaClient,
        routing: Routing,
        take: Callable[[list[ExternalTask], float], None],
    ) -> None:
        self._camunda = camunda
        self._routing = routing
        self._take = take
        self._suspects: dict[Subscription, Suspect] = {}
        self._put_aside: dict[tuple[str, str], tuple[float, str]] = {}

    def unsuspected(self, subscriptions: Iterable[Subscription]) -> Sequence[Subscription]:
        """Return those that may be fetched together."""
        if not self._suspects:  # nearly always, and poll after poll
            return tuple(subscriptions)
        return tuple(one for one in subscriptions if one not in self._suspects)

    def due_in(self) -> float:
        """Return the seconds until a suspect topic is to be looked at; infinite where there is none."""
        due_at = min((suspect.due_at for suspect in self._suspects.values()), default=math.inf)
        return max(0.0, due_at - clock.now())

    def troubles(self) -> list[str]:
        """Return a line for each topic whose tasks cannot be given out now. From any thread."""
        now = clock.now()
        suspects = [
            Said(
                "the engine cannot give out a task of topic {topic}: {words}",
                topic=suspect.topic,
                words=suspect.words,
            )
            for suspect in self._suspects.copy().values()
        ]
        return [*suspects, *(text for until, text in self._put_aside.copy().values() if now < until)]

    def search(self, asked: Sequence[Subscription], max_tasks: int, error: NotGivenOut) -> None:
        """Fetch apart what could not be fetched together. Raises Unavailable where no single topic is at fault."""
        self._camunda.probe()
        suspects = list(self._fetch_apart(asked, max_tasks, error))
        found = [self._clear_away(suspect) for suspect in suspects]
        if len(suspects) == len(asked) and not any(found):
            raise Unavailable(str(error))
        self._suspects |= {suspect.subscription: suspect for suspect in suspects}

    def _fetch_apart(self, asked: Sequence[Subscription], max_tasks: int, error: NotGivenOut) -> Iterator[Suspect]:
        """Yield the topics whose tasks cannot be fetched, and fetch those of the others."""
        if len(asked) == 1:
            yield Suspect(asked[0], str(error))
            return
        middle = len(asked) // 2
        for half in (asked[:middle], asked[middle:]):
            try:
                self._fetch(half, max_tasks)
            except NotGivenOut as of_half:
                yield from self._fetch_apart(half, max_tasks, of_half)

    def attend(self, systems: Sequence[System]) -> None:
        """Look again at the suspect topics of these systems that are due. Raises Unavailable."""
        for suspect in [*self._suspects.values()]:
            is_open = not set(systems).isdisjoint(self._routing.systems_of(suspect.topic))
            if is_open and suspect.due_at <= clock.now():
                self._attend(suspect)

    def _attend(self, suspect: Suspect) -> None:
        try:
            count = self._fetch([suspect.subscription], PAGE)
        except NotGivenOut as error:
            suspect.words = str(error)
            self._clear_away(suspect)
            return
        suspect.backoff.reset()
        if count < PAGE:
            del self._suspects[suspect.subscription]
            logger.info("the engine gives out the tasks of topic {} again", suspect.topic)

    def _fetch(self, asked: Sequence[Subscription], max_tasks: int) -> int:
        sent = clock.now()
        tasks = self._camunda.fetch_and_lock(asked, max_tasks=max_tasks, wait_ms=0)
        self._take(tasks, sent)
        return len(tasks)

    def _clear_away(self, suspect: Suspect) -> bool:
        """Find the tasks at fault among the next ones of a topic, and give the others back; False: none found."""
        tasks, has_properties = self._fetch_bare(suspect)
        reasons = {task.id: self._why_not(task) for task in tasks}
        for task in tasks:
            if not reasons[task.id]:
                self._camunda.unlock(task.id)  # certainly not published
        at_fault = [task for task in tasks if reasons[task.id]]
        untold = [task for task in at_fault if not self._report(task, reasons[task.id])]
        if not has_properties:
            for task in {task.fields.get("processDefinitionId"): task for task in untold}.values():
                self._put_process_aside(task, reasons[task.id])
        suspect.due_at = clock.now() + (0.0 if at_fault else suspect.backoff.pause())
        if not at_fault:
            logger.error("topic {}: {}; no single task is at fault", suspect.topic, suspect.words)
        return bool(at_fault)

    def _fetch_bare(self, suspect: Suspect) -> tuple[list[ExternalTask], bool]:
        """Fetch the next tasks of a topic without variables; with extension properties only where that works."""
        for has_properties in (True, False):
            try:
                tasks = self._camunda.fetch_bare(
                    suspect.subscription, max_tasks=PAGE, has_properties=has_properties
                )
            except NotGivenOut:
                continue
            return tasks, has_properties
        return [], False

    def _why_not(self, task: ExternalTask) -> str:
        """Return why the engine cannot give out this task, in its own words; empty where it can.

        It is asked twice: no task is blamed for an engine that has failed for a moment.
        """
        execution = str(task.fields.get("executionId"))
        if not self._camunda.why_unreadable(execution):
            return ""
        self._camunda.probe()
        return self._camunda.why_unreadable(execution)

    def _report(self, task: ExternalTask, words: str) -> bool:
        """Raise an incident; return whether the engine could do at least that."""
        message = f"the engine cannot give out this task: {words}"
        answer = self._camunda.failure(task.id, task.worker_id, message, retries=0, retry_timeout_ms=0)
        if answer.verdict in FOR_NOW - {Verdict.TROUBLE}:
            raise Unavailable(answer.detail)
        metrics.not_given_out(self._routing.system_of(task).name).inc()
        if answer.verdict is Verdict.ACCEPTED:
            logger.error("task {} of topic {} got an incident: {}", task.id, task.topic, message)
            return True
        logger.error("task {} of topic {}: {}; nor can it get an incident", task.id, task.topic, message)
        return False

    def _put_process_aside(self, task: ExternalTask, words: str) -> None:
        """Lock the other tasks of a process that the engine cannot read: nothing else can be done with them."""
        definition = str(task.fields.get("processDefinitionId"))
        system = self._routing.system_of(task)
        held_ms = min(HELD_MS, system.lock_ms)
        self._camunda.fetch_bare(
            Subscription(task.topic, held_ms, system.selection),
            max_tasks=MOST_HELD,
            has_properties=False,
            process_definition_id=definition,
        )
        text = Said(
            "the engine cannot give out the tasks of topic {topic} of process {process}: {words}",
            topic=task.topic,
            process=definition,
            words=words,
        )
        self._put_aside[task.topic, definition] = (clock.now() + held_ms / 1000, text)
