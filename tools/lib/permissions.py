"""The least rights at RabbitMQ: what the worker's user and each system's user need, and no more."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from bridge.broker import RETRY_TIERS, Topology, retry_queue
from bridge.broker.topology import CLAIMED_EXCHANGE, RESPONSE_EXCHANGE, UNROUTED_EXCHANGE
from bridge.contract import ERROR_EXCHANGE, REJECTED_QUEUE, RESPONSE_QUEUE, TASK_EXCHANGE, cancelled_queue
from bridge.routing import Routing, System

DEFAULT_EXCHANGE = "amq.default"  # the name by which permissions know it


@dataclass(frozen=True, slots=True)
class Rights:
    """What one user may configure, write to and read from: names of exchanges and queues."""

    user: str
    configure: tuple[str, ...]
    write: tuple[str, ...]
    read: tuple[str, ...]

    @property
    def patterns(self) -> dict[str, str]:
        """The three as RabbitMQ wants them: regular expressions of names."""
        return {
            "configure": pattern_of(self.configure),
            "write": pattern_of(self.write),
            "read": pattern_of(self.read),
        }


def pattern_of(names: Iterable[str]) -> str:
    """Return a regular expression that fits these names alone; `^$` for none."""
    alternatives = "|".join(re.escape(name).replace(r"\-", "-") for name in names)
    return f"^({alternatives})$" if alternatives else "^$"


def rights_of_worker(user: str, topology: Topology) -> Rights:
    """Return what the worker needs: to publish and to read answers, and where it declares, all of that too."""
    publishes = (TASK_EXCHANGE, ERROR_EXCHANGE, DEFAULT_EXCHANGE)
    if topology.passive:
        return Rights(user, configure=(), write=publishes, read=(RESPONSE_QUEUE, REJECTED_QUEUE))
    exchanges = tuple(exchange.name for exchange in topology.exchanges)
    bound = tuple(queue.name for queue in topology.queues if queue.bindings)
    declared = tuple(queue.name for queue in topology.queues if queue.bindings and queue.is_declared)
    tiers = tuple(retry_queue(tier) for tier in RETRY_TIERS)
    unbound = tuple(queue.name for queue in topology.queues if not queue.bindings)
    return Rights(
        user,
        configure=(*exchanges, *declared, *unbound),
        # To bind a queue one writes to it; to name an alternate exchange, or to bind one, one writes to that.
        write=(*publishes, UNROUTED_EXCHANGE, CLAIMED_EXCHANGE, *bound),
        # To bind to an exchange one reads from it; a queue that dead-letters must be readable by who declares it.
        read=(
            TASK_EXCHANGE,
            UNROUTED_EXCHANGE,
            RESPONSE_EXCHANGE,
            ERROR_EXCHANGE,
            RESPONSE_QUEUE,
            REJECTED_QUEUE,
            *tiers,
        ),
    )


def _queues_of(system: System) -> tuple[str, ...]:
    return (system.queue, *([cancelled_queue(system.name)] if system.tells_cancelled else ()))


def rights_of_systems(routing: Routing) -> list[Rights]:
    """Return what the users of each system need: to read its queue, and to answer."""
    return [
        Rights(user, configure=(), write=(RESPONSE_EXCHANGE,), read=_queues_of(system))
        for system in routing.systems
        for user in system.users or (system.name,)
    ]
