"""Which topics to fetch: those of the routing, and those that the engine says have tasks."""

import time
from collections.abc import Sequence
from fnmatch import fnmatchcase

from loguru import logger

from camunda_client import CamundaClient
from config import RoutingConfig
from routing_file import System


class Topics:
    """The topics this worker serves; asks the engine for new ones every `refresh_seconds`."""

    def __init__(
        self,
        camunda: CamundaClient,
        routing: RoutingConfig,
        *,
        include: Sequence[str],
        exclude: Sequence[str],
        refresh_seconds: float,
    ) -> None:
        self._camunda = camunda
        self._routing = routing
        self._include = include
        self._exclude = exclude
        self._refresh_seconds = refresh_seconds
        self._refresh_at = 0.0
        self._systems: dict[str, System] = {}
        for topic in routing.topics:
            self._add(topic)

    def known(self) -> list[tuple[str, System]]:
        """Return each topic to serve with its system, new ones included. Raises Unavailable."""
        if time.monotonic() >= self._refresh_at:
            for topic in self._camunda.topic_names():
                self._add(topic)
            self._refresh_at = time.monotonic() + self._refresh_seconds
        return list(self._systems.items())

    def _add(self, topic: str) -> None:
        if topic in self._systems or not self._is_ours(topic):
            return
        system = self._systems[topic] = self._routing.system_of(topic)
        if system is self._routing.default and topic not in self._routing.topics:
            logger.warning(
                "topic {!r} is in no routing and goes to {}; if another worker serves it, "
                "add it to CAMUNDA_TOPICS_EXCLUDE",
                topic,
                system.queue,
            )

    def _is_ours(self, topic: str) -> bool:
        return _matches(topic, self._include) and not _matches(topic, self._exclude)


def _matches(topic: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(topic, pattern) for pattern in patterns)
