"""What a person should know before it hurts: a queue that nobody listens to, an error queue that fills up."""

import threading
from collections.abc import Callable, Iterator, Sequence

from loguru import logger

from bridge import clock, heartbeats
from bridge.broker import ERROR_QUEUE, QueueWatch
from bridge.contract import RESPONSE_QUEUE
from bridge.counted import counted

LOOK_SECONDS = 5.0
UNHEARD_SECONDS = 30.0  # a system that restarts is no alarm
QUIET_SECONDS = 60.0  # a tool that reads a queue holds its messages meanwhile: it only looks empty
FRESH_SECONDS = 9.0
REMIND_SECONDS = 600.0


class Alarms:
    """Looks at the queues as last seen; logs an alarm when it begins, while it lasts now and then, and its end.

    `why_unread` says why we do not read the answers ourselves, where that is so.
    """

    def __init__(
        self,
        watch: QueueWatch,
        queues: Sequence[str],
        error_queue_max: int,
        stopping: threading.Event,
        *,
        why_unread: Callable[[], str] = lambda: "",
    ) -> None:
        self._watch = watch
        self._queues = queues
        self._error_queue_max = error_queue_max
        self._stopping = stopping
        self._why_unread = why_unread
        self._unheard_since: dict[str, float] = {}
        self._quiet_since: dict[str, float] = {}
        self._remind_at: dict[str, float] = {}

    def run(self) -> None:
        """Look every few seconds until stopping."""
        while not self._stopping.wait(LOOK_SECONDS):
            heartbeats.beat()
            self.look()

    def look(self) -> None:
        """Log what has changed since the last look."""
        now = clock.now()
        alarms = {queue: (level, text) for queue, level, text in self._alarms(now)}
        for queue in self._remind_at.keys() - alarms.keys():
            if self._is_over(queue, now):
                self._forget(queue)
                logger.info("alarm over: {}", queue)
        for queue, (level, text) in alarms.items():
            self._quiet_since.pop(queue, None)
            if now >= self._remind_at.get(queue, 0.0):
                self._remind_at[queue] = now + REMIND_SECONDS
                logger.log(level, "alarm: {}", text)

    def _is_over(self, queue: str, now: float) -> bool:
        """Whether somebody listens now, or there has been nothing to listen to for a while."""
        is_heard = queue in self._queues and self._watch.state(queue).consumers > 0
        return is_heard or now - self._quiet_since.setdefault(queue, now) >= QUIET_SECONDS

    def _forget(self, queue: str) -> None:
        for times in (self._remind_at, self._quiet_since, self._unheard_since):
            times.pop(queue, None)

    def _alarms(self, now: float) -> Iterator[tuple[str, str, str]]:
        for queue in self._queues:
            state = self._watch.state(queue)
            if now - state.seen_at > FRESH_SECONDS:
                continue  # nothing is known of it now, such as while the broker blocks us
            if state.consumers or not (state.ready or queue in self._remind_at):
                self._unheard_since.pop(queue, None)
            elif state.ready and now - self._unheard_since.setdefault(queue, now) >= UNHEARD_SECONDS:
                yield queue, "WARNING", self._unheard(queue, state.ready)
        if (dead := self._watch.state(ERROR_QUEUE).ready) >= self._error_queue_max:
            held = f"{ERROR_QUEUE} holds {counted(dead, 'message')}"
            most = f"RABBITMQ_ERROR_QUEUE_MAX is {self._error_queue_max}"
            yield ERROR_QUEUE, "ERROR", f"{held}, {most}; look at them: python tools/dead_letters.py list"

    def _unheard(self, queue: str, ready: int) -> str:
        if queue != RESPONSE_QUEUE:
            return f"nobody listens to {queue}, {_waiting(ready, 'message')}; is its system running?"
        if why := self._why_unread():
            return f"{_waiting(ready, 'answer')} in {queue}, which we do not read now: {why}"
        return f"nobody reads {queue}, {_waiting(ready, 'answer')}; is the response handler running?"


def _waiting(number: int, noun: str) -> str:
    return f"{counted(number, noun)} {'waits' if number == 1 else 'wait'}"
