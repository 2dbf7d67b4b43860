"""Runs both components or the one that is named, until a signal; SIGHUP begins anew with fresh settings."""

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from queue import SimpleQueue

from loguru import logger

from assembly import HANDLER, WORKER, Assembly
from bridge.errors import SettingsError, WrongQueue
from bridge.observe.logs import configure_logs
from bridge.process.daemon import EXIT_WRONG_SETTINGS, Daemon, Ending, listen_to_signals
from bridge.process.systemd import tell
from bridge.statistics import Statistics
from config import load_settings, misspelt_settings, notify_socket


def main(*components: str) -> int:
    """Run the named components, or both where none is named; return the process's exit code."""
    program = _Program(components or (WORKER, HANDLER))
    listen_to_signals(program.endings)
    try:
        step: Daemon | int = program.build()
    except SettingsError as error:
        logger.error("{}", error)
        return EXIT_WRONG_SETTINGS
    while isinstance(step, Daemon):
        step = step.run()
    return step


class _Program:
    """What outlives a change of the settings: the signals that came, and the statistics."""

    def __init__(self, components: Sequence[str]) -> None:
        self._components = components
        self._statistics = Statistics()
        self._assembly: Assembly | None = None
        self.endings: SimpleQueue[Ending] = SimpleQueue()

    def build(self) -> Daemon:
        """Return a daemon with the settings as they are now. Raises SettingsError."""
        return self._daemon_of(self._assemble())

    def _rebuild(self) -> Daemon:
        """Return a daemon that can take over. Raises SettingsError, Unavailable.

        The broker is asked first: what differs there stops a process that starts, or a system. A queue that is
        in trouble already is no reason to keep the old settings.
        """
        known = self._assembly.queues_in_trouble() if self._assembly else set()
        assembly = self._assemble()
        try:
            assembly.broker.declare(assembly.topology, name="reload")
        except WrongQueue as error:
            if error.ours or error.troubles.keys() - known:
                raise
        return self._daemon_of(assembly)

    def _assemble(self) -> Assembly:
        for warning in misspelt_settings():
            logger.warning("{}", warning)
        return Assembly(load_settings(), self._statistics)

    def _daemon_of(self, assembly: Assembly) -> Daemon:
        settings = assembly.settings
        folder = Path(__file__).parent / settings.log_dir
        configure_logs(folder, settings.log_level, settings.log_format, file_name=self._components[0])
        logger.info(
            "{} starts as {!r}: engine {}, broker {}:{}, virtual host {!r}",
            " and ".join(self._components),
            settings.camunda_worker_id,
            settings.camunda_base_url,
            settings.rabbitmq_host,
            settings.rabbitmq_port,
            settings.rabbitmq_virtual_host,
        )
        logger.info("settings: {}", settings.described())
        logger.info("routing: {}", assembly.routing.described())
        services = assembly.services(self._components)
        announce = partial(tell, notify_socket())
        self._assembly = assembly
        return Daemon(services, assembly.stopping, self._statistics, self.endings, self._rebuild, announce)


if __name__ == "__main__":
    sys.exit(main())
