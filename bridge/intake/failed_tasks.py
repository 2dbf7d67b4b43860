"""Tasks without retries: each has an incident and waits for a person, who should see it."""

import threading
from collections import Counter
from collections.abc import Mapping

from loguru import logger

from bridge import heartbeats
from bridge.engine import CamundaClient
from bridge.errors import Unavailable
from bridge.intake.topics import Topics

PERIOD_SECONDS = 30.0
FIRST_LOOK_SECONDS = 5.0
MOST = 1000  # as many are told apart by system and topic


class FailedTasks:
    """Counts, every half minute, the tasks of our topics that have no retries left."""

    def __init__(self, engine: CamundaClient, topics: Topics, stopping: threading.Event) -> None:
        self._engine = engine
        self._topics = topics
        self._stopping = stopping
        self._counts: Mapping[tuple[str, str], int] = {}

    def run(self) -> None:
        """Look again and again until stopping."""
        pause = FIRST_LOOK_SECONDS
        while not self._stopping.wait(pause):
            heartbeats.beat(within=PERIOD_SECONDS + heartbeats.PATIENCE_SECONDS)
            self.look()
            pause = PERIOD_SECONDS

    def look(self) -> None:
        """Count anew; what was counted before holds on where the engine does not tell."""
        try:
            tasks = self._engine.read_failed_tasks(MOST)
        except Unavailable as error:
            logger.debug("tasks without retries cannot be counted: {}", error)
            return
        routing = self._topics.routing
        ours = (task for task in tasks if self._topics.serves(task.topic))
        self._counts = Counter((routing.system_of(task).name, task.topic) for task in ours)

    def counts(self) -> Mapping[tuple[str, str], int]:
        """Return how many there are by system and topic, at most MOST in all. From any thread."""
        return self._counts
