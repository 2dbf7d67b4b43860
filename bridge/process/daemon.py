"""A set of services: starts their threads and stops them in order; and what may end them."""

import os
import signal
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from types import FrameType

from loguru import logger

from bridge import clock
from bridge.errors import SettingsError
from bridge.statistics import Statistics

EXIT_OK = 0
EXIT_CRASHED = 1
EXIT_WRONG_SETTINGS = 78  # EX_CONFIG of sysexits.h: a restart does not help
STATISTICS_SECONDS = 30.0
# Python runs a signal's handler in the main thread only, and the kernel may hand the signal to another one, which
# does not wake the main thread: so that it never sleeps for long.
LONGEST_NAP_SECONDS = 0.25
STOP_SECONDS = 25.0
RELOAD = "SIGHUP"

Ending = str | Exception  # a signal's name, or what a service died of


@dataclass(frozen=True, slots=True)
class Service:
    """A thread's name and body, and how to ask it to end once the services before it have ended.

    `turns`: its loop says that it turns (`heartbeats.py`), also while it has nothing to do. `holds_nothing`: it
    has nothing to bring to an end, such as while it only connects, so that a stop need not wait for it.
    """

    name: str
    run: Callable[[], None]
    stop: Callable[[], None] = lambda: None
    turns: bool = True
    holds_nothing: Callable[[], bool] = lambda: False


class Daemon:
    """The threads of one set of settings; a service that dies puts its error on `endings`."""

    def __init__(
        self,
        services: Sequence[Service],
        stopping: threading.Event,
        endings: SimpleQueue[Ending],
        statistics: Statistics,
    ) -> None:
        self._services = services
        self._stopping = stopping
        self._endings = endings
        self._statistics = statistics
        self._threads = [
            threading.Thread(target=self._guarded, args=(service,), name=service.name, daemon=True)
            for service in services
        ]

    def start(self) -> None:
        """Start all services."""
        for thread in self._threads:
            thread.start()

    def _guarded(self, service: Service) -> None:
        """Run a service; a thread that dies ends the process, which is never half alive."""
        try:
            service.run()
        except SettingsError as error:
            self._die_of(error)
        except Exception as error:  # noqa: BLE001  # the one place that catches all
            logger.opt(exception=error).critical("{} crashed", service.name)
            self._die_of(error)

    def _die_of(self, error: Exception) -> None:
        if not self._stopping.is_set():  # else it ends anyway, and its successor is well
            self._endings.put(error)

    def stop(self) -> None:
        """End the services in their order; a process that cannot within STOP_SECONDS is ended."""
        timer = threading.Timer(STOP_SECONDS, os._exit, [EXIT_CRASHED])
        timer.daemon = True
        timer.start()
        self._stopping.set()
        for service, thread in zip(self._services, self._threads, strict=True):
            service.stop()
            while thread.is_alive() and not service.holds_nothing():
                thread.join(LONGEST_NAP_SECONDS)
        timer.cancel()
        logger.info(self._statistics.line())


def next_ending(endings: SimpleQueue[Ending], statistics: Statistics) -> Ending:
    """Wait for the next ending, and log the statistics now and then."""
    line_due = clock.now() + STATISTICS_SECONDS
    while True:
        with suppress(Empty):
            return endings.get(timeout=LONGEST_NAP_SECONDS)
        if clock.now() >= line_due:
            logger.info(statistics.line())
            line_due += STATISTICS_SECONDS


def listen_to_signals(endings: SimpleQueue[Ending]) -> None:
    """Let SIGTERM and SIGINT end the daemon, a second one at once; let SIGHUP begin anew with fresh settings."""
    seen: list[int] = []

    def on_signal(number: int, _frame: FrameType | None) -> None:
        if seen:
            os._exit(128 + number)
        seen.append(number)
        endings.put(signal.Signals(number).name)

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    signal.signal(signal.SIGHUP, lambda *_: endings.put(RELOAD))
