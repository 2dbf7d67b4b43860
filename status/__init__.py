"""What others may see of the worker: metrics, health and a page; reading only."""

from status.app import application
from status.health import reasons_not_ready, stuck_loops
from status.history import History, count_all
from status.page import Page, Place
from status.server import StatusServer
from status.snapshot import Snapshot, Sources

__all__ = [
    "History",
    "Page",
    "Place",
    "Snapshot",
    "Sources",
    "StatusServer",
    "application",
    "count_all",
    "reasons_not_ready",
    "stuck_loops",
]
