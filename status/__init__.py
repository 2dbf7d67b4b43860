"""What others may see of the worker: metrics, health and a page; reading only."""

from status.server import StatusServer
from status.snapshot import Sources

__all__ = ["Sources", "StatusServer"]
