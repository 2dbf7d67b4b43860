"""Virtual time and threads: greenlets that give way only where a real thread would wait."""

import heapq
import random
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from functools import partial
from queue import Empty
from typing import Any

from greenlet import GreenletExit, getcurrent, greenlet

from bridge import clock

BEGIN = 1_000.0
Ticket = tuple["Thread", int]


class Clockwork:
    """Runs what is due in the order of its time; `chance` decides what comes first where the time is the same.

    `grain`: no wait of a thread is shorter, so that idle loops cost little.
    """

    def __init__(self, chance: random.Random | None, grain: float) -> None:
        self.now = BEGIN
        self.steps = 0
        self._chance = chance.random if chance else lambda: 0.0
        self.grain = grain
        self._agenda: list[tuple[float, float, int, Callable[..., object], tuple[Any, ...]]] = []
        self._sequence = 0
        self._threads: list[Thread] = []
        self._hub = getcurrent()

    def at(self, moment: float, action: Callable[..., object], *arguments: object) -> None:
        """Call `action` at that moment, outside of all threads."""
        self._sequence += 1
        heapq.heappush(self._agenda, (moment, self._chance(), self._sequence, action, arguments))

    def after(self, seconds: float, action: Callable[..., object], *arguments: object) -> None:
        self.at(self.now + seconds, action, *arguments)

    def step(self, until: float) -> bool:
        """Do the next thing that is due up to that moment; False where there is none."""
        if not self._agenda or self._agenda[0][0] > until:
            self.now = max(self.now, until)
            return False
        moment, _, _, action, arguments = heapq.heappop(self._agenda)
        self.now = max(self.now, moment)
        self.steps += 1
        action(*arguments)
        return True

    def park(self, seconds: float | None = None) -> bool:
        """Let the thread that calls wait to be woken; False where the time was over before."""
        thread = getcurrent()
        assert isinstance(thread, Thread), "only threads wait"
        if thread.process.is_dead:
            raise GreenletExit
        thread.ticket += 1
        if seconds is not None:
            moment = self.now + max(seconds, self.grain if seconds > 0 else 0.0)
            self.at(moment, self._resume, thread, thread.ticket, False)
        return bool(self._hub.switch())

    def ticket(self) -> Ticket:
        """Return what wakes this thread from its next wait."""
        thread = getcurrent()
        assert isinstance(thread, Thread)
        return thread, thread.ticket + 1

    def wake(self, ticket: Ticket) -> None:
        """Let a thread go on."""
        self.at(self.now, self._resume, *ticket, True)

    def sleep(self, seconds: float) -> None:
        self.park(seconds)

    def _resume(self, thread: "Thread", ticket: int, value: bool) -> None:
        if ticket != thread.ticket or thread.dead or thread.process.is_dead:
            return
        if thread.process.is_frozen:
            thread.process.held.append((thread, ticket, value))
            return
        thread.switch(value)

    def spawn(self, process: "Process", body: Callable[[], None], name: str) -> "Thread":
        """Begin a thread of a process."""
        thread = Thread(body, process, name, self._hub)
        process.threads.append(thread)
        self._threads.append(thread)
        self.at(self.now, self._resume, thread, 0, True)
        return thread

    def close(self) -> None:
        """Let go of everything: a greenlet that has ended is not always collected with what it refers to."""
        self._agenda.clear()
        for thread in self._threads:
            vars(thread).clear()
        self._threads.clear()

    def thaw(self, process: "Process") -> None:
        process.is_frozen = False
        held, process.held = process.held, []
        for thread, ticket, value in held:
            self.at(self.now, self._resume, thread, ticket, value)


