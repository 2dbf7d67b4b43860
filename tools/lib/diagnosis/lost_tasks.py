"""Tasks that this worker id holds although no message tells a system of them: engine and broker together."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from bridge.broker import RETRY_TIERS, QueueState, retry_queue
from bridge.contract import RESPONSE_QUEUE, TaskState
from bridge.texts import Said, gettext, ngettext
from config import RoutingConfig
from tools.lib.diagnosis.finding import Check, Level, Seen
from tools.lib.operations import Operations

MOST_TASKS = 20_000
REMEDY = Said(
    "they are offered again when their lock ends; to have them at once, where no system works on them: "
    "python tools/unlock_task.py --topic TOPIC"
)


@dataclass(frozen=True, slots=True)
class Holding:
    """How many tasks of a system are held, and how many messages and consumers its queue has."""

    system: str
    held: int
    ready: int
    consumers: int

    def lost(self, answers: int) -> int:
        """Return how many have no message for certain; with a consumer there, it may have it in hand."""
        return 0 if self.consumers else max(0, self.held - self.ready - answers)

    def line(self, answers: int) -> str:
        """Return it in words."""
        place = ngettext(
            "{system}: {held} held, {number} message ready",
            "{system}: {held} held, {number} messages ready",
            self.ready,
        ).format(system=self.system, held=self.held, number=self.ready)
        if lost := self.lost(answers):
            return place + gettext(", nobody listening: {number} without a message").format(number=lost)
        return place + gettext(", {number} listening").format(number=self.consumers)


class LostTasks:
    """The one check that needs both servers; `queues` is what the checks of the broker saw."""

    def __init__(
        self,
        operations: Operations,
        queues: Mapping[str, QueueState | None],
        routing: RoutingConfig,
        worker_id: str,
    ) -> None:
        self._operations = operations
        self._queues = queues
        self._routing = routing
        self._worker_id = worker_id

    def check(self) -> Check:
        """Return the check."""
        tried = gettext("tasks held by {worker} against messages in the queues").format(worker=self._worker_id)
        return Check(gettext("tasks: without a message"), tried, self._look, REMEDY)

    def _look(self) -> Seen:
        """Leave out tasks that pause after a failure: their worker id keeps the lock, and no message is out."""
        query = {"workerId": self._worker_id, "locked": True, "withRetriesLeft": True}
        held = self._operations.tasks(query, limit=MOST_TASKS)
        return judged([task for task in held if not task.error_message], self._queues, self._routing)


def judged(tasks: list[TaskState], queues: Mapping[str, QueueState | None], routing: RoutingConfig) -> Seen:
    """Judge the tasks that are held; answers under way may belong to any of them."""
    answers = sum(_ready(queues, name) for name in (RESPONSE_QUEUE, *map(retry_queue, RETRY_TIERS)))
    held = Counter(routing.system_of(task) for task in tasks)
    holdings = [
        Holding(system.name, count, _ready(queues, system.queue), _consumers(queues, system.queue))
        for system, count in held.items()
    ]
    lines = tuple(holding.line(answers) for holding in holdings)
    lost = sum(holding.lost(answers) for holding in holdings)
    if lost:
        saw = gettext("{lost} of {number} held tasks without a message").format(lost=lost, number=len(tasks))
        return Seen(Level.PROBLEM, saw, REMEDY, lines)
    saw = ngettext(
        "held: {number} task; none is known to have no message",
        "held: {number} tasks; none is known to have no message",
        len(tasks),
    )
    return Seen(Level.OK, saw.format(number=len(tasks)), details=lines)


def _ready(queues: Mapping[str, QueueState | None], name: str) -> int:
    state = queues.get(name)
    return state.ready if state else 0


def _consumers(queues: Mapping[str, QueueState | None], name: str) -> int:
    state = queues.get(name)
    return state.consumers if state else 0
