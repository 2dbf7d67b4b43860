"""Logins at the broker: until one works, and after a refusal, one connection asks for all, with growing pauses.

Behind a broker there may be a directory that locks an account after a few wrong passwords.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from bridge import clock
from bridge.backoff import Backoff
from bridge.errors import LoginRefused

LONGEST_PAUSE_SECONDS = 30.0
ONE_AT_A_TIME_SECONDS = 2.0  # a broker that does not answer holds up nobody for longer


class Logins:
    """Knows whether the login works; shared by all connections of a process."""

    def __init__(self) -> None:
        self._works = False
        self._turn = clock.Lock()
        self._backoff = Backoff(longest=LONGEST_PAUSE_SECONDS)
        self._refused = ""
        self._again_at = 0.0

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Let one connection log in, and learn from it. Raises LoginRefused while nobody is to try again."""
        has_turn = not self._works and self._turn.acquire(timeout=ONE_AT_A_TIME_SECONDS)
        try:
            if (pause := self._again_at - clock.now()) > 0:
                raise LoginRefused(self._refused, wait_seconds=pause)
            try:
                yield
            except LoginRefused as error:
                raise self._pausing(str(error)) from error
            self._works = True
            self._backoff.reset()
        finally:
            if has_turn:
                self._turn.release()

    def _pausing(self, refused: str) -> LoginRefused:
        """Note a refusal and return it with the seconds until somebody may try again."""
        pause = self._backoff.pause()
        self._works, self._refused, self._again_at = False, refused, clock.now() + pause
        return LoginRefused(refused, wait_seconds=pause)
