"""What others may see of the worker: metrics, health and a page; reading only."""

from bridge.observe.status.app import application
from bridge.observe.status.health import reasons_not_ready, stuck_loops
from bridge.observe.status.history import History, count_all
from bridge.observe.status.page import Installation, Page
from bridge.observe.status.server import StatusServer
from bridge.observe.status.snapshot import Snapshot, Sources

__all__ = [
    "History",
    "Installation",
    "Page",
    "Snapshot",
    "Sources",
    "StatusServer",
    "application",
    "count_all",
    "reasons_not_ready",
    "stuck_loops",
]
