"""Which topics to fetch: those of the routing, and those that the engine says have tasks."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from loguru import logger

from bridge import clock
from bridge.engine import CamundaClient
from bridge.leases import LeaseRules
from bridge.routing import Routing, Subscription, is_served


class Topics:
    """The topics this worker serves; asks the engine for new ones every `refresh_seconds`."""

    def __init__(
        self,
        camunda: CamundaClient,
        routing: Routing,
        lease_rules: LeaseRules,
        *,
        include: Sequence[str],
        exclude: Sequence[str],
        refresh_seconds: float,
    ) -> None:
        self._camunda = camunda
        self.routing = routing
        self._lease_rules = lease_rules
        self._include = include
        self._exclude = exclude
        self._refresh_seconds = refresh_seconds
        self._refresh_at = 0.0
        self._served: set[str] = set()
        self._of_system: defaultdict[str, list[Subscription]] = defaultdict(list)
        self._add(routing.topics)

    def of_systems(self) -> Mapping[str, Sequence[Subscription]]:
        """Return what to fetch by the systems' names, new topics included. Raises Unavailable."""
        if clock.now() >= self._refresh_at:
            self._warn_of_unrouted(self._add(self._camunda.topic_names()))
            self._refresh_at = clock.now() + self._refresh_seconds
        return self._of_system

    def serves(self, topic: str) -> bool:
        """Whether tasks of a topic are for this worker."""
        return is_served(topic, self._include, self._exclude)

    def _add(self, topics: Iterable[str]) -> list[str]:
        """Serve what is ours of these topics; return those that are new."""
        new = [topic for topic in topics if topic not in self._served and self.serves(topic)]
        self._served.update(new)
        for topic in new:
            for system in self.routing.systems_of(topic):
                lease_ms = self._lease_rules.lease_ms_of(system)
                self._of_system[system.name].append(Subscription(topic, lease_ms, system.selection))
        return new

    def _warn_of_unrouted(self, topics: Sequence[str]) -> None:
        default = self.routing.default
        if unrouted := [topic for topic in topics if self.routing.systems_of(topic) == (default,)]:
            logger.warning(
                "no routing names these topics, they go to {}: {}; if another worker serves one, "
                "add it to CAMUNDA_TOPICS_EXCLUDE",
                default.queue,
                ", ".join(unrouted),
            )
