"""Builds the parts of the worker from its settings."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Self

from bridge import clock, metrics
from bridge.answers.calls import AnswerCalls, CallRules
from bridge.answers.circuit_breaker import EngineGate
from bridge.answers.detours import Detours
from bridge.answers.in_hand import AnswersInHand
from bridge.broker import COPIES_PLACE, TASKS_PLACE, Broker, Consumer, Delivery, Publisher, QueueWatch, Topology
from bridge.contract import RESPONSE_QUEUE
from bridge.engine import CamundaClient, Http, Login
from bridge.intake.admission import DeliveryGate, Limits
from bridge.intake.held_task import TaskHolder
from bridge.intake.topics import Topics
from bridge.intake.undelivered import RetryRules, Undelivered
from bridge.leases import LeaseKeeper, LeaseRules, LeaseTable
from bridge.leases.extension import Extension
from bridge.leases.silence import Silence
from bridge.observe.alarms import Alarms
from bridge.observe.status import (
    History,
    Installation,
    Page,
    Snapshot,
    Sources,
    StatusServer,
    application,
    count_all,
    reasons_not_ready,
    stuck_loops,
)
from bridge.process.daemon import Service
from bridge.process.systemd import ServiceManager
from bridge.statistics import Statistics
from camunda_worker import CamundaWorker, WorkerRules
from config import RoutingConfig, Settings, notify_socket
from response_handler import AnswerRules, ResponseHandler

ANSWER_THREADS = 8
LAST_CALLS_SECONDS = 10.0  # a stop must be over in 25 s
WORKER, HANDLER = "camunda_worker", "response_handler"
HANDLERS_STATUS_PORT = 8091  # beside a worker that runs on the same machine with the default port


@dataclass(frozen=True, slots=True)
class Outside:
    """What the worker stands between: the engine, the broker, and the systems that tasks are routed to."""

    camunda: CamundaClient
    broker: Broker
    routing: RoutingConfig

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return what the settings name. Raises SettingsError where the routing is wrong."""
        routing = RoutingConfig.load(settings.routing_file, settings.camunda_lock_duration)
        return cls(_camunda(settings), _broker(settings), routing)


