"""The engine's login, kept from locking its own account.

After a wrong password Camunda refuses even the right one for 3 s, then 6, 12 ... 60 s, and locks the user for
good after ten. So requests go one at a time until a login was accepted, and a refused one is tried three times,
spaced over a minute; then only other credentials help: a password file that has changed, or a restart.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

from bridge import clock, heartbeats
from bridge.errors import LoginRefused
from bridge.texts import Said

PAUSES_SECONDS = (20.0, 40.0)
UNAUTHORIZED = 401
ACCEPTED = range(200, 300)  # a proxy's 503 or 404 says nothing of the login


@dataclass
class Attempt:
    """One request that carries the login; the caller notes the status that came back."""

    refusals_before: int
    status: int | None = None


class Login:
    """A user name and a password, or neither, and what the engine has said of them.

    `read_password` returns the password as it is now; it is asked again after a refusal.
    """

    def __init__(self, username: str | None, read_password: Callable[[], str] = str) -> None:
        self.username = username
        self.password = read_password()
        self._read_password = read_password
        self._one_at_a_time = clock.Lock()
        self._learning = clock.Lock()
        self._accepted = username is None
        self._refusals = 0
        self._not_before = 0.0

    @contextmanager
    def attempt(self) -> Iterator[Attempt]:
        """Yield an Attempt to fill in. Raises LoginRefused where asking again could lock the account."""
        with nullcontext() if self._accepted else self._my_turn():
            self._check()
            attempt = Attempt(self._refusals)
            yield attempt
            with self._learning:
                self._learn(attempt)

    @contextmanager
    def _my_turn(self) -> Iterator[None]:
        while not self._one_at_a_time.acquire(timeout=1.0):
            heartbeats.beat()  # an engine that hangs keeps whoever is before us
        try:
            yield
        finally:
            self._one_at_a_time.release()

    def _check(self) -> None:
        if self._refusals and (password := self._read_password()) != self.password:
            self.password, self._refusals, self._not_before = password, 0, 0.0
        if self._refusals > len(PAUSES_SECONDS):
            for_good = Said(
                "the engine refused the login of CAMUNDA_AUTH_USERNAME {user!r} {number} times; "
                "correct CAMUNDA_AUTH_PASSWORD_FILE, or the credentials and restart",
                user=self.username,
                number=self._refusals,
            )
            raise LoginRefused(for_good)
        if clock.now() < self._not_before:
            refused = Said("the engine refuses the login of CAMUNDA_AUTH_USERNAME {user!r}", user=self.username)
            raise LoginRefused(refused)

    def _learn(self, attempt: Attempt) -> None:
        if attempt.refusals_before != self._refusals:
            return  # it was under way when another was refused: both were one login, to the engine too
        if attempt.status in ACCEPTED:
            self._accepted, self._refusals = True, 0
        elif attempt.status == UNAUTHORIZED and self.username is not None:
            pauses = (*PAUSES_SECONDS, 0.0)
            self._not_before = clock.now() + pauses[min(self._refusals, len(PAUSES_SECONDS))]
            self._accepted = False
            self._refusals += 1
