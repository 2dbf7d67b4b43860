"""A component: the services that do one direction of the work, and what is shown of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bridge.observe import Shown
from bridge.process.daemon import Service
from bridge.process.shared import Shared


@dataclass(frozen=True, slots=True)
class Component:
    """Its services in the order in which they stop, and its part of the status page."""

    services: Sequence[Service]
    shown: Shown


Builder = Callable[[Shared], Component]
