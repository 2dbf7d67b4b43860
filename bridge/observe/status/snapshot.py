"""How everything stands at one moment: read once, then shown as metrics, health or a page."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bridge import clock
from bridge.broker import ERROR_QUEUE, Consumer, Publisher, QueueState, QueueWatch
from bridge.contract import RESPONSE_QUEUE
from bridge.intake.admission import DeliveryGate
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

    `not_given_out`: a line for each topic with tasks that the engine cannot give out.
    """

    systems: tuple[SystemView, ...]
    answers: QueueState
    errors: QueueState
    connections: tuple[ConnectionView, ...]
    fetches: bool
    subscribed: bool | None
    engine_trouble: str
    not_given_out: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Sources:
    """The parts that a snapshot is read from; None for those of a component that does not run here.

    Each of `engine_troubles` returns why the engine is unavailable, or nothing.
    """

    routing: Routing
    leases: LeaseTable
    watch: QueueWatch
    publisher: Publisher | None
    gate: DeliveryGate | None
    consumer: Consumer | None
    detours: Publisher | None
    engine_troubles: Sequence[Callable[[], str]]
    not_given_out: Callable[[], Sequence[str]] = tuple

    def snapshot(self) -> Snapshot:
        """Return how everything stands now."""
        oldest = self._oldest_published()
        paused = self.gate.paused() if self.gate else {}
        return Snapshot(
            systems=tuple(self._system(system, oldest, paused) for system in self.routing.systems),
            answers=self.watch.state(RESPONSE_QUEUE),
            errors=self.watch.state(ERROR_QUEUE),
            connections=tuple(self._connections()),
            fetches=self.publisher is not None,
            subscribed=self.consumer.subscribed if self.consumer else None,
            engine_trouble=next((trouble for ask in self.engine_troubles if (trouble := ask())), ""),
            not_given_out=tuple(self.not_given_out()),
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

    def _connections(self) -> list[ConnectionView]:
        return [
            ConnectionView(kind, part.connected, part.blocked, part.trouble)
            for kind, part in (("tasks", self.publisher), ("answers", self.consumer), ("detours", self.detours))
            if part is not None
        ]