class Assembly:
    """Builds the parts from the settings; the two components share the engine, the leases and the answers."""

    def __init__(self, settings: Settings, statistics: Statistics, outside: Outside | None = None) -> None:
        """Take the outside world that the settings name where none is given. Raises SettingsError."""
        outside = outside or Outside.of(settings)
        self.settings = settings
        self.stopping = clock.Event()
        self.statistics = statistics
        self.routing = outside.routing
        self.camunda = outside.camunda
        self.broker = outside.broker
        metrics.begin_at_zero(system.name for system in self.routing.systems)
        self.topology = Topology.of(
            [system.name for system in self.routing.systems],
            self.routing.default.name,
            queue_type=settings.rabbitmq_queue_type,
            passive=settings.rabbitmq_topology == "passive",
        )
        self.lease_rules = _lease_rules(settings)
        self.leases = LeaseTable(self.lease_rules, self._is_in_hand)
        self.deliveries: SimpleQueue[Delivery | None] = clock.SimpleQueue()
        self._tasks: Publisher | None = None
        self._gate: DeliveryGate | None = None
        self._consumer: Consumer | None = None
        self._detours: Publisher | None = None
        self._engine_troubles: list[Callable[[], str]] = []
        self._not_given_out: Callable[[], Sequence[str]] = tuple

    def services(self, components: Sequence[str]) -> list[Service]:
        """Return the services of the named components, in the order in which they stop."""
        services: list[Service] = []
        if HANDLER in components:
            self._consumer = self._answers_consumer()
        if WORKER in components:
            self._tasks = self._publisher("tasks", TASKS_PLACE)
            services += self._worker_services(self._tasks)
        if HANDLER in components:
            self._detours = self._publisher("detours", COPIES_PLACE)
            services += self._handler_services(self._detours)
        services.append(Service("alarms", self._alarms(self._watch).run))
        return services + self._status_services(self._watch, services)

    @property
    def _watch(self) -> QueueWatch:
        publisher = self._tasks or self._detours
        assert publisher is not None, "no such component"
        return publisher.watch

    def queues_in_trouble(self) -> set[str]:
        """Return the names of the queues that nothing should be published to now."""
        names = (queue.name for queue in self.topology.queues)
        return {name for name in names if self._watch.state(name).trouble}

    def _status_services(self, watch: QueueWatch, watched: Sequence[Service]) -> list[Service]:
        loops, begun = [service.name for service in watched if service.turns], clock.now()
        snapshot, stuck = self._sources(watch).snapshot, lambda: stuck_loops(loops, begun)
        return [*self._status_page(snapshot, stuck), *self._service_manager(snapshot, stuck)]

    def _status_page(self, snapshot: Callable[[], Snapshot], stuck: Callable[[], list[str]]) -> Iterator[Service]:
        port = self.settings.status_port
        if self._tasks is None and "status_port" not in self.settings.model_fields_set:
            port = HANDLERS_STATUS_PORT
        if port:
            history = History(lambda: count_all(self.routing), self.stopping)
            page = Page(self._place(), snapshot, history, stuck)
            server = StatusServer(self.settings.status_host, port, application(snapshot, page, stuck))
            yield Service("history", history.run, turns=False)
            yield Service("status", server.run, server.stop, turns=False)

    def _service_manager(
        self, snapshot: Callable[[], Snapshot], stuck: Callable[[], list[str]]
    ) -> Iterator[Service]:
        if address := notify_socket():
            manager = ServiceManager(address, lambda: list(reasons_not_ready(snapshot())), stuck, self.stopping)
            yield Service("service-manager", manager.run)

    def _place(self) -> Installation:
        broker = f"{self.broker.host}:{self.broker.port}, virtual host {self.broker.virtual_host}"
        return Installation(self.settings.camunda_worker_id, self.camunda.base_url, broker)

    def _sources(self, watch: QueueWatch) -> Sources:
        return Sources(
            routing=self.routing,
            leases=self.leases,
            watch=watch,
            publisher=self._tasks,
            gate=self._gate,
            consumer=self._consumer,
            detours=self._detours,
            engine_troubles=self._engine_troubles,
            not_given_out=self._not_given_out,
        )

    def _alarms(self, watch: QueueWatch) -> Alarms:
        queues = [*(system.queue for system in self.routing.systems), RESPONSE_QUEUE]
        most = self.settings.rabbitmq_error_queue_max
        return Alarms(watch, queues, most, self.stopping, why_unread=self._why_unread)

    def _why_unread(self) -> str:
        """Return why answers are not read now, as far as it is known here: it is no system's fault."""
        if trouble := next((trouble for ask in self._engine_troubles if (trouble := ask())), ""):
            return f"they wait for the engine ({trouble})"
        if self._consumer and not self._consumer.subscribed:
            return self._consumer.trouble or "our consumer is not subscribed"
        return ""

    def _publisher(self, what: str, place: tuple[str, str]) -> Publisher:
        name, is_first = f"{self.settings.camunda_worker_id} {what}", self._tasks is None
        return Publisher(self.broker, self.topology, name=name, place=place, watches_all=is_first)

    def _worker_services(self, publisher: Publisher) -> list[Service]:
        settings = self.settings
        keeper = self._lease_keeper(publisher)
        self._gate = self._delivery_gate(publisher, keeper)
        holder = TaskHolder(
            self.camunda,
            self.leases,
            self.routing,
            self.statistics,
            self.lease_rules,
            max_message_bytes=settings.rabbitmq_max_message_bytes,
        )
        retries = RetryRules(settings.camunda_retries, settings.camunda_retry_timeout)
        worker = CamundaWorker(
            self.camunda,
            publisher,
            self._gate,
            self.leases,
            keeper,
            self.routing,
            self._topics(),
            holder,
            Undelivered(self.camunda, self.leases, self._gate, holder, self.statistics, retries),
            self.statistics,
            self.stopping,
            WorkerRules(settings.camunda_max_tasks, settings.camunda_async_response_timeout, self.lease_rules),
        )
        self._engine_troubles.append(lambda: worker.engine_trouble)
        self._not_given_out = worker.not_given_out
        return [
            Service("camunda-worker", worker.run, holds_nothing=lambda: not worker.has_fetched),
            Service("leases", keeper.run),
            Service("publisher", publisher.run, publisher.stop, holds_nothing=lambda: publisher.holds_nothing),
        ]

    def _is_in_hand(self, task_id: str) -> bool:
        return AnswersInHand(self._consumer).has(task_id)

    def _lease_keeper(self, publisher: Publisher) -> LeaseKeeper:
        extension = Extension(self.camunda, self.leases)
        silence = Silence(self.camunda, self.leases, publisher.watch, self.lease_rules)
        return LeaseKeeper(self.camunda, self.leases, extension, silence, self.stopping)

    def _delivery_gate(self, publisher: Publisher, keeper: LeaseKeeper) -> DeliveryGate:
        limits = Limits(
            queue_high_water=self.settings.rabbitmq_queue_high_water,
            max_in_flight=self.settings.camunda_max_in_flight,
            waiting_answers=max(1, self.settings.rabbitmq_prefetch // 2),
        )
        return DeliveryGate(
            publisher,
            self.leases,
            keeper,
            limits,
            self._consumer,
        )

    def _topics(self) -> Topics:
        return Topics(
            self.camunda,
            self.routing,
            include=self.settings.camunda_topics_include,
            exclude=self.settings.camunda_topics_exclude,
            refresh_seconds=self.settings.camunda_async_response_timeout / 2000,
        )

    def _answers_consumer(self) -> Consumer:
        return Consumer(
            self.broker,
            self.topology,
            RESPONSE_QUEUE,
            self.deliveries.put,
            prefetch=self.settings.rabbitmq_prefetch,
            name=f"{self.settings.camunda_worker_id} answers",
        )

    def _handler_services(self, detours: Publisher) -> list[Service]:
        settings, consumer = self.settings, self._consumer
        assert consumer is not None, "the consumer comes first"
        rules = CallRules(
            accepted_worker_ids=settings.camunda_accept_worker_ids,
            retries=settings.camunda_retries,
            retry_timeout_ms=settings.camunda_retry_timeout,
        )
        gate = EngineGate(
            self.camunda.probe,
            self.stopping,
            width=ANSWER_THREADS,
            on_close=consumer.pause,
            on_open=consumer.resume,
        )
        self._engine_troubles.append(lambda: gate.trouble)
        handler = ResponseHandler(
            AnswerCalls(self.camunda, self.routing, self.leases, rules),
            gate,
            self.leases,
            detours,
            Detours(self.broker.username),
            self.deliveries,
            consumer,
            self.stopping,
            AnswerRules(
                max_message_bytes=settings.rabbitmq_max_message_bytes,
                require_user_id=settings.responses_require_user_id,
            ),
        )
        return [
            *(
                Service(f"answers-{n}", handler.work, self._end_answers, turns=False)
                for n in range(1, ANSWER_THREADS + 1)
            ),
            Service("response-handler", consumer.run, consumer.stop, holds_nothing=lambda: consumer.holds_nothing),
            Service("detours", detours.run, detours.stop, holds_nothing=lambda: detours.holds_nothing),
        ]

    def _end_answers(self) -> None:
        """Let the threads of the pool finish what they have in hand."""
        self.camunda.give_up_after(LAST_CALLS_SECONDS)
        self.deliveries.put(None)


def _camunda(settings: Settings) -> CamundaClient:
    login = Login(settings.camunda_auth_username, lambda: settings.secret_now("camunda_auth_password"))
    http = Http(settings.camunda_base_url, login)
    return CamundaClient(
        http,
        settings.camunda_worker_id,
        tenant_ids=settings.camunda_tenant_ids,
        complete_timeout_seconds=settings.camunda_complete_timeout / 1000,
    )


def _broker(settings: Settings) -> Broker:
    return Broker(
        host=settings.rabbitmq_host,
        port=settings.rabbitmq_port,
        virtual_host=settings.rabbitmq_virtual_host,
        username=settings.rabbitmq_username,
        read_password=lambda: settings.secret_now("rabbitmq_password"),
        heartbeat_seconds=settings.rabbitmq_heartbeat,
    )


def _lease_rules(settings: Settings) -> LeaseRules:
    return LeaseRules(
        lease_ms=settings.camunda_lease_duration if settings.camunda_lease == "two-step" else None,
        extend_after_seconds=settings.camunda_extend_after / 1000,
        retries=settings.camunda_retries,
        retry_timeout_ms=settings.camunda_retry_timeout,
    )
