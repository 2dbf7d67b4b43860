"""Who spends the machine's CPU time meanwhile: the bridge, the servers, the measurement itself, and others."""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass

from bench.processes import cpu_seconds, machine_cpu_seconds, tree


@dataclass(frozen=True)
class Spent:
    """CPU seconds so far, at a moment of the monotonic clock."""

    at: float
    bridge: float
    engine: float
    broker: float
    echo: float
    driver: float
    machine: float

    @property
    def ours(self) -> float:
        """What all processes that take part spent."""
        return self.bridge + self.engine + self.broker + self.echo + self.driver


@dataclass(frozen=True)
class Ledger:
    """The processes that take part; `echo` is None where there is none."""

    bridge: int
    engine: int
    broker: int
    echo: int | None

    def read(self) -> Spent:
        """Returns what was spent up to now."""
        return Spent(
            at=time.monotonic(),
            bridge=cpu_seconds(tree(self.bridge)),
            engine=cpu_seconds([self.engine]),
            broker=cpu_seconds(tree(self.broker)),
            echo=cpu_seconds([self.echo]) if self.echo else 0.0,
            driver=time.process_time(),
            machine=machine_cpu_seconds(),
        )


def shares(before: Spent, after: Spent, *, cores: int = os.cpu_count() or 1) -> dict[str, float]:
    """Returns how many percent of the machine were busy, and how many with what takes no part."""
    capacity = (after.at - before.at) * cores / 100
    busy = after.machine - before.machine
    return {"busy_percent": busy / capacity, "others_percent": (busy - (after.ours - before.ours)) / capacity}


def costs(before: Spent, after: Spent, tasks: int) -> dict[str, float]:
    """Returns milliseconds of CPU time per task."""
    if tasks == 0:
        return {}
    per_task = 1000 / tasks
    parts: Sequence[str] = ("bridge", "engine", "broker", "echo", "driver")
    return {f"{part}_ms": (getattr(after, part) - getattr(before, part)) * per_task for part in parts}
