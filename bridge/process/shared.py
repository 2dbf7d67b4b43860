"""What both components work with, made once for one set of settings."""

import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

from bridge import clock, metrics
from bridge.broker import Broker, Inbox, QueueWatch, Tls, Topology
from bridge.engine import Cached, CamundaClient, Client, ClientCredentials, Http, Login, Transport
from bridge.engine.tokens import Token
from bridge.errors import SettingsError
from bridge.leases import LeaseRules, LeaseTable
from bridge.routing import Routing
from bridge.statistics import Statistics

if TYPE_CHECKING:  # only the files at the door import config; here it is a value that is handed in
    from bridge.tracing import Tracing
    from config import Settings


@dataclass(frozen=True, slots=True)
class Outside:
    """What the worker stands between: the engine, the broker, and the systems that tasks are routed to."""

    engine: CamundaClient
    broker: Broker
    routing: Routing

    @classmethod
    def of(cls, settings: "Settings") -> Self:
        """Return what the settings name. Raises SettingsError where the routing is wrong."""
        return cls(engine_of(settings), broker_of(settings), settings.routing())


@dataclass(frozen=True, slots=True)
class Shared:
    """The outside and what is known of it. `fetches`: the worker runs in this process.

    `watch` looks at all queues, on the connection of the first publisher; `inbox` holds the responses in hand, and
    knows whether this process reads any. `tracing`: None where no spans are recorded.
    """

    settings: "Settings"
    fetches: bool
    engine: CamundaClient
    broker: Broker
    routing: Routing
    topology: Topology
    watch: QueueWatch
    inbox: Inbox
    lease_rules: LeaseRules
    leases: LeaseTable
    statistics: Statistics
    stopping: threading.Event
    tracing: "Tracing | None" = None

    @classmethod
    def of(
        cls, settings: "Settings", outside: Outside, statistics: Statistics, *, fetches: bool, reads_answers: bool
    ) -> Self:
        """Make what the components share, with the engine, broker and routing of `outside`.

        Raises SettingsError where spans are to be recorded, and the packages for that are missing.
        """
        metrics.begin_at_zero(system.name for system in outside.routing.systems)
        topology = topology_of(settings, outside.routing)
        inbox = Inbox(
            is_read=reads_answers,
            prefetch=settings.rabbitmq_prefetch,
            most_bytes=settings.rabbitmq_max_message_bytes,
        )
        lease_rules = _lease_rules_of(settings)
        return cls(
            settings=settings,
            fetches=fetches,
            engine=outside.engine,
            broker=outside.broker,
            routing=outside.routing,
            topology=topology,
            watch=QueueWatch.of_all(topology),
            inbox=inbox,
            lease_rules=lease_rules,
            leases=LeaseTable(lease_rules, inbox.answers_to),
            statistics=statistics,
            stopping=clock.Event(),
            tracing=_tracing_of(settings),
        )


def engine_of(settings: "Settings") -> CamundaClient:
    """Return the engine that the settings name; connects on the first call."""
    return CamundaClient(
        http_of(settings),
        settings.camunda_worker_id,
        tenant_ids=settings.camunda_tenant_ids,
        complete_timeout_seconds=settings.camunda_complete_timeout / 1000,
    )


def http_of(settings: "Settings") -> Http:
    """Return the way to the engine; connects on the first call."""
    login = Login(settings.camunda_auth_username, lambda: settings.secret_now("camunda_auth_password"))
    transport = Transport(
        ca_file=settings.found("camunda_ca_file"),
        cert_file=settings.found("camunda_client_cert_file"),
        key_file=settings.found("camunda_client_key_file"),
        headers=settings.camunda_header_lines,
        proxy=settings.camunda_proxy,
    )
    return Http(settings.camunda_base_url, login, replace(transport, token=_token_of(settings, transport)))


def _token_of(settings: "Settings", transport: Transport) -> Token | None:
    if settings.camunda_auth_token:
        return Cached(lambda: settings.secret_now("camunda_auth_token"))
    if settings.camunda_oauth_token_url is None:
        return None
    client = Client(
        "CAMUNDA_OAUTH_TOKEN_URL",
        settings.camunda_oauth_token_url,
        settings.camunda_oauth_client_id or "",
        lambda: settings.secret_now("camunda_oauth_client_secret"),
        scope=settings.camunda_oauth_scope or "",
        audience=settings.camunda_oauth_audience or "",
    )
    return ClientCredentials(client, transport.prepare)


def broker_of(settings: "Settings") -> Broker:
    """Return where the broker is and who we are there."""
    (host, port), *more_hosts = settings.rabbitmq_hosts
    tokens = _broker_tokens_of(settings)
    return Broker(
        host=host,
        port=port,
        virtual_host=settings.rabbitmq_virtual_host,
        username=settings.rabbitmq_username,
        read_password=tokens or (lambda: settings.secret_now("rabbitmq_password")),
        tokens=tokens,
        heartbeat_seconds=settings.rabbitmq_heartbeat,
        more_hosts=tuple(more_hosts),
        tls=_tls_of(settings) if settings.rabbitmq_tls else None,
        has_certificate_login=settings.rabbitmq_auth == "external",
        password_place=settings.place_of("rabbitmq_password"),
    )


def _broker_tokens_of(settings: "Settings") -> ClientCredentials | None:
    if settings.rabbitmq_oauth_token_url is None:
        return None
    client = Client(
        "RABBITMQ_OAUTH_TOKEN_URL",
        settings.rabbitmq_oauth_token_url,
        settings.rabbitmq_oauth_client_id or "",
        lambda: settings.secret_now("rabbitmq_oauth_client_secret"),
        scope=settings.rabbitmq_oauth_scope or "",
        audience=settings.rabbitmq_oauth_audience or "",
    )
    return ClientCredentials(client, Transport(ca_file=settings.found("rabbitmq_ca_file")).prepare)


def _tls_of(settings: "Settings") -> Tls:
    return Tls(
        ca_file=settings.found("rabbitmq_ca_file"),
        cert_file=settings.found("rabbitmq_client_cert_file"),
        key_file=settings.found("rabbitmq_client_key_file"),
        server_name=settings.rabbitmq_tls_server_name,
    )


def topology_of(settings: "Settings", routing: Routing) -> Topology:
    """Return the exchanges and queues that must exist for these systems."""
    return Topology.of(
        routing,
        queue_type=settings.rabbitmq_queue_type,
        passive=settings.rabbitmq_topology == "passive",
    )


def _lease_rules_of(settings: "Settings") -> LeaseRules:
    return LeaseRules(
        lease_ms=settings.camunda_lease_duration if settings.camunda_lease == "two-step" else None,
        extend_after_seconds=settings.camunda_extend_after / 1000,
    )


def _tracing_of(settings: "Settings") -> "Tracing | None":
    if settings.otel_exporter_otlp_endpoint is None:
        return None
    try:
        from bridge.tracing import Tracing
    except ImportError as error:
        raise SettingsError(
            f"OTEL_EXPORTER_OTLP_ENDPOINT is set, and a package for it is missing ({error}): "
            "pip install -r requirements-tracing.txt"
        ) from error
    return Tracing(settings.otel_exporter_otlp_endpoint, settings.otel_service_name)
