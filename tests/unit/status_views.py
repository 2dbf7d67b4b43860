"""Snapshots for the tests of what is shown: a worker that works, and what a test changes of it."""

from dataclasses import replace
from typing import Any

from status.snapshot import ConnectionView, QueueView, Snapshot, SystemView


def queue(name: str, **fields: Any) -> QueueView:
    return replace(QueueView(name, trouble="", ready=0, consumers=1, seen_seconds_ago=2.0), **fields)


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
