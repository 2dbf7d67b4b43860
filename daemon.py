"""A process of services: starts their threads, waits for an ending, stops them in order."""

import os
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from types import FrameType

from loguru import logger

from errors import SettingsError
from monitoring import Statistics

EXIT_OK = 0
EXIT_CRASHED = 1
EXIT_WRONG_SETTINGS = 78  # EX_CONFIG of sysexits.h: a restart does not help
STATISTICS_SECONDS = 30.0
STOP_SECONDS = 25.0


@dataclass(frozen=True, slots=True)
class Service:
    """A thread's name and body, and how to ask it to end once the services before it have ended."""

    name: str
    run: Callable[[], None]
    stop: Callable[[], None] = lambda: None


@dataclass(slots=True)
class Daemon:
    """The services of one process; whatever ends it puts its name or its error on `endings`."""

    services: list[Service]
    stopping: threading.Event
    statistics: Statistics
    endings: SimpleQueue[str | Exception] = field(default_factory=SimpleQueue)
    threads: list[threading.Thread] = field(default_factory=list)

    def run(self) -> int:
        """Start all services, wait for an ending, stop them in order; return the exit code."""
        self.threads = [
            threading.Thread(target=self._guarded, args=(service,), name=service.name, daemon=True)
            for service in self.services
        ]
        for thread in self.threads:
            thread.start()
        ending = self._wait_for_ending()
        self._stop()
        logger.info(self.statistics.line())
        if isinstance(ending, str):
            return EXIT_OK
        return EXIT_WRONG_SETTINGS if isinstance(ending, SettingsError) else EXIT_CRASHED

    def _guarded(self, service: Service) -> None:
        """Run a service; a thread that dies ends the process, which is never half alive."""
        try:
            service.run()
        except SettingsError as error:
            self.endings.put(error)
        except Exception as error:  # noqa: BLE001  # the one place that catches all
            logger.opt(exception=error).critical("{} crashed", service.name)
            self.endings.put(error)

    def _wait_for_ending(self) -> str | Exception:
        while True:
            try:
                ending = self.endings.get(timeout=STATISTICS_SECONDS)
            except Empty:
                logger.info(self.statistics.line())
            else:
                if isinstance(ending, SettingsError):
                    logger.error("{}", ending)
                logger.info("stopping: {}", ending if isinstance(ending, str) else type(ending).__name__)
                return ending

    def _stop(self) -> None:
        """End the services in their order; a signal that comes now ends the process at once."""
        timer = threading.Timer(STOP_SECONDS, os._exit, [EXIT_CRASHED])
        timer.daemon = True
        timer.start()
        self.stopping.set()
        for service, thread in zip(self.services, self.threads, strict=True):
            service.stop()
            thread.join()
        timer.cancel()


def listen_to_signals(endings: SimpleQueue[str | Exception]) -> None:
    """Let SIGTERM and SIGINT end the daemon; a second one ends the process at once."""
    seen: list[int] = []

    def on_signal(number: int, _frame: FrameType | None) -> None:
        if seen:
            os._exit(128 + number)
        seen.append(number)
        endings.put(signal.Signals(number).name)

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
