"""What others may see of the worker: metrics, health and a page; reading only."""

from status.health import reasons_not_ready, stuck_loops
from status.server import StatusServer
from status.snapshot import Sources

__all__ = ["Sources", "StatusServer", "reasons_not_ready", "stuck_loops"]
