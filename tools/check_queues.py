"""How full are the queues, and who listens? Every queue of the worker, in one table.

Examples:
  python tools/check_queues.py
  python tools/check_queues.py --watch
  python tools/check_queues.py --watch 10 --management http://localhost:15672
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
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # a script finds only what lies beside it

from rich.console import Console, RenderableType
from rich.live import Live
from rich.text import Text

from bridge.broker import Broker, Topology
from bridge.broker.topology import ERROR_QUEUE
from bridge.errors import Unavailable
from bridge.observe.durations import in_one_unit
from config import Settings
from tools.lib.inspector import Inspector, QueueLook
from tools.lib.management import QueueTotals, queue_totals
from tools.lib.toolbox import (
    OK,
    PROBLEM,
    broker_of,
    console,
    parser_of,
    routing_of,
    run,
    show_json,
    table_of,
    topology_of,
)

WATCH_SECONDS = 2.0
UNKNOWN = QueueTotals(None, None)


@dataclass(frozen=True, slots=True)
class QueueRow:
    """A queue in the table; None is not known. `problem` is empty where all is well."""

    queue: str
    ready: int | None
    unacked: int | None
    consumers: int | None
    oldest_seconds: int | None
    problem: str


@dataclass(frozen=True, slots=True)
class Source:
    """Where the table comes from."""

    broker: Broker
    topology: Topology
    management: str | None
    peek: bool

    def rows(self) -> list[QueueRow]:
        """Look at every queue once. Raises Unavailable."""
        totals = queue_totals(self.management, self.broker) if self.management else {}
        with Inspector(self.broker, name="check_queues") as inspector:
            return [self._row(inspector, name, totals.get(name, UNKNOWN)) for name in self._names()]

    def _names(self) -> list[str]:
        return [queue.name for queue in self.topology.queues]

    def _row(self, inspector: Inspector, name: str, totals: QueueTotals) -> QueueRow:
        look = inspector.look(name)
        oldest = totals.oldest
        if self.peek and look and look.ready and not look.consumers:
            oldest = inspector.oldest(name)
        expects_reader = any(queue.name == name for queue in self.topology.watched)
        return row_of(
            name, look, QueueTotals(totals.unacked, oldest), expects_reader=expects_reader, now=time.time()
        )


def row_of(
    name: str, look: QueueLook | None, totals: QueueTotals, *, expects_reader: bool, now: float
) -> QueueRow:
    """Return a queue as a row, with what is wrong with it."""
    if look is None:
        return QueueRow(name, None, None, None, None, "is missing: the worker declares it when it starts")
    oldest = None if totals.oldest is None or not look.ready else max(0, int(now - totals.oldest))
    problem = _problem(name, look) if expects_reader else ""
    return QueueRow(name, look.ready, totals.unacked, look.consumers, oldest, problem)


def _problem(name: str, look: QueueLook) -> str:
    if not look.ready:
        return ""
    if name == ERROR_QUEUE:
        return "answers that could not be used: tools/dead_letters.py list"
    return "" if look.consumers else "messages wait and nobody listens"


def main(argv: Sequence[str]) -> int:
    """Show the queues once, or until Ctrl-C."""
    parser = parser_of(__doc__)
    parser.add_argument(
        "--watch", type=_seconds, nargs="?", const=WATCH_SECONDS, metavar="SECONDS", help="again and again (2 s)"
    )
    parser.add_argument("--management", metavar="URL", help="the management API, such as http://localhost:15672")
    parser.add_argument(
        "--peek", action="store_true", help="look at the first message of queues without a listener"
    )
    arguments = parser.parse_args(argv)
    if arguments.watch and arguments.peek:
        parser.error("--peek marks a message as redelivered each time: not together with --watch")
    return run(_check, arguments)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.1 <= seconds <= 3600:
        raise argparse.ArgumentTypeError("must be a number of seconds from 0.1 to 3600")
    return seconds


def _check(arguments: argparse.Namespace, settings: Settings) -> int:
    topology = topology_of(settings, routing_of(settings))
    source = Source(broker_of(settings), topology, arguments.management, arguments.peek)
    if arguments.watch:
        return _watch(source, arguments.watch, as_json=arguments.json)
    rows = source.rows()
    if arguments.json:
        show_json(map(asdict, rows))
    else:
        console().print(_table(rows))
    return PROBLEM if any(row.problem for row in rows) else OK


def _watch(source: Source, seconds: float, *, as_json: bool) -> int:
    """Show the queues until Ctrl-C; a table says when the broker is away, and goes on."""
    pause = threading.Event()
    with Live(console=Console(quiet=as_json), auto_refresh=False) as live:
        while True:
            if as_json:
                show_json({"at": int(time.time()), **asdict(row)} for row in source.rows())
            else:
                live.update(_now(source), refresh=True)
            pause.wait(seconds)


def _now(source: Source) -> RenderableType:
    try:
        return _table(source.rows())
    except Unavailable as error:
        return Text(str(error), "bold red")


def _table(rows: Sequence[QueueRow]) -> RenderableType:
    return table_of([_told(asdict(row)) for row in rows])


def _told(row: Mapping[str, object]) -> dict[str, object]:
    seconds = row["oldest_seconds"]
    told = {**row, "oldest": in_one_unit(seconds) if isinstance(seconds, int) else None}
    return {name: told[name] for name in ("queue", "ready", "unacked", "consumers", "oldest", "problem")}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
