"""Whose tasks a fetch asks for: of all systems together, and of each with a backlog by itself."""

from collections import deque
from collections.abc import Iterable, Sequence

from bridge.routing import System

_OTHERS = None


class Backlogs:
    """The systems that had tasks in a full batch take turns, each by itself, with all the others together.

    For each request the engine looks through all tasks that wait for its topics, so one system's cost it less; and
    no system waits for another's backlog. Priorities hold among a system's tasks, which share a queue. Systems
    that share a topic with another one take turns always: a request can name it once.
    """

    def __init__(self, apart: Sequence[System] = ()) -> None:
        self._apart = apart
        self._turns: deque[System | None] = deque([_OTHERS, *apart])

    def has_others(self, open_systems: Sequence[System], asked: Sequence[System]) -> bool:
        """Whether some of these systems have a backlog, and a fetch does not ask for all of them."""
        backlogged = (s for s in open_systems if s in self._turns and s not in self._apart)
        return len(asked) < len(open_systems) and any(backlogged)

    def next(self, open_systems: Sequence[System]) -> Sequence[System]:
        """Return those of the systems, which may get tasks now, that the next fetch asks for."""
        for _ in range(len(self._turns)):
            turn = self._turns[0]
            self._turns.rotate(-1)
            asked = tuple(s for s in open_systems if (s not in self._turns if turn is _OTHERS else s is turn))
            if asked:
                return asked
        return ()

    def note(self, asked: Sequence[System], fetched: Iterable[System], *, is_full: bool) -> None:
        """Note whose tasks a fetch brought, and whether it brought as many as it might."""
        if is_full:
            self._turns.extendleft([system for system in dict.fromkeys(fetched) if system not in self._turns])
        elif len(asked) == 1 and asked[0] in self._turns and asked[0] not in self._apart:
            self._turns.remove(asked[0])
