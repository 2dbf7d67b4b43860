"""What others may see of the worker: logs, alarms, metrics, health and a page; reading only."""

from bridge.observe.alarms import Alarms
from bridge.observe.status.app import application
from bridge.observe.status.health import reasons_not_ready, stuck_loops
from bridge.observe.status.history import History, count_all
from bridge.observe.status.page import Installation, Page
from bridge.observe.status.server import StatusServer
from bridge.observe.status.snapshot import Observed, Shown, Snapshot

__all__ = [
    "Alarms",
    "History",
    "Installation",
    "Observed",
    "Page",
    "Shown",
    "Snapshot",
    "StatusServer",
    "application",
    "count_all",
    "reasons_not_ready",
    "stuck_loops",
]
