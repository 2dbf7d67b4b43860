"""One run of one contender: what it does with a backlog, and with a steady pace."""

import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from bench.contenders import Contender
from bench.echo import Had
from bench.figures import percentile, rate_between
from bench.load import Load, Started
from bench.scene import Bridge, Scene, Stage
from bench.spending import Spent, costs, shares

_FIRST_LOCK_SECONDS = 60.0
_LOCK_POLL_SECONDS = 0.01
_STALL_SECONDS = 40.0
_LATE_MESSAGES_SECONDS = 0.3
_PERCENTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}


@dataclass(frozen=True)
class Pace:
    """Instances started per second, for how long, and for how long before that without being counted."""

    rate: float
    seconds: float
    lead_in_seconds: float


@dataclass(frozen=True)
class Fate:
    """What became of the instances that were started, by their numbers; times are Unix times."""

    returned_at: dict[int, float]
    ended_at: dict[int, float]
    had_at: dict[int, float]
    doubled: int
    redelivered: int

    @property
    def lost(self) -> int:
        """How many instances did not end."""
        return len(self.returned_at) - len(self.ended_at)


@dataclass(frozen=True)
class Trial:
    """What a run showed: a fate, and figures whose names end in their units; None where it showed none."""

    fate: Fate
    figures: dict[str, float | None]


def backlog(stage: Stage, contender: Contender, count: int) -> Trial:
    """Starts the instances first and then the bridge: how fast does it drain them, at what cost?"""
    return drained(stage, Scene(stage, contender), count)


def drained(stage: Stage, scene: Scene, count: int) -> Trial:
    """Does the same in a scene of one's own, which it enters."""
    with scene:
        started = scene.load.start(range(count))
        stage.wait_calm()
        with scene.bridge() as bridge:
            locked_at, before = _wait_first_lock(scene.load, bridge, count)
            _wait_ended(scene.load, bridge)
            after = bridge.ledger.read()
            peak_mb = bridge.meter.peak_mb
            threading.Event().wait(_LATE_MESSAGES_SECONDS)
        fate = fate_of(started, scene.load.ends(), scene.had())
    ended = len(fate.ended_at)
    return Trial(
        fate,
        {
            **drain_figures(list(fate.ended_at.values()), locked_at),
            **costs(before, after, ended),
            "bridge_with_start_ms": after.bridge * 1000 / ended if ended else None,
            **shares(before, after),
            "startup_s": locked_at - bridge.begun_at if locked_at else None,
            "peak_mb": peak_mb,
            "stop_s": bridge.stop_seconds,
        },
    )


def paced(stage: Stage, contender: Contender, pace: Pace) -> Trial:
    """Starts instances at a steady pace while the bridge runs: how long do they take, at what cost?"""
    with Scene(stage, contender) as scene:
        stage.wait_calm()
        first = scene.load.start(
            range(len(scene.load.topics))
        )  # a task of each topic: the bridge gets to know all
        with scene.bridge() as bridge:
            _wait_ended(scene.load, bridge)
            lead, counted, before = _start_paced(scene.load, bridge, pace)
            _wait_ended(scene.load, bridge)
            after = bridge.ledger.read()
            peak_mb = bridge.meter.peak_mb
            threading.Event().wait(_LATE_MESSAGES_SECONDS)
        fate = fate_of(first | lead | counted, scene.load.ends(), scene.had())
    return Trial(
        fate,
        {
            **latency_figures(fate, counted),
            **costs(before, after, len(counted)),
            **shares(before, after),
            "start_lateness_ms": max(start.late_seconds for start in counted.values()) * 1000,
            "peak_mb": peak_mb,
            "stop_s": bridge.stop_seconds,
        },
    )


def warm(stage: Stage, contender: Contender, count: int) -> None:
    """Lets a bridge work on instances while they are started: the engine's compiler needs some thousand."""
    with Scene(stage, contender) as scene, scene.bridge() as bridge:
        scene.load.start(range(count))
        _wait_ended(scene.load, bridge)


