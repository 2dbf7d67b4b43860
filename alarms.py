"""What a person should know before it hurts: a queue that nobody listens to, an error queue that fills up."""

import threading
from collections.abc import Callable, Iterator, Sequence

from loguru import logger

import clock
import heartbeats
from messages import RESPONSE_QUEUE
from rabbitmq_client import ERROR_QUEUE, QueueWatch

LOOK_SECONDS = 5.0
UNHEARD_SECONDS = 30.0  # a system that restarts is no alarm
HEARD_SECONDS = 10.0
FRESH_SECONDS = 15.0
REMIND_SECONDS = 600.0


class Alarms:
    """Looks at the queues as last seen; logs an alarm when it begins, while it lasts now and then, and its end."""

    def __init__(
        self,
        watch: QueueWatch,
        queues: Sequence[str],
        error_queue_max: int,
        stopping: threading.Event,
        is_held_back: Callable[[str], bool],
    ) -> None:
        """Take `is_held_back`, which says whether it is we who do not read a queue now."""
        self._watch = watch
        self._queues = queues
        self._is_held_back = is_held_back
        self._error_queue_max = error_queue_max
        self._stopping = stopping
        self._unheard_since: dict[str, float] = {}
        self._heard_since: dict[str, float] = {}
        self._remind_at: dict[str, float] = {}

    def run(self) -> None:
        """Look every few seconds until stopping."""
        while not self._stopping.wait(LOOK_SECONDS):
            heartbeats.beat()
            self.look()

    def look(self) -> None:
        """Log what has changed since the last look."""
        alarms = {queue: (level, text) for queue, level, text in self._alarms(clock.now())}
        for queue in self._remind_at.keys() - alarms.keys():
            del self._remind_at[queue]
            logger.info("alarm over: {}", queue)
        for queue, (level, text) in alarms.items():
            if clock.now() >= self._remind_at.get(queue, 0.0):
                self._remind_at[queue] = clock.now() + REMIND_SECONDS
                logger.log(level, "alarm: {}", text)

    def _alarms(self, now: float) -> Iterator[tuple[str, str, str]]:
        for queue in self._queues:
            state = self._watch.state(queue)
            is_fresh = now - state.seen_at <= FRESH_SECONDS
            if is_fresh:  # else nothing is known of it now, and all stays as it was
                self._note(queue, is_heard=not state.ready or state.consumers > 0, now=now)
            is_unheard = now - self._unheard_since.get(queue, now) >= UNHEARD_SECONDS
            if is_unheard and (is_fresh or queue in self._remind_at):
                text = f"nobody listens to {queue}, {state.ready} messages wait; is {self._whose(queue)} running?"
                yield queue, "WARNING", text
        if (dead := self._watch.state(ERROR_QUEUE).ready) >= self._error_queue_max:
            text = f"{ERROR_QUEUE} holds {dead} messages, RABBITMQ_ERROR_QUEUE_MAX is {self._error_queue_max}"
            yield ERROR_QUEUE, "ERROR", f"{text}; look at them with tools/dead_letters.py"

    def _note(self, queue: str, *, is_heard: bool, now: float) -> None:
        """Note whether somebody listens; a tool that has a look does so too, and is no system that is back."""
        if self._is_held_back(queue):
            self._unheard_since.pop(queue, None)
        elif not is_heard:
            self._heard_since.pop(queue, None)
            self._unheard_since.setdefault(queue, now)
        elif now - self._heard_since.setdefault(queue, now) >= HEARD_SECONDS or queue not in self._remind_at:
            self._unheard_since.pop(queue, None)

    def _whose(self, queue: str) -> str:
        return "response_handler.py" if queue == RESPONSE_QUEUE else "its system"