class Process:
    """What lives and dies together."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.threads: list[Thread] = []
        self.is_dead = self.is_frozen = False
        self.held: list[tuple[Thread, int, bool]] = []
        self.crash: BaseException | None = None

    def kill(self) -> None:
        """End all threads where they are. Not to be called by one of them."""
        self.is_dead = True
        for thread in self.threads:
            if thread.gr_frame is not None or thread.ticket:
                thread.throw(GreenletExit)
        self.threads.clear()


class Thread(greenlet):
    """One thread; `ticket` counts its waits."""

    def __init__(self, body: Callable[[], None], process: Process, name: str, hub: greenlet) -> None:
        super().__init__(self._live, parent=hub)
        self.process = process
        self.name = name
        self.ticket = 0
        self._body = body

    def _live(self, _: bool) -> None:
        try:
            self._body()
        except Exception as error:  # noqa: BLE001  # a crash of the code under test, reported as such
            self.process.crash = error


@contextmanager
def installed(clockwork: Clockwork) -> Iterator[None]:
    """Let all code that runs in the block live in virtual time."""
    replaced = {
        "now": lambda: clockwork.now,
        "Event": partial(Event, clockwork),
        "Lock": partial(Semaphore, clockwork, 1),
        "RLock": partial(Condition, clockwork),  # nothing waits while it holds one
        "Condition": partial(Condition, clockwork),
        "BoundedSemaphore": partial(Semaphore, clockwork),
        "SimpleQueue": partial(SimpleQueue, clockwork),
        "ThreadPoolExecutor": partial(Pool, clockwork),
    }
    before = {name: getattr(clock, name) for name in replaced}
    for name, value in replaced.items():
        setattr(clock, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(clock, name, value)


class Condition:
    """`threading.Condition` where only one thread runs at a time: the lock has nothing to do."""

    def __init__(self, clockwork: Clockwork) -> None:
        self._clockwork = clockwork
        self._waiting: deque[Ticket] = deque()

    def __enter__(self) -> None:
        """Nobody else runs."""

    def __exit__(self, *_: object) -> None:
        """Nobody else ran."""

    def wait(self, timeout: float | None = None) -> bool:
        self._waiting.append(self._clockwork.ticket())
        return self._clockwork.park(timeout)

    def notify(self, n: int = 1) -> None:
        for _ in range(min(n, len(self._waiting))):
            self._clockwork.wake(self._waiting.popleft())

    def notify_all(self) -> None:
        self.notify(len(self._waiting))


class Event:
    """`threading.Event`."""

    def __init__(self, clockwork: Clockwork) -> None:
        self._is_set = False
        self._changed = Condition(clockwork)

    def is_set(self) -> bool:
        return self._is_set

    def set(self) -> None:
        self._is_set = True
        self._changed.notify_all()

    def clear(self) -> None:
        self._is_set = False

    def wait(self, timeout: float | None = None) -> bool:
        if not self._is_set:
            self._changed.wait(timeout)
        return self._is_set


class Semaphore:
    """`threading.BoundedSemaphore`, and with the value 1 `threading.Lock`."""

    def __init__(self, clockwork: Clockwork, value: int) -> None:
        self._clockwork = clockwork
        self._value = value
        self._changed = Condition(clockwork)

    def acquire(self, timeout: float | None = None) -> bool:
        deadline = None if timeout is None else self._clockwork.now + timeout
        while not self._value:
            left = None if deadline is None else deadline - self._clockwork.now
            if left is not None and left <= 0:
                return False
            self._changed.wait(left)
        self._value -= 1
        return True

    def release(self) -> None:
        self._value += 1
        self._changed.notify()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


class SimpleQueue:
    """`queue.SimpleQueue`."""

    def __init__(self, clockwork: Clockwork) -> None:
        self._items: deque[Any] = deque()
        self._filled = Semaphore(clockwork, 0)

    def put(self, item: Any) -> None:
        self._items.append(item)
        self._filled.release()

    def get(self, timeout: float | None = None) -> Any:
        if not self._filled.acquire(timeout):
            raise Empty
        return self._items.popleft()

    def get_nowait(self) -> Any:
        return self.get(0.0)


class Pool(Executor):
    """`ThreadPoolExecutor` with the two calls that are used of it."""

    def __init__(self, clockwork: Clockwork, max_workers: int, thread_name_prefix: str) -> None:
        self._clockwork = clockwork
        self._width = max_workers
        self._prefix = thread_name_prefix

    def map(self, fn: Callable[..., Any], *iterables: Iterable[Any], **_: Any) -> Iterator[Any]:
        calls = list(zip(*iterables, strict=True))
        if not calls:
            return iter(())
        return self._results(fn, calls)

    def _results(self, fn: Callable[..., Any], calls: Sequence[tuple[Any, ...]]) -> Iterator[Any]:
        results: dict[int, Any] = {}
        changed, numbers = Condition(self._clockwork), iter(range(len(calls)))

        def work() -> None:
            for number in numbers:
                results[number] = fn(*calls[number])
                changed.notify_all()

        caller = getcurrent()
        assert isinstance(caller, Thread)
        for number in range(min(self._width, len(calls))):
            self._clockwork.spawn(caller.process, work, f"{self._prefix}-{number}")
        for number in range(len(calls)):
            while number not in results:
                changed.wait()
            yield results[number]

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Its threads have ended already."""
