"""Builds the parts, runs each on its thread, and ends them in good order."""

import os
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from types import FrameType

from loguru import logger

from camunda_client import CamundaClient, Login
from camunda_worker import CamundaWorker
from config import RoutingConfig, Settings, load_settings, misspelt_settings
from errors import SettingsError
from messages import RESPONSE_QUEUE
from monitoring import Statistics, configure_logs
from rabbitmq_client import Broker, Consumer, Delivery, Publisher, Topology
from response_handler import ResponseHandler
from topics import Topics

EXIT_OK = 0
EXIT_CRASHED = 1
EXIT_WRONG_SETTINGS = 78  # EX_CONFIG of sysexits.h: a restart does not help
STATISTICS_SECONDS = 30.0
STOP_SECONDS = 25.0
ANSWER_THREADS = 8
BOTH = "camunda_worker", "response_handler"


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
            logger.error("{}", error)
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


def build(settings: Settings, components: tuple[str, ...]) -> Daemon:
    """Return the daemon that runs the named components. Raises SettingsError."""
    stopping = threading.Event()
    statistics = Statistics()
    routing = RoutingConfig.load(settings.routing_file, settings.camunda_lock_duration)
    camunda = _camunda(settings)
    broker = _broker(settings)
    topology = Topology.of(
        [system.name for system in routing.systems],
        routing.default.name,
        queue_type=settings.rabbitmq_queue_type,
        passive=settings.rabbitmq_topology == "passive",
    )
    services: list[Service] = []
    if "camunda_worker" in components:
        publisher = Publisher(broker, topology, name=f"{settings.camunda_worker_id} tasks")
        worker = _worker(settings, camunda, publisher, routing, statistics, stopping)
        services += [Service("camunda-worker", worker.run), Service("publisher", publisher.run, publisher.stop)]
    if "response_handler" in components:
        services += _answer_services(settings, camunda, broker, topology, stopping)
    return Daemon(services, stopping, statistics)


def _camunda(settings: Settings) -> CamundaClient:
    password = settings.camunda_auth_password
    return CamundaClient(
        settings.camunda_base_url,
        settings.camunda_worker_id,
        login=Login(settings.camunda_auth_username, password.get_secret_value() if password else ""),
        tenant_ids=settings.camunda_tenant_ids,
    )


def _broker(settings: Settings) -> Broker:
    return Broker(
        host=settings.rabbitmq_host,
        port=settings.rabbitmq_port,
        virtual_host=settings.rabbitmq_virtual_host,
        username=settings.rabbitmq_username,
        password=settings.rabbitmq_password.get_secret_value(),
        heartbeat_seconds=settings.rabbitmq_heartbeat,
    )


def _worker(
    settings: Settings,
    camunda: CamundaClient,
    publisher: Publisher,
    routing: RoutingConfig,
    statistics: Statistics,
    stopping: threading.Event,
) -> CamundaWorker:
    wait_ms = settings.camunda_async_response_timeout
    topics = Topics(
        camunda,
        routing,
        include=settings.camunda_topics_include,
        exclude=settings.camunda_topics_exclude,
        refresh_seconds=wait_ms / 2000,
    )
    return CamundaWorker(
        camunda,
        publisher,
        routing,
        topics,
        statistics,
        stopping,
        max_tasks=settings.camunda_max_tasks,
        wait_ms=wait_ms,
        retries=settings.camunda_retries,
        retry_timeout_ms=settings.camunda_retry_timeout,
        max_message_bytes=settings.rabbitmq_max_message_bytes,
    )


def _answer_services(
    settings: Settings, camunda: CamundaClient, broker: Broker, topology: Topology, stopping: threading.Event
) -> list[Service]:
    deliveries: SimpleQueue[Delivery | None] = SimpleQueue()
    name = settings.camunda_worker_id
    errors = Publisher(broker, topology, name=f"{name} errors")
    consumer = Consumer(
        broker,
        topology,
        RESPONSE_QUEUE,
        deliveries.put,
        prefetch=settings.rabbitmq_prefetch,
        name=f"{name} answers",
    )
    handler = ResponseHandler(
        camunda,
        deliveries,
        consumer.ack,
        errors,
        stopping,
        accepted_worker_ids=settings.camunda_accept_worker_ids,
        retries=settings.camunda_retries,
        retry_timeout_ms=settings.camunda_retry_timeout,
        lock_ms=settings.camunda_lock_duration,
        max_message_bytes=settings.rabbitmq_max_message_bytes,
    )
    pool = [
        Service(f"answers-{n}", handler.work, lambda: deliveries.put(None)) for n in range(1, ANSWER_THREADS + 1)
    ]
    return [
        *pool,
        Service("response-handler", consumer.run, consumer.stop),
        Service("error-publisher", errors.run, errors.stop),
    ]


def _listen_to_signals(endings: SimpleQueue[str | Exception]) -> None:
    """Let SIGTERM and SIGINT end the daemon; a second one ends the process at once."""
    seen: list[int] = []

    def on_signal(number: int, _frame: FrameType | None) -> None:
        if seen:
            os._exit(128 + number)
        seen.append(number)
        endings.put(signal.Signals(number).name)

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)


def main(*components: str) -> int:
    """Run the named components, or both where none is named; return the process's exit code."""
    components = components or BOTH
    try:
        settings = load_settings()
        folder = Path(__file__).parent / settings.log_dir
        configure_logs(folder, settings.log_level, settings.log_format, file_name=components[0])
        daemon = build(settings, components)
    except SettingsError as error:
        logger.error("{}", error)
        return EXIT_WRONG_SETTINGS
    finally:
        for warning in misspelt_settings():
            logger.warning("{}", warning)
    _listen_to_signals(daemon.endings)
    logger.info(
        "{} starts as {!r}: engine {}, broker {}:{}{}",
        " and ".join(components),
        settings.camunda_worker_id,
        settings.camunda_base_url,
        settings.rabbitmq_host,
        settings.rabbitmq_port,
        settings.rabbitmq_virtual_host,
    )
    return daemon.run()


if __name__ == "__main__":
    sys.exit(main())
