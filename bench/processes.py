"""What processes cost: CPU time and memory of a process tree, and what the whole machine spends (/proc)."""

import os
import threading
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_SAMPLE_SECONDS = 0.5
_PROC = Path("/proc")


def tree(pid: int) -> list[int]:
    """Returns a process and all its descendants that run now; the process comes first."""
    children = _children()
    found, waiting = [], [pid]
    while waiting:
        parent = waiting.pop()
        found.append(parent)
        waiting += children[parent]
    return found


def cpu_seconds(pids: Iterable[int]) -> float:
    """Returns the CPU time of processes, user and system, that of their reaped children included."""
    return sum(sum(map(int, fields[11:15])) for fields in map(_stat, pids) if fields) / _TICKS_PER_SECOND


def machine_cpu_seconds() -> float:
    """Returns the CPU time that all of the machine spent since its boot: all but idle and waiting for disks."""
    return busy_ticks((_PROC / "stat").read_text()) / _TICKS_PER_SECOND


def busy_ticks(stat: str) -> int:
    """Returns the busy ticks in the text of /proc/stat; guests are in `user` already."""
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, stat.split("\n", 1)[0].split()[1:9])
    return user + nice + system + irq + softirq + steal


class Meter:
    """Watches the memory of a process tree while its block runs."""

    def __init__(self, pid: int) -> None:
        """Takes the root of the tree."""
        self._pid = pid
        self._peak_kb = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="meter", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    @property
    def peak_mb(self) -> float:
        """The most memory so far: exact for a single process, for several the highest sum that was sampled."""
        self._sample()
        return self._peak_kb / 1024

    def _watch(self) -> None:
        while not self._ended.wait(_SAMPLE_SECONDS):
            self._sample()

    def _sample(self) -> None:
        memories = [_memory_kb(pid) for pid in tree(self._pid)]
        at_once = sum(now for now, _ in memories)
        self._peak_kb = max(self._peak_kb, at_once, *(highest for _, highest in memories))


def _children() -> defaultdict[int, list[int]]:
    children: defaultdict[int, list[int]] = defaultdict(list)
    for name in os.listdir(_PROC):
        if name.isdigit() and (fields := _stat(int(name))):
            children[int(fields[1])].append(int(name))
    return children


def _stat(pid: int) -> list[str]:
    """Returns the fields of /proc/PID/stat behind the name, from the state on; none for a process that is gone."""
    with suppress(OSError):
        return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    return []


def _memory_kb(pid: int) -> tuple[int, int]:
    """Returns what a process has in memory now, and the most that it ever had."""
    sizes = {"VmRSS": 0, "VmHWM": 0}
    with suppress(OSError):
        for line in (_PROC / str(pid) / "status").read_text().splitlines():
            name, _, value = line.partition(":")
            if name in sizes:
                sizes[name] = int(value.split()[0])
    return sizes["VmRSS"], sizes["VmHWM"]
