"""Snapshots for the tests of what is shown: a worker that works, and what a test changes of it."""

import math
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any
from unittest.mock import patch

from bridge import clock
from bridge.broker import QueueState
from bridge.observe import History, Installation, Page, application
from bridge.observe.status.snapshot import ConnectionView, Snapshot, SystemView
from bridge.statistics import Statistics
from bridge.texts import Said


def queue(name: str, *, seen_seconds_ago: float | None = -math.inf, **fields: Any) -> QueueState:
    """Return a queue that somebody listens to; by default it is seen at whatever time the test looks at it."""
    seen_at = -math.inf if seen_seconds_ago is None else clock.now() - seen_seconds_ago
    return replace(QueueState(name, consumers=1, seen_at=seen_at), **fields)


def system(name: str, *, ready: int = 0, consumers: int = 1, **fields: Any) -> SystemView:
    view = SystemView(
        name, queue(f"{name}.queue", ready=ready, consumers=consumers), in_flight=0, oldest_seconds=None, paused=""
    )
    return replace(view, **fields)


def connection(kind: str, trouble: str = "", *, blocked: bool = False) -> ConnectionView:
    return ConnectionView(kind, connected=not trouble or blocked, blocked=blocked, trouble=trouble)


def working(**fields: Any) -> Snapshot:
    """Return a snapshot of a worker whose work flows."""
    snapshot = Snapshot(
        systems=(system("bitrix24"), system("1c"), system("default")),
        answers=queue("camunda.responses.queue"),
        errors=queue("errors.camunda_tasks.queue", consumers=0),
        connections=(connection("tasks"), connection("answers"), connection("detours")),
        fetches=True,
        subscribed=True,
        engine_trouble="",
    )
    return replace(snapshot, **fields)


class Counted:
    """What was counted in the last minute, as a test says."""

    def __init__(self, **counts: Mapping[str, int]) -> None:
        self.now: Counter[tuple[str, str]] = Counter()
        self.snapshot = working()
        self.history = History(lambda: self.now.copy(), lambda: self.snapshot, threading.Event())
        self.now = Counter({(what, name): n for what, names in counts.items() for name, n in names.items()})


def after_an_hour(course: Callable[[int], tuple[Snapshot, Counter[tuple[str, str]]]]) -> Counted:
    """Return what an hour left behind: `course` says how it stood, and what was counted, after each minute."""
    begin = clock.now() - 3600
    with patch.object(clock, "now", return_value=begin) as now:
        counted = Counted()
        for minute in range(1, 61):
            now.return_value = begin + 60 * minute
            counted.snapshot, counted.now = course(minute)
            counted.history.note()
    return counted


def page_of(
    snapshot: Callable[[], Snapshot],
    counted: Counted | None = None,
    stuck: Callable[[], list[str]] = list,
    *,
    statistics: Statistics | None = None,
) -> Page:
    broker = Said("{place}, virtual host {name}", place="rabbit.example:5672", name="/")
    installation = Installation("universal-worker", "http://engine.example/engine-rest", broker)
    return Page(installation, snapshot, (counted or Counted()).history, stuck, statistics or Statistics())


def app_of(
    snapshot: Callable[[], Snapshot], counted: Counted | None = None, stuck: Callable[[], list[str]] = list
) -> Any:
    return application(snapshot, page_of(snapshot, counted, stuck), stuck)
