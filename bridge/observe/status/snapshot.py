"""How everything stands at one moment: read once, then shown as metrics, health or a page."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from bridge import clock
from bridge.broker import ERROR_QUEUE, Inbox, QueueState, QueueWatch
from bridge.contract import RESPONSE_QUEUE
from bridge.leases import LeaseTable
from bridge.routing import Routing, System


@dataclass(frozen=True, slots=True)
class SystemView:
    """One system: its queue, and its tasks that are out; `oldest_seconds` since the oldest was published."""

    name: str
    queue: QueueState
    in_flight: int
    oldest_seconds: float | None
    paused: str


@dataclass(frozen=True, slots=True)
class ConnectionView:
    """One connection to the broker; `trouble` is empty where it works."""

    kind: str
    connected: bool
    blocked: bool
    trouble: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All of it. `fetches`: this process takes tasks; `subscribed` is None where it reads no answers.

    `not_given_out`: a line for each topic with tasks that the engine cannot give out. `failed_tasks`: how many
    have no retries left, by system and topic.
    """

    systems: tuple[SystemView, ...]
    answers: QueueState
    errors: QueueState
    connections: tuple[ConnectionView, ...]
    fetches: bool
    subscribed: bool | None
    engine_trouble: str
    not_given_out: tuple[str, ...] = ()
    failed_tasks: Mapping[tuple[str, str], int] = field(default_factory=dict)

    @property
    def sees_round_trips(self) -> bool:
        """Whether this process knows whose answer it reads: that of a task which it has sent itself."""
        return self.fetches and self.subscribed is not None


class Connection(Protocol):
    """A connection to the broker, as far as it is shown."""

    @property
    def connected(self) -> bool:
        """Whether it is open."""

    @property
    def blocked(self) -> bool:
        """Whether the broker takes nothing from it."""

    @property
    def trouble(self) -> str:
        """Why it does not work; empty where it does."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What a component shows: its connections by kind, and what keeps work from flowing.

    `engine_trouble` returns why the engine is unavailable, or nothing; `paused` the systems that get no tasks,
    each with the reason; `not_given_out` a line for each topic with tasks that the engine cannot give out;
    `failed_tasks` how many have no retries left, by system and topic.
    """

    connections: Mapping[str, Connection]
    engine_trouble: Callable[[], str]
    paused: Callable[[], Mapping[str, str]] = dict
    not_given_out: Callable[[], Sequence[str]] = tuple
    failed_tasks: Callable[[], Mapping[tuple[str, str], int]] = dict


@dataclass(frozen=True, slots=True)
class Observed:
    """What a snapshot is read from."""

    routing: Routing
    leases: LeaseTable
    watch: QueueWatch
    inbox: Inbox
    shown: Sequence[Shown]

    def snapshot(self) -> Snapshot:
        """Return how everything stands now."""
        oldest = self._oldest_published()
        paused = {name: reason for one in self.shown for name, reason in one.paused().items()}
        connections = tuple(self._connections())
        return Snapshot(
            systems=tuple(self._system(system, oldest, paused) for system in self.routing.systems),
            answers=self.watch.state(RESPONSE_QUEUE),
            errors=self.watch.state(ERROR_QUEUE),
            connections=connections,
            fetches=any(connection.kind == "tasks" for connection in connections),
            subscribed=self.inbox.subscribed if self.inbox.is_read else None,
            engine_trouble=next((trouble for one in self.shown if (trouble := one.engine_trouble())), ""),
            not_given_out=tuple(line for one in self.shown for line in one.not_given_out()),
            failed_tasks={place: count for one in self.shown for place, count in one.failed_tasks().items()},
        )

    def _oldest_published(self) -> dict[str, float]:
        oldest: dict[str, float] = {}
        for lease in self.leases.all():
            name, at = lease.system.name, lease.published_at
            if at and at < oldest.get(name, at + 1):
                oldest[name] = at
        return oldest

    def _system(self, system: System, oldest: dict[str, float], paused: dict[str, str]) -> SystemView:
        since = oldest.get(system.name)
        return SystemView(
            name=system.name,
            queue=self.watch.state(system.queue),
            in_flight=self.leases.in_flight(system),
            oldest_seconds=None if since is None else clock.now() - since,
            paused=paused.get(system.name, ""),
        )

    def _connections(self) -> Iterator[ConnectionView]:
        for one in self.shown:
            for kind, connection in one.connections.items():
                yield ConnectionView(kind, connection.connected, connection.blocked, connection.trouble)
