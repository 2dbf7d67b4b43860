"""Runs a component with something spoilt on purpose: python -m tests.faults.launcher main.

Its uses are named by environment variables: `FAULT_SABOTAGE` takes a safeguard away, so that the suite can
show that it would notice; `FAULT_KILL_AT` ends the process at an exact instruction once the file
`FAULT_TRIGGER` is there; `FAULT_TIERS_MS` is how long the delay tiers are. The production code knows nothing of
any.
"""

import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bridge.broker import RETRY_TIERS, Outcome, Publisher
from bridge.intake.held_tasks import HeldTasks
from bridge.leases import LeaseTable
from bridge.leases.extension import Extension
from bridge.process import run
from bridge.process.component import Builder
from camunda_worker import worker_services
from config import worker_settings
from response_handler import handler_services

COMPONENTS: dict[str, dict[str, Builder]] = {
    "main": {"worker": worker_services, "handler": handler_services},
    "camunda_worker": {"worker": worker_services},
    "response_handler": {"handler": handler_services},
}


def replace(owner: type, name: str, make: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    """Put what `make` returns for the present method in its place; a name that is gone is an error."""
    setattr(owner, name, make(getattr(owner, name)))


def confirms_off() -> None:
    """Take every message for delivered as soon as it is handed over."""

    def make(publish: Callable[..., None]) -> Callable[..., None]:
        def blind(
            self: Publisher, publications: Sequence[Any], on_outcomes: Callable[..., None], **_: float
        ) -> None:
            publish(self, publications, lambda _: None)
            on_outcomes([Outcome.CONFIRMED] * len(publications))

        return blind

    replace(Publisher, "publish", make)


def unlock_unknown() -> None:
    """Unlock what may or may not have been delivered."""

    def make(_still_ours: Callable[..., None]) -> Callable[..., list[Any]]:
        def unlock(self: Any, batch: Sequence[Any]) -> list[Any]:
            for held in batch:
                self._engine.unlock(held.task.id)
                self._leases.done(held.task.id)
            return []

        return unlock

    replace(HeldTasks, "still_ours", make)


def blind_extension() -> None:
    """Extend leases without a look at how the tasks stand, before it or after."""
    replace(Extension, "_is_unchanged", lambda _: lambda *_: True)
    replace(Extension, "_give_back_pause", lambda _: lambda *_: None)


def kill_before_publish() -> None:
    """End the process between the fetch and the publish."""

    def make(publish: Callable[..., None]) -> Callable[..., None]:
        def trap(self: Publisher, *arguments: Any, **options: float) -> None:
            die_if_triggered()
            publish(self, *arguments, **options)

        return trap

    replace(Publisher, "publish", make)


def kill_before_extension() -> None:
    """End the process between the confirm and the extension."""

    def make(published: Callable[..., None]) -> Callable[..., None]:
        def trap(self: LeaseTable, task_ids: Any) -> None:
            published(self, task_ids)
            die_if_triggered()

        return trap

    replace(LeaseTable, "published", make)


def die_if_triggered() -> None:
    """End the process at once if the trigger file is there; the file goes first, so that it works once."""
    trigger = Path(os.environ["FAULT_TRIGGER"])
    if trigger.exists():
        trigger.unlink()
        os.kill(os.getpid(), signal.SIGKILL)


SABOTAGES = {
    "confirms-off": confirms_off,
    "unlock-unknown": unlock_unknown,
    "blind-extension": blind_extension,
}
KILL_POINTS = {"publish": kill_before_publish, "extension": kill_before_extension}


def launch(part: str) -> int:
    """Spoil what the environment names, then run the component."""
    if sabotage := os.environ.get("FAULT_SABOTAGE"):
        SABOTAGES[sabotage]()
    if point := os.environ.get("FAULT_KILL_AT"):
        KILL_POINTS[point]()
    if tiers := os.environ.get("FAULT_TIERS_MS"):
        RETRY_TIERS.update(zip(RETRY_TIERS, map(int, tiers.split(",")), strict=True))
    return run(worker_settings, **COMPONENTS[part])


if __name__ == "__main__":
    sys.exit(launch(sys.argv[1]))
