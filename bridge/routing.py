"""Which system a task belongs to, and what is known of each system."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Literal, Protocol

from bridge.retry_policy import USUAL, RetryPolicy

SHORTEST_LOCK_MS = 10_000
LONGEST_LOCK_MS = 49 * 24 * 3600 * 1000  # a message's expiration in RabbitMQ ends at 2^32 ms, 49.7 days
NO_TENANT = ""

# What becomes of variables that are too large for a message: the task gets an incident, or they are sent as URLs.
LargeVariables = Literal["incident", "reference"]


def matches(name: str, patterns: Sequence[str]) -> bool:
    """Whether a topic or a worker id matches one of some patterns (`*` is any text, `?` one letter)."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def is_served(topic: str, include: Sequence[str], exclude: Sequence[str]) -> bool:
    """Whether a worker with these CAMUNDA_TOPICS_INCLUDE and CAMUNDA_TOPICS_EXCLUDE fetches a topic."""
    return matches(topic, include) and not matches(topic, exclude)


class RoutableTask(Protocol):
    """What the routing reads of a task."""

    @property
    def topic(self) -> str: ...  # noqa: D102
    @property
    def process_key(self) -> str: ...  # noqa: D102
    @property
    def tenant_id(self) -> str | None: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Selection:
    """Which tasks of its topics the engine gives out for a system, and with which of their variables.

    `variables` None: all of them. `local_variables_only`: those of the task's own scope. `process_keys` empty: of
    all processes. `tenants` None: those that the worker serves; it may hold NO_TENANT.
    """

    variables: tuple[str, ...] | None = None
    local_variables_only: bool = False
    process_keys: tuple[str, ...] = ()
    version_tag: str | None = None
    business_key: str | None = None
    tenants: tuple[str, ...] | None = None

    def admits(self, task: RoutableTask) -> bool:
        """Whether a task is of a process and a tenant that the system serves."""
        of_process = not self.process_keys or task.process_key in self.process_keys
        return of_process and (self.tenants is None or (task.tenant_id or NO_TENANT) in self.tenants)

    def excludes(self, other: "Selection") -> bool:
        """Whether no task can be of both, by its process or its tenant."""
        pairs = (self.process_keys, other.process_keys), (self.tenants, other.tenants)
        return any(mine and theirs and set(mine).isdisjoint(theirs) for mine, theirs in pairs)


@dataclass(frozen=True, slots=True)
class System:
    """One outside system: its tasks go to its queue with the routing key `<name>.<topic>`.

    `lock_ms`: how long it has for an answer. `max_in_flight` None: as many as CAMUNDA_MAX_IN_FLIGHT says.
    `own_queue` names a queue other than `<name>.queue`; `queue_arguments` are those that it is declared with, and
    where `declares_queue` is False somebody else does. `sends_priority`: its messages carry their task's priority.
    `tells_cancelled`: it is told, in a queue of its own, which of its tasks the process has cancelled.
    `long_text`: as what its untyped texts are stored that are too long for a String; None: they are refused.
    """

    name: str
    lock_ms: int
    topics: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    selection: Selection = Selection()
    retry: RetryPolicy = USUAL
    max_in_flight: int | None = None
    own_queue: str = ""
    declares_queue: bool = True
    queue_arguments: Mapping[str, Any] = field(default_factory=dict)
    sends_priority: bool = False
    tells_cancelled: bool = False
    large_variables: LargeVariables = "incident"
    long_text: str | None = None

    def __hash__(self) -> int:
        return hash(self.name)  # there is one system of a name; to hash all fields for each task costs more

    def is_user(self, name: str | None) -> bool:
        """Whether a user of the broker may answer for this system; one of the system's own name by default."""
        return name in (self.users or (self.name,))

    @property
    def margin_ms(self) -> int:
        """How long before the lock its message ends: a tenth, at most 10 s."""
        return min(10_000, self.lock_ms // 10)

    @property
    def queue(self) -> str:
        """The name of the system's queue."""
        return self.own_queue or f"{self.name}.queue"


@dataclass(frozen=True, slots=True, eq=False)  # there is one of each, and each poll would hash all fields
class Subscription:
    """What is fetched for one system of one topic; each task is locked for `lock_ms` at first."""

    topic: str
    lock_ms: int
    selection: Selection = Selection()


class Routing:
    """Which system a task belongs to: exact topics first, then patterns in order, then the default.

    Several systems may name the same topic or pattern where their selections exclude each other.
    """

    def __init__(self, systems: Iterable[System], default: System) -> None:
        self.systems = (*systems, default)
        self.default = default
        self._exact = {
            topic: tuple(system for system in self.systems if topic in system.topics)
            for named in self.systems
            for topic in named.topics
        }
        self._known = dict(self._exact)

    def described(self) -> str:
        """Return per system its queue, what is routed to it and how long its tasks are locked."""
        return "; ".join(
            f"{system.queue} ({system.lock_ms / 1000:g} s): "
            + (", ".join((*system.topics, *system.patterns)) or "whatever no other system has")
            for system in self.systems
        )

    @property
    def topics(self) -> tuple[str, ...]:
        """The topics that are routed by their exact name."""
        return tuple(self._exact)

    def system_of(self, task: RoutableTask) -> System:
        """Return the system that a task belongs to."""
        systems = self.systems_of(task.topic)
        if len(systems) == 1:
            return systems[0]
        return next((system for system in systems if system.selection.admits(task)), systems[0])

    def systems_of(self, topic: str) -> tuple[System, ...]:
        """Return the systems that a topic belongs to: one, or several that share it."""
        systems = self._known.get(topic)
        if systems is None:
            pattern = self.pattern_of(topic)
            by_pattern = tuple(system for system in self.systems if pattern in system.patterns)
            systems = self._known[topic] = by_pattern or (self.default,)
        return systems

    def pattern_of(self, topic: str) -> str | None:
        """Return the first pattern that a topic matches, None where nobody has one for it."""
        patterns = (pattern for system in self.systems for pattern in system.patterns)
        return next((pattern for pattern in patterns if fnmatchcase(topic, pattern)), None)

    @property
    def apart(self) -> tuple[System, ...]:
        """The systems that share a topic or pattern with an earlier one; of a topic, a request can name one."""
        seen: set[str] = set()
        apart = []
        for system in self.systems:
            names = {*system.topics, *system.patterns}
            if names & seen:
                apart.append(system)
            seen |= names
        return tuple(apart)
