"""A set of services: starts their threads, waits for an ending, stops them in order."""

import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from types import FrameType

from loguru import logger

from bridge import clock
from bridge.errors import SettingsError, Unavailable
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
    """The services of one set of settings; whatever ends it puts its name or its error on `endings`.

    `rebuild` returns a daemon with the settings read again; it raises SettingsError or Unavailable where that
    one could not work. `announce` tells the service manager what begins.
    """

    def __init__(
        self,
        services: Sequence[Service],
        stopping: threading.Event,
        statistics: Statistics,
        endings: SimpleQueue[Ending],
        rebuild: Callable[[], "Daemon"],
        announce: Callable[[str], None],
    ) -> None:
        self._services = services
        self._stopping = stopping
        self._statistics = statistics
        self._endings = endings
        self._rebuild = rebuild
        self._announce = announce
        self._threads: list[threading.Thread] = []

    def run(self) -> "Daemon | int":
        """Start all services, wait for an ending, stop them in order; return the exit code, or who goes on."""
        self._threads = [
            threading.Thread(target=self._guarded, args=(service,), name=service.name, daemon=True)
            for service in self._services
        ]
        for thread in self._threads:
            thread.start()
        ending = self._wait_for_ending()
        self._stop()
        logger.info(self._statistics.line())
        if isinstance(ending, Daemon):
            return ending
        if isinstance(ending, str):
            return EXIT_OK
        return EXIT_WRONG_SETTINGS if isinstance(ending, SettingsError) else EXIT_CRASHED

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

    def _next_ending(self) -> Ending:
        """Wait for an ending, and log the statistics now and then."""
        line_due = clock.now() + STATISTICS_SECONDS
        while True:
            with suppress(Empty):
                return self._endings.get(timeout=LONGEST_NAP_SECONDS)
            if clock.now() >= line_due:
                logger.info(self._statistics.line())
                line_due += STATISTICS_SECONDS

    def _wait_for_ending(self) -> "Ending | Daemon":
        while True:
            ending = self._next_ending()
            if ending != RELOAD:
                if isinstance(ending, SettingsError):
                    logger.error("{}", ending)
                logger.info("stopping: {}", ending if isinstance(ending, str) else type(ending).__name__)
                self._announce("STOPPING=1")
                return ending
            if successor := self._successor():
                # systemd wants to know when, to tell this reload from an earlier one; READY=1 ends it.
                self._announce(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
                return successor

    def _successor(self) -> "Daemon | None":
        try:
            return self._rebuild()
        except (SettingsError, Unavailable) as error:
            logger.error("{}; all stays as it was", error)
            return None

    def _stop(self) -> None:
        """End the services in their order; a signal that comes now ends the process at once."""
        timer = threading.Timer(STOP_SECONDS, os._exit, [EXIT_CRASHED])
        timer.daemon = True
        timer.start()
        self._stopping.set()
        for service, thread in zip(self._services, self._threads, strict=True):
            service.stop()
            while thread.is_alive() and not service.holds_nothing():
                thread.join(LONGEST_NAP_SECONDS)
        timer.cancel()


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
