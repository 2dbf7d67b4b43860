"""Whether the worker lives, and whether it can do its work."""

from collections.abc import Iterable, Iterator

from bridge import heartbeats
from bridge.observe.status.snapshot import Snapshot
from bridge.texts import gettext, translated


def stuck_loops(loops: Iterable[str], begun: float) -> list[str]:
    """Return a line for each loop that should have turned again, whatever became of the engine or the broker."""
    late = ((loop, heartbeats.overdue_seconds(loop, begun)) for loop in loops)
    text = gettext("{loop} has not turned: {seconds:.0f} s overdue")
    return [text.format(loop=loop, seconds=seconds) for loop, seconds in late if seconds]


def reasons_not_ready(now: Snapshot) -> Iterator[str]:
    """Yield a line for each reason why work does not flow in or out."""
    kinds_by_trouble: dict[str, list[str]] = {}
    for connection in now.connections:
        if connection.trouble:
            kinds_by_trouble.setdefault(connection.trouble, []).append(connection.kind)
    for trouble, kinds in kinds_by_trouble.items():
        text = gettext("connection for {kinds}: {trouble}")
        yield text.format(kinds=", ".join(kinds), trouble=translated(trouble))
    if now.engine_trouble:
        yield gettext("engine: {trouble}").format(trouble=translated(now.engine_trouble))
    elif now.subscribed is False and not any("answers" in kinds for kinds in kinds_by_trouble.values()):
        yield gettext("answers are not read: the consumer is not subscribed")
