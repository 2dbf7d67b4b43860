"""How full are the queues, and who listens? Every queue of the worker, and what is wrong with it.

Examples:
  python tools/check_queues.py
  python tools/check_queues.py --watch
  python tools/check_queues.py --watch 10 \\
    --management http://localhost:15672
  python tools/check_queues.py --peek
  python tools/check_queues.py --json

AMQP tells how many messages are ready and how many consumers listen. What consumers hold unacknowledged, and how
old the first message is, tells the management API (its user needs the tag monitoring). --peek tells the age
without it: it takes the first message of each queue that nobody listens to and puts it back, marked as
redelivered, which a quorum queue counts as a delivery.

Exit code: 0 well, 1 a queue is missing, messages wait and nobody listens, or there are dead letters.
"""

import argparse
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # a script finds only what lies beside it

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.text import Text

from bridge.broker import Broker, QueueState, Topology
from bridge.broker.topology import ERROR_QUEUE
from bridge.errors import Unavailable
from bridge.observe.durations import in_one_unit
from bridge.process.shared import broker_of, topology_of
from bridge.texts import Said, gettext, translated
from config import Settings
from tools.lib.inspector import Inspector
from tools.lib.layout import console, layout_of
from tools.lib.management import QueueTotals, http_url, queue_totals
from tools.lib.toolbox import OK, PROBLEM, parser_of, run, show_json, start

WATCH_SECONDS = 2.0
UNKNOWN = QueueTotals(None, None)
FIGURES = ("ready", "unacked", "consumers", "oldest_seconds")
MISSING = Said("is missing: the worker declares it when it starts")
DEAD_LETTERS = Said("answers that could not be used: python tools/dead_letters.py list")
UNHEARD = Said("messages wait and nobody listens")

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Source:
    """Where the table comes from."""

    broker: Broker
    topology: Topology
    management: str | None
    peek: bool

    def rows(self) -> list[Row]:
        """Look at every queue once. Raises Unavailable."""
        totals = queue_totals(self.management, self.broker) if self.management else {}
        with Inspector(self.broker, name="check_queues") as inspector:
            return [self._row(inspector, name, totals.get(name, UNKNOWN)) for name in self._names()]

    def _names(self) -> list[str]:
        return [queue.name for queue in self.topology.queues]

    def _row(self, inspector: Inspector, name: str, totals: QueueTotals) -> Row:
        state = inspector.look(name)
        oldest = inspector.oldest(name) if self.peek and state and state.is_unheard else totals.oldest
        expects_reader = any(queue.name == name for queue in self.topology.watched)
        return row_of(
            name, state, QueueTotals(totals.unacked, oldest), expects_reader=expects_reader, now=time.time()
        )


def row_of(name: str, state: QueueState | None, totals: QueueTotals, *, expects_reader: bool, now: float) -> Row:
    """Return a queue as a row, with what is wrong with it; None is not known."""
    if state is None:
        return {"queue": name, **dict.fromkeys(FIGURES), "problem": MISSING}
    oldest = None if totals.oldest is None or not state.ready else max(0, int(now - totals.oldest))
    return {
        "queue": name,
        "ready": state.ready,
        "unacked": totals.unacked,
        "consumers": state.consumers,
        "oldest_seconds": oldest,
        "problem": _problem(state) if expects_reader else "",
    }


def _problem(state: QueueState) -> str:
    if state.ready and state.name == ERROR_QUEUE:
        return DEAD_LETTERS
    return UNHEARD if state.is_unheard else ""


def main(argv: Sequence[str]) -> int:
    """Show the queues once, or until Ctrl-C."""
    parser = parser_of(__doc__)
    watch = gettext("again and again (2 s)")
    parser.add_argument("--watch", type=_seconds, nargs="?", const=WATCH_SECONDS, metavar="SECONDS", help=watch)
    management = gettext("the management API, such as http://localhost:15672")
    parser.add_argument("--management", metavar="URL", type=http_url, help=management)
    peek = gettext("look at the first message of queues without a listener")
    parser.add_argument("--peek", action="store_true", help=peek)
    arguments = parser.parse_args(argv)
    if arguments.watch and arguments.peek:
        parser.error(gettext("--peek marks a message as redelivered each time: not together with --watch"))
    return run(_check, arguments)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.1 <= seconds <= 3600:
        raise argparse.ArgumentTypeError(gettext("must be a number of seconds from 0.1 to 3600"))
    return seconds


def _check(arguments: argparse.Namespace, settings: Settings) -> int:
    topology = topology_of(settings, settings.routing())
    source = Source(broker_of(settings), topology, arguments.management, arguments.peek)
    if arguments.watch:
        return _watch(source, arguments.watch, as_json=arguments.json)
    rows = source.rows()
    if arguments.json:
        show_json(rows)
    else:
        place = console()
        place.print(layout(rows, place.width), crop=False)
    return PROBLEM if any(row["problem"] for row in rows) else OK


def _watch(source: Source, seconds: float, *, as_json: bool) -> int:
    """Show the queues until Ctrl-C; a table says when the broker is unavailable, and goes on."""
    pause = threading.Event()
    with Live(console=Console(quiet=as_json), auto_refresh=False, vertical_overflow="visible") as live:
        while True:
            if as_json:
                show_json({"at": int(time.time()), **row} for row in source.rows())
            else:
                live.update(_now(source, live.console.width), refresh=True)
            pause.wait(seconds)


def _now(source: Source, width: int) -> RenderableType:
    try:
        return layout(source.rows(), width)
    except Unavailable as error:
        return Text(translated(str(error)), "bold red")


def layout(rows: Sequence[Row], width: int) -> RenderableType:
    """Return the figures of all queues, and below them what is wrong with which."""
    parts = [layout_of([_figures(row) for row in rows], width)]
    queues: dict[str, list[str]] = {}
    for row in rows:
        queues.setdefault(row["problem"], []).append(row["queue"])
    for problem, names in queues.items():
        if problem:
            parts += [Text(translated(problem), "yellow"), Padding(Text("\n".join(names)), (0, 0, 1, 2))]
    return Group(*parts)


def _figures(row: Row) -> Row:
    """Return the figures of a row, with how long its first message waits in words instead of seconds."""
    seconds = row["oldest_seconds"]
    shown = {**row, "waits": None if seconds is None else in_one_unit(seconds)}
    return {name: shown[name] for name in ("queue", "ready", "unacked", "consumers", "waits")}


if __name__ == "__main__":
    start(main)
