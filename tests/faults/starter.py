"""Starts process instances over a few keep-alive connections, at a rate or as fast as the engine takes them."""

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from types import TracebackType
from typing import Self

from sandbox.engine_api import EngineApi
from sandbox.errors import SandboxError

THREADS = 4
RETRY_SECONDS = 0.5


class Starter:
    """Starts `total` instances of a process in the background; the engine may be away meanwhile.

    The topics take turns. A start whose reply got lost is repeated, so that the engine may know a few more
    instances than `total`.
    """

    def __init__(
        self,
        api: EngineApi,
        key: str,
        total: int,
        *,
        topics: Sequence[str],
        per_second: float | None = None,
    ) -> None:
        self.total = total
        self.started = 0
        self._api = api
        self._key = key
        self._topics = topics
        self._per_second = per_second
        self._begun = time.monotonic()
        self._tickets = count()
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="starter")
        self._jobs = [self._pool.submit(self._work) for _ in range(THREADS)]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._pool.shutdown()

    def wait(self) -> None:
        """Wait until all are started; raise what went wrong."""
        for job in self._jobs:
            job.result()

    def _work(self) -> None:
        while (ticket := next(self._tickets)) < self.total:
            self._await_turn(ticket)
            if not self._start_one(ticket):
                return

    def _await_turn(self, ticket: int) -> None:
        if self._per_second:
            self._stopping.wait(max(0.0, self._begun + ticket / self._per_second - time.monotonic()))

    def _start_one(self, ticket: int) -> bool:
        while not self._stopping.is_set():
            try:
                topic = self._topics[ticket % len(self._topics)]
                self._api.start_instance(self._key, {"number": ticket, "topic": topic})
            except SandboxError:
                self._stopping.wait(RETRY_SECONDS)
            else:
                with self._lock:
                    self.started += 1
                return True
        return False
