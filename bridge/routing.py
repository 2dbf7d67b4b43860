"""Which system a topic belongs to, and what is known of each system."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

SHORTEST_LOCK_MS = 10_000
LONGEST_LOCK_MS = 49 * 24 * 3600 * 1000  # a message's expiration in RabbitMQ ends at 2^32 ms, 49.7 days


def matches(name: str, patterns: Sequence[str]) -> bool:
    """Whether a topic or a worker id matches one of some patterns (`*` is any text, `?` one letter)."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def is_served(topic: str, include: Sequence[str], exclude: Sequence[str]) -> bool:
    """Whether a worker with these CAMUNDA_TOPICS_INCLUDE and CAMUNDA_TOPICS_EXCLUDE fetches a topic."""
    return matches(topic, include) and not matches(topic, exclude)


@dataclass(frozen=True, slots=True)
class System:
    """One outside system: its tasks go to `<name>.queue` with the routing key `<name>.<topic>`.

    `long_text`: as what its untyped texts are stored that are too long for a String; None: they are refused.
    """

    name: str
    lock_ms: int
    topics: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    long_text: str | None = None

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
        return f"{self.name}.queue"


class Routing:
    """Which system a topic belongs to: exact topics first, then patterns in order, then the default."""

    def __init__(self, systems: Iterable[System], default: System) -> None:
        self.systems = (*systems, default)
        self.default = default
        self._exact = {topic: system for system in self.systems for topic in system.topics}
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

    def system_of(self, topic: str) -> System:
        """Return the system that a topic belongs to."""
        system = self._known.get(topic)
        if system is None:
            matching = (system for system in self.systems if matches(topic, system.patterns))
            system = self._known[topic] = next(matching, self.default)
        return system
