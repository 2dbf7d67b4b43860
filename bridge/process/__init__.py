"""What makes the components a daemon: their threads, signals and exit codes."""

from bridge.process.arguments import parse_arguments
from bridge.process.component import Component
from bridge.process.daemon import Service
from bridge.process.run import run
from bridge.process.shared import Shared

__all__ = ["Component", "Service", "Shared", "parse_arguments", "run"]
