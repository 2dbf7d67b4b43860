"""Where the worker's CPU time goes: all its threads profiled, with a backlog and with one task at a time."""

import pstats
import threading
import time
from argparse import ArgumentParser, Namespace
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from bench.circuit import TOPICS, Circuit, Servers
from sandbox.programs import REPOSITORY
from sandbox.runs import Run

_BUILT_IN = "~"
_PACKAGES = "site-packages/"
_HTTP = "pycurl: HTTP, the system's share included"
_SYSTEM_CALLS = {
    "<method 'perform_rb' of 'pycurl.Curl' objects>": _HTTP,
    "<method 'send' of '_socket.socket' objects>": "sockets of the broker: send",
    "<method 'recv' of '_socket.socket' objects>": "sockets of the broker: receive",
    "<method 'poll' of 'select.epoll' objects>": "sockets of the broker: wait",
}
_SHOWN = 14

Place = tuple[str, int, str]  # file, line and name of a function, as the profiler knows it


@dataclass
class Profile:
    """Calls and CPU seconds by part of the worker, and how often each system call of interest was made."""

    calls: Counter[str] = field(default_factory=Counter)
    seconds: dict[str, float] = field(default_factory=dict)

    def add(self, part: str, calls: int, seconds: float) -> None:
        """Counts what one function did itself."""
        self.calls[part] += calls
        self.seconds[part] = self.seconds.get(part, 0.0) + seconds


def add_options(parser: ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("--tasks", type=int, default=10_000, help="tasks of the backlog (default 10000)")
    parser.add_argument("--rate", type=float, default=50, help="tasks per second of the pace (default 50)")
    parser.add_argument("--seconds", type=float, default=20, help="how long to keep the pace (default 20)")


def measure(options: Namespace) -> int:
    """Profiles and prints."""
    paced = round(options.rate * options.seconds)
    with Run() as run:
        servers = Servers(run).start()
        backlog = _profile(servers, lambda: _fill(servers, options.tasks))
        pace = _profile(servers, lambda: _fill_paced(servers, paced, options.rate))
    _print(backlog, options.tasks, title=f"A backlog of {options.tasks} tasks")
    _print(pace, paced, title=f"{paced} tasks, {options.rate:g} a second")
    print("CPU time that each function spent itself, the profiler's own share included, which is large: take the")
    print("shares and the calls. What the threads did at their start is in it.")
    return 0


def _profile(servers: Servers, fill: Callable[[], int]) -> Profile:
    """Lets a worker do what `fill` asks for, and returns what its threads did."""
    folder = servers.run.folder / "profiles"
    folder.mkdir(exist_ok=True)
    program = ("-m", "bench.profiled_worker", str(folder))
    with Circuit(servers, {"CAMUNDA_MAX_TASKS": "100", "PYTHONPATH": str(REPOSITORY)}, program=program) as circuit:
        circuit.wait_ready()
        number = fill()
        circuit.wait(number, lambda now: now.completed >= now.created)
        circuit.workers[0].stop()
    return profile_of(folder)


def _fill(servers: Servers, tasks: int) -> int:
    return servers.stand_in.fill(tasks, TOPICS)


def _fill_paced(servers: Servers, tasks: int, rate: float) -> int:
    pause, begin, number = threading.Event(), time.monotonic(), 0
    for index in range(tasks):
        pause.wait(max(0.0, begin + index / rate - time.monotonic()))
        number = servers.stand_in.fill(1, TOPICS[index % len(TOPICS) :])
    return number


def profile_of(folder: Path) -> Profile:
    """Returns the profiles in a folder as one, and removes them."""
    profile = Profile()
    for file in folder.glob("*.prof"):
        stats: dict[Place, tuple[int, int, float, float, dict[Place, tuple[int, int, float, float]]]]
        stats = pstats.Stats(str(file)).stats  # type: ignore[attr-defined]  # not in the stubs
        for (path, _, name), (_, calls, seconds, _, callers) in stats.items():
            if path != _BUILT_IN:
                profile.add(part_of(path), calls, seconds)
            elif name in _SYSTEM_CALLS:
                profile.add(_SYSTEM_CALLS[name], calls, seconds)
            else:  # what is built in counts for those who called it
                for (caller, _, _), (_, of_caller, seconds_of_caller, _) in callers.items():
                    profile.add(part_of(caller), of_caller, seconds_of_caller)
        file.unlink()
    return profile


def part_of(path: str) -> str:
    """Returns the part of the worker that a file belongs to: a library, a package or a module of ours."""
    if _PACKAGES in path:
        return path.partition(_PACKAGES)[2].partition("/")[0]
    if path.startswith(f"{REPOSITORY}/"):
        folder, _, rest = path.removeprefix(f"{REPOSITORY}/").partition("/")
        return f"bridge/{rest.partition('/')[0]}" if folder == "bridge" else folder
    return "json" if "/json/" in path else "standard library"


def _print(profile: Profile, tasks: int, *, title: str) -> None:
    total = sum(profile.seconds.values())
    table = Table(title=title, box=box.SIMPLE_HEAD)
    table.add_column("part", no_wrap=True)
    for heading in ("share", "µs/task", "calls/task"):
        table.add_column(heading, justify="right")
    parts = sorted(profile.seconds, key=profile.seconds.__getitem__, reverse=True)
    for part in parts[:_SHOWN]:
        seconds, calls = profile.seconds[part], profile.calls[part]
        table.add_row(part, f"{seconds / total:.0%}", f"{seconds / tasks * 1e6:.0f}", f"{calls / tasks:.1f}")
    calls = profile.calls.total()
    table.add_section()
    table.add_row("all", "100%", f"{total / tasks * 1e6:.0f}", f"{calls / tasks:.0f}")
    Console().print(table, highlight=False)