def drain_figures(ended_at: Sequence[float], locked_at: float | None) -> dict[str, float | None]:
    """Returns tasks per second since the first was seen locked, and from a fifth to nine tenths of them."""
    seconds = max(ended_at) - locked_at if ended_at and locked_at else 0.0
    return {
        "tasks_per_s": len(ended_at) / seconds if seconds > 0 else None,
        "steady_per_s": rate_between(ended_at, 0.2, 0.9),
    }


def latency_figures(fate: Fate, counted: Iterable[int]) -> dict[str, float | None]:
    """Returns percentiles of the time since the start call returned: to the consumer, and to the end."""
    numbers = list(counted)
    figures: dict[str, float | None] = {}
    for goal, moments in (("to_consumer", fate.had_at), ("to_complete", fate.ended_at)):
        waits = [(moments[number] - fate.returned_at[number]) * 1000 for number in numbers if number in moments]
        figures |= {f"{goal}_{name}_ms": percentile(waits, share) for name, share in _PERCENTILES.items()}
    return figures


def fate_of(started: Mapping[int, Started], ends: Mapping[str, float], had: Iterable[Had]) -> Fate:
    """Returns what became of the instances, by the engine's history and by what the consumer had."""
    had_at: dict[int, float] = {}
    messages: Counter[str] = Counter()
    redelivered = 0
    for message in had:
        if message.number is not None:
            had_at.setdefault(message.number, message.at)
        if message.task_id is not None:
            messages[message.task_id] += 1
        redelivered += message.redelivered
    return Fate(
        returned_at={number: start.returned_at for number, start in started.items()},
        ended_at={number: ends[start.instance] for number, start in started.items() if start.instance in ends},
        had_at=had_at,
        doubled=messages.total() - len(messages),
        redelivered=redelivered,
    )


def _start_paced(load: Load, bridge: Bridge, pace: Pace) -> tuple[dict[int, Started], dict[int, Started], Spent]:
    """Returns the starts of the lead-in, those that count, and what was spent when these began."""
    first = len(load.topics)
    lead, count = round(pace.rate * pace.lead_in_seconds), round(pace.rate * pace.seconds)
    numbers = range(first, first + lead + count)
    begin = time.monotonic() + 0.2

    def due(number: int) -> float:
        return begin + (number - first) / pace.rate

    with ThreadPoolExecutor(1) as background:
        starting = background.submit(load.start, numbers, due)
        threading.Event().wait(max(0.0, due(first + lead) - time.monotonic()))
        before = bridge.ledger.read()
        started = starting.result()
    is_counted = {number: number >= first + lead for number in numbers}
    return (
        {number: start for number, start in started.items() if not is_counted[number]},
        {number: start for number, start in started.items() if is_counted[number]},
        before,
    )


def _wait_first_lock(load: Load, bridge: Bridge, count: int) -> tuple[float | None, Spent]:
    """Returns when a task was first seen locked (None: none was), and what was spent by then."""
    pause = threading.Event()
    deadline = time.monotonic() + _FIRST_LOCK_SECONDS
    while time.monotonic() < deadline and bridge.child.running():
        if load.locked_count() or load.running_count() < count:  # the first may be done before it is seen
            locked_at = time.time()
            return locked_at, bridge.ledger.read()
        pause.wait(_LOCK_POLL_SECONDS)
    return None, bridge.ledger.read()


def _wait_ended(load: Load, bridge: Bridge) -> None:
    """Waits until all instances have ended; gives up where nothing moves, or the bridge is gone."""
    pause = threading.Event()
    left, moved_at = -1, time.monotonic()
    while (now_left := load.running_count()) and bridge.child.running():
        if now_left != left:
            left, moved_at = now_left, time.monotonic()
        if time.monotonic() - moved_at > _STALL_SECONDS:
            return
        pause.wait(0.2 if left < 50 else 0.5)
