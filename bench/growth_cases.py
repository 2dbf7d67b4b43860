"""What grows, along which axis and how far. Pure."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from bench.circuit import TOPICS

# With these the built-in routing spreads topics evenly over four systems.
_PREFIXES = ("bitrix_", "op_", "1c_", "py_")
_TASKS = 10_000
# More than is held. By default a system gets no more than so many tasks, and they come in bursts that its queue
# could hold: bringing them into flight would take half a minute.
_ROOM = {"CAMUNDA_MAX_IN_FLIGHT": "20000", "RABBITMQ_QUEUE_HIGH_WATER": "20000"}
_QUICK = 10  # how many times smaller a quick measurement is


@dataclass(frozen=True)
class Case:
    """One measurement: this many tasks, at most `at_once` of them in the engine at a time.

    `held` tasks of a topic of their own are out all the while, with a system that does not answer.
    """

    tasks: int = _TASKS
    at_once: int | None = None
    topics: Sequence[str] = TOPICS
    payload: int = 1024
    workers: int = 1
    held: int = 0
    settings: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Axis:
    """Something that grows; `limit` is what the last size may cost a task, as a multiple of the first."""

    title: str
    sizes: tuple[int, ...]
    case: Callable[[int], Case]
    limit: float | None = None
    is_amount_of_tasks: bool = False

    def cases(self, *, quick: bool) -> Iterator[tuple[int, Case]]:
        """Yields each size with its case; a quick one has fewer tasks."""
        for size in self.sizes:
            if quick and self.is_amount_of_tasks:
                size = max(1, size // _QUICK)
            case = self.case(size)
            yield size, replace(case, tasks=max(size, case.tasks // _QUICK)) if quick else case


def _backlog(size: int) -> Case:
    return Case(tasks=max(size, _TASKS), at_once=size)


def _topics(size: int) -> Case:
    names = [f"{_PREFIXES[number % len(_PREFIXES)]}{number:04d}" for number in range(size)]
    return Case(tasks=_TASKS // 2, topics=names)


def _payload(size: int) -> Case:
    return Case(tasks=_TASKS // 4 if size < 100 else _TASKS // 8, payload=size * 1024)


def _in_flight(size: int) -> Case:
    return Case(held=size, settings=_ROOM)


AXES = {
    "backlog": Axis("tasks in the backlog", (1_000, 10_000, 100_000), _backlog, 1.1, is_amount_of_tasks=True),
    "topics": Axis("topics", (10, 100, 1_000), _topics, 1.3),
    "replicas": Axis("replicas", (1, 2, 4), lambda size: Case(tasks=_TASKS // 2, workers=size)),
    "size": Axis("kB in a variable", (1, 10, 100), _payload),
    "in-flight": Axis("tasks in flight", (1, 100, 10_000), _in_flight, 1.2, is_amount_of_tasks=True),
}
