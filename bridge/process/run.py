"""Runs components until a signal ends them; SIGHUP begins anew with fresh settings."""

from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TYPE_CHECKING

from loguru import logger

from bridge.errors import SettingsError, Unavailable, WrongQueue
from bridge.observe.logs import configure_logs
from bridge.process.component import Builder
from bridge.process.daemon import (
    EXIT_CRASHED,
    EXIT_OK,
    EXIT_WRONG_SETTINGS,
    RELOAD,
    Daemon,
    Ending,
    Service,
    listen_to_signals,
    next_ending,
)
from bridge.process.observers import observers
from bridge.process.shared import Outside, Shared
from bridge.process.systemd import tell_reload, tell_stop
from bridge.statistics import Statistics

if TYPE_CHECKING:
    from config import Settings

WORKER, HANDLER = "camunda_worker", "response_handler"


def run(load: "Callable[[], Settings]", *, worker: Builder | None = None, handler: Builder | None = None) -> int:
    """Run one component or both until a signal comes or a service crashes; return the process's exit code.

    `load` reads the settings, now and at each SIGHUP.
    """
    endings: SimpleQueue[Ending] = SimpleQueue()
    listen_to_signals(endings)
    program = _Program(load, Builders(worker, handler), Statistics(), endings)
    try:
        return program.run()
    except SettingsError as error:
        logger.error("{}", error)
        return EXIT_WRONG_SETTINGS


@dataclass(frozen=True, slots=True)
class Builders:
    """What builds the components that run in this process; None for one that does not."""

    worker: Builder | None = None
    handler: Builder | None = None

    @property
    def names(self) -> list[str]:
        """The names of the components, as logs say them."""
        return [name for name, builder in ((WORKER, self.worker), (HANDLER, self.handler)) if builder]

    def share(self, settings: "Settings", outside: Outside, statistics: Statistics) -> Shared:
        """Make what the components share."""
        fetches, reads_answers = self.worker is not None, self.handler is not None
        return Shared.of(settings, outside, statistics, fetches=fetches, reads_answers=reads_answers)

    def services(self, shared: Shared) -> list[Service]:
        """Build the components, and what looks on; return all services in the order in which they stop."""
        components = [build(shared) for build in (self.worker, self.handler) if build]
        services = [service for component in components for service in component.services]
        return services + observers(shared, components)


class _Program:
    """What outlives a change of the settings: the signals that came, and the statistics."""

    def __init__(
        self,
        load: "Callable[[], Settings]",
        builders: Builders,
        statistics: Statistics,
        endings: SimpleQueue[Ending],
    ) -> None:
        self._load = load
        self._builders = builders
        self._statistics = statistics
        self._endings = endings

    def run(self) -> int:
        """Run until the last ending; return the exit code. Raises SettingsError before anything runs."""
        shared = self._share()
        daemon = self._start(shared)
        while (ending := next_ending(self._endings, self._statistics)) == RELOAD:
            if successor := self._successor(shared):
                tell_reload(shared.settings.notify_socket)
                daemon.stop()
                shared, daemon = successor, self._start(successor)
        if isinstance(ending, SettingsError):
            logger.error("{}", ending)
        logger.info("stopping: {}", ending if isinstance(ending, str) else type(ending).__name__)
        tell_stop(shared.settings.notify_socket)
        daemon.stop()
        return _exit_code(ending)

    def _share(self) -> Shared:
        """Read the settings and make what they name. Raises SettingsError."""
        settings = self._load()
        return self._builders.share(settings, Outside.of(settings), self._statistics)

    def _start(self, shared: Shared) -> Daemon:
        settings = shared.settings
        configure_logs(
            settings.log_folder, settings.log_level, settings.log_format, file_name=self._builders.names[0]
        )
        logger.info(
            "{} starts as {!r}: engine {}, broker {}, virtual host {!r}",
            " and ".join(self._builders.names),
            settings.camunda_worker_id,
            shared.engine.base_url,
            shared.broker.addresses,
            shared.broker.virtual_host,
        )
        if proxy := shared.engine.proxy:
            logger.info("the engine is called through the proxy {}", proxy)
        logger.info("settings: {}", settings.described())
        logger.info("routing: {}", shared.routing.described())
        daemon = Daemon(self._builders.services(shared), shared.stopping, self._endings, self._statistics)
        daemon.start()
        return daemon

    def _successor(self, running: Shared) -> Shared | None:
        """Return what fresh settings name, None where these could not work: then all stays as it was.

        The broker is asked first: what differs there stops a process that starts, or a system. A queue that is in
        trouble already is no reason to keep the old settings.
        """
        known = {queue.name for queue in running.topology.queues if running.watch.state(queue.name).trouble}
        try:
            shared = self._share()
            try:
                shared.broker.declare(shared.topology, name="reload")
            except WrongQueue as error:
                if error.ours or error.troubles.keys() - known:
                    raise
        except (SettingsError, Unavailable) as error:
            logger.error("{}; all stays as it was", error)
            return None
        return shared


def _exit_code(ending: Ending) -> int:
    if isinstance(ending, str):
        return EXIT_OK
    return EXIT_WRONG_SETTINGS if isinstance(ending, SettingsError) else EXIT_CRASHED
