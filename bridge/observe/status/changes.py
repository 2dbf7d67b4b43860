"""What changed lately: a system paused or resumed, a connection lost or made again, the engine gone or back."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from bridge import clock
from bridge.observe.status.snapshot import Snapshot
from bridge.texts import Said

HOUR = 3600.0
MOST = 12


@dataclass(frozen=True, slots=True)
class Change:
    """Something that changed; `count` times of late, `moment` and `at` (monotonic) being the last."""

    moment: datetime
    at: float
    text: Said
    count: int


class Changes:
    """Compares each snapshot with the one before; remembers the last dozen kinds of change of an hour."""

    def __init__(self, now: Snapshot) -> None:
        self._before = now
        self._reconnects: dict[str, int] = {}
        self._changes: dict[str, Change] = {}

    def note(self, now: Snapshot, reconnects: dict[str, int]) -> None:
        """Take note of what differs from the last time; `reconnects`: how often each connection was made anew."""
        of_broker = self._of_connections(now, reconnects)
        for text in (*_of_systems(self._before, now), *_of_engine(self._before, now), *of_broker):
            known = self._changes.pop(text, None)
            count = known.count + 1 if known else 1
            self._changes[text] = Change(datetime.now().astimezone(), clock.now(), text, count)
        while len(self._changes) > MOST:
            del self._changes[next(iter(self._changes))]
        self._before, self._reconnects = now, reconnects

    def lately(self) -> list[Change]:
        """Return the changes of the last hour, the latest first."""
        begin = clock.now() - HOUR
        return [change for change in reversed(self._changes.copy().values()) if change.at >= begin]

    def _of_connections(self, now: Snapshot, reconnects: dict[str, int]) -> Iterator[Said]:
        were_connected = {connection.kind for connection in self._before.connections if connection.connected}
        made_again = [kind for kind, count in reconnects.items() if count > self._reconnects.get(kind, 0)]
        are_lost = [link.kind for link in now.connections if link.kind in were_connected and not link.connected]
        if made_again:
            yield Said("connected again: {kinds}", kinds=", ".join(made_again))
        if lost := [kind for kind in are_lost if kind not in made_again]:
            yield Said("connection lost: {kinds}", kinds=", ".join(lost))


def _of_systems(before: Snapshot, now: Snapshot) -> Iterator[Said]:
    were_paused = {system.name: system.paused for system in before.systems}
    for system in now.systems:
        was = were_paused.get(system.name, "")
        if system.paused and not was:
            yield Said("{system}: paused", system=system.name)
        elif was and not system.paused:
            yield Said("{system}: resumed", system=system.name)


def _of_engine(before: Snapshot, now: Snapshot) -> Iterator[Said]:
    if now.engine_trouble and not before.engine_trouble:
        yield Said("engine: unavailable")
    elif before.engine_trouble and not now.engine_trouble:
        yield Said("engine: back")
