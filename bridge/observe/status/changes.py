"""What changed lately: a system paused or resumed, a connection lost or made again, the engine gone or back."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from bridge import clock
from bridge.observe.status.snapshot import Snapshot
from bridge.texts import Said

HOUR = 3600.0
MOST = 12


@dataclass(frozen=True, slots=True)
class Change:
    """Something that changed in the last hour: the last time at `moment`, and `count` times in all."""

    moment: datetime
    text: Said
    count: int


class Changes:
    """Compares each snapshot with the one before; remembers the last dozen kinds of change of an hour.

    `reconnects` says how often each connection was made anew since the process began.
    """

    def __init__(self, now: Snapshot, reconnects: Mapping[str, int]) -> None:
        self._before = now
        self._reconnects = reconnects
        self._times: dict[Said, tuple[tuple[float, datetime], ...]] = {}  # monotonic, and as people read it

    def note(self, now: Snapshot, reconnects: Mapping[str, int]) -> None:
        """Take note of what differs from the last time."""
        at = clock.now(), datetime.now().astimezone()
        of_broker = self._of_connections(now, reconnects)
        for text in (*_of_systems(self._before, now), *_of_engine(self._before, now), *of_broker):
            self._times[text] = (*_of_last_hour(self._times.pop(text, ())), at)
        while len(self._times) > MOST:
            del self._times[next(iter(self._times))]
        self._before, self._reconnects = now, reconnects

    def lately(self) -> list[Change]:
        """Return the changes of the last hour, the latest first. From any thread."""
        lately = ((text, _of_last_hour(times)) for text, times in reversed(self._times.copy().items()))
        return [Change(times[-1][1], text, len(times)) for text, times in lately if times]

    def _of_connections(self, now: Snapshot, reconnects: Mapping[str, int]) -> Iterator[Said]:
        were_connected = {connection.kind for connection in self._before.connections if connection.connected}
        made_again = [kind for kind, count in reconnects.items() if count > self._reconnects.get(kind, 0)]
        are_lost = [link.kind for link in now.connections if link.kind in were_connected and not link.connected]
        if made_again:
            yield Said("connected again: {kinds}", kinds=", ".join(made_again))
        if lost := [kind for kind in are_lost if kind not in made_again]:
            yield Said("connection lost: {kinds}", kinds=", ".join(lost))


def _of_last_hour(times: tuple[tuple[float, datetime], ...]) -> tuple[tuple[float, datetime], ...]:
    begin = clock.now() - HOUR
    return tuple(time for time in times if time[0] >= begin)


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
