"""What it costs to drain a batch of tasks: time, CPU of each part, memory; and whether all of it was right."""

import os
import time
from dataclasses import astuple, dataclass

from bench.circuit import Circuit
from bench.processes import cpu_seconds, machine_cpu_seconds, tree


@dataclass(frozen=True)
class Spent:
    """CPU seconds by a moment of the monotonic clock, or between two."""

    clock: float
    workers: float
    stand_in: float
    broker: float
    echo: float
    driver: float
    machine: float

    def since(self, earlier: "Spent") -> "Spent":
        """Returns what was spent between two moments."""
        return Spent(*(now - then for now, then in zip(astuple(self), astuple(earlier), strict=True)))

    @property
    def others_percent(self) -> float:
        """How much of the machine went to what takes no part: it disturbs the figures."""
        ours = self.workers + self.stand_in + self.broker + self.echo + self.driver
        return max(0.0, 100 * (self.machine - ours) / (self.clock * (os.cpu_count() or 1)))


@dataclass(frozen=True)
class Drained:
    """A batch that was drained; microseconds are CPU time per task, those of the workers summed up."""

    tasks: int
    tasks_per_s: float
    worker_us: float
    worker_with_start_us: float
    stand_in_us: float
    broker_us: float
    echo_us: float
    peak_mb: float
    others_percent: float
    lost: int
    doubled: int
    calls: dict[str, int]

    @property
    def is_right(self) -> bool:
        """Whether nothing was lost and nothing doubled."""
        return self.lost == self.doubled == 0


class Drain:
    """Watches a batch from a moment on; what is spent before is not counted."""

    def __init__(self, circuit: Circuit) -> None:
        """Reads what was spent up to now."""
        self._circuit = circuit
        self._calls = circuit.servers.stand_in.calls()
        self._before = spent(circuit)

    def result(self, batch: int, tasks: int) -> Drained:
        """Waits until the batch is drained and all is quiet, and says what it cost."""
        ended = self._circuit.wait(batch, lambda now: now.completed >= tasks)
        after = spent(self._circuit)
        calls = self._circuit.servers.stand_in.calls()
        peak_mb = self._circuit.peak_mb()
        again = self._circuit.came_again()
        now = self._circuit.servers.stand_in.batch(batch)
        here, us = after.since(self._before), 1e6 / tasks
        return Drained(
            tasks=tasks,
            tasks_per_s=ended.completed / ended.seconds if ended.completed else 0.0,
            worker_us=here.workers * us,
            worker_with_start_us=after.workers * us,
            stand_in_us=here.stand_in * us,
            broker_us=here.broker * us,
            echo_us=here.echo * us,
            peak_mb=peak_mb,
            others_percent=here.others_percent,
            lost=tasks - now.completed,
            doubled=max(again, now.completed_twice),  # a message that comes again is answered again
            calls={name: count - self._calls.get(name, 0) for name, count in calls.items()},
        )


def spent(circuit: Circuit) -> Spent:
    """Returns what was spent up to now."""
    servers = circuit.servers
    return Spent(
        clock=time.monotonic(),
        workers=cpu_seconds(pid for worker in circuit.workers for pid in tree(worker.pid)),
        stand_in=cpu_seconds([servers.stand_in.pid]),
        broker=cpu_seconds(tree(servers.broker.pid)),
        echo=cpu_seconds([circuit.echo.pid]),
        driver=time.process_time(),
        machine=machine_cpu_seconds(),
    )
