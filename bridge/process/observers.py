"""The services that look on: alarms, the status page, what systemd is told, and what a collector of traces is."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from bridge import clock
from bridge.contract import RESPONSE_QUEUE
from bridge.observe import (
    Alarms,
    History,
    Installation,
    Observed,
    Page,
    Shown,
    Snapshot,
    StatusServer,
    application,
    count_all,
    reasons_not_ready,
    stuck_loops,
)
from bridge.process.component import Component
from bridge.process.daemon import Service
from bridge.process.shared import Shared
from bridge.process.systemd import ServiceManager
from bridge.texts import Said

HANDLERS_STATUS_PORT = 8091  # beside a worker that runs on the same machine with the default port


def observers(shared: Shared, components: Sequence[Component]) -> list[Service]:
    """Return the services that look at these components, in the order in which they stop."""
    shown = [component.shown for component in components]
    alarms = Service("alarms", _alarms(shared, shown).run)
    watched = [*(service for component in components for service in component.services), alarms]
    loops = [service.name for service in watched if service.turns]
    stuck = partial(stuck_loops, loops, clock.now())
    snapshot = Observed(shared.routing, shared.leases, shared.watch, shared.inbox, shown).snapshot
    return [
        alarms,
        *_status_page(shared, snapshot, stuck),
        *_service_manager(shared, snapshot, stuck),
        *_traces(shared),
    ]


def _alarms(shared: Shared, shown: Sequence[Shown]) -> Alarms:
    return Alarms(
        shared.watch,
        [*(system.queue for system in shared.routing.systems), RESPONSE_QUEUE],
        shared.settings.rabbitmq_error_queue_max,
        shared.stopping,
        why_unread=partial(_why_unread, shared, shown),
    )


def _why_unread(shared: Shared, shown: Sequence[Shown]) -> str:
    """Return why answers are not read now, as far as it is known here: it is no system's fault."""
    if trouble := next((trouble for one in shown if (trouble := one.engine_trouble())), ""):
        return f"they wait for the engine ({trouble})"
    if shared.inbox.is_read and not shared.inbox.subscribed:
        troubles = (one.connections["answers"].trouble for one in shown if "answers" in one.connections)
        return next(troubles, "") or "our consumer is not subscribed"
    return ""


def _status_page(
    shared: Shared, snapshot: Callable[[], Snapshot], stuck: Callable[[], list[str]]
) -> Iterator[Service]:
    settings, port = shared.settings, shared.settings.status_port
    if not shared.fetches and "status_port" not in settings.model_fields_set:
        port = HANDLERS_STATUS_PORT
    if port:
        broker = Said("{place}, virtual host {name}", place=shared.broker.place, name=shared.broker.virtual_host)
        installation = Installation(settings.camunda_worker_id, shared.engine.base_url, broker)
        history = History(count_all, snapshot, shared.stopping)
        page = Page(installation, snapshot, history, stuck, shared.statistics)
        server = StatusServer(settings.status_host, port, application(snapshot, page, stuck))
        yield Service("history", history.run, turns=False)
        yield Service("status", server.run, server.stop, turns=False)


def _service_manager(
    shared: Shared, snapshot: Callable[[], Snapshot], stuck: Callable[[], list[str]]
) -> Iterator[Service]:
    if address := shared.settings.notify_socket:
        manager = ServiceManager(address, lambda: list(reasons_not_ready(snapshot())), stuck, shared.stopping)
        yield Service("service-manager", manager.run)


def _traces(shared: Shared) -> Iterator[Service]:
    if tracing := shared.tracing:
        yield Service(
            "traces", tracing.run, tracing.stop, turns=False, holds_nothing=lambda: tracing.holds_nothing
        )
