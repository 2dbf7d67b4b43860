"""All faults in their order."""

from collections.abc import Callable
from dataclasses import dataclass

from tests.faults import (
    alarms,
    answers,
    attacker,
    bridge,
    broker,
    calm,
    clocks,
    clusters,
    engine,
    error_queue,
    failures,
    gateways,
    headers,
    in_flight,
    logins,
    lost_failures,
    millennia,
    network,
    queues,
    replicas,
    rights,
    systems,
    unreadable,
)
from tests.faults.scene import Scene


@dataclass(frozen=True, slots=True)
class Fault:
    """A number, a name and the function that makes it happen."""

    number: int
    run: Callable[[Scene], None]
    auth: bool = False  # needs a sandbox of its own, whose engine asks for a login
    clustered: bool = False  # needs one whose broker is three nodes, and whose engine two
    tls: bool = False  # and whose worker comes over TLS
    lease_ms: int = 0  # other than the scale's, where the fault is about what happens within a lease

    @property
    def name(self) -> str:
        """The first sentence of the function's docstring."""
        return (self.run.__doc__ or "").split("\n")[0].rstrip(".")


FAULTS = [
    Fault(0, calm.calm_run),
    Fault(1, broker.broker_killed, lease_ms=60_000),
    Fault(2, broker.broker_frozen, lease_ms=60_000),
    Fault(3, network.connections_reset, lease_ms=60_000),
    Fault(4, network.partitioned, lease_ms=60_000),
    Fault(5, network.slow_line),
    Fault(6, alarms.memory_alarm),
    Fault(7, alarms.disk_alarm),
    Fault(8, queues.task_queue_deleted, lease_ms=30_000),
    Fault(9, queues.exchange_deleted),
    Fault(10, queues.queue_full),
    Fault(11, queues.response_queue_deleted, lease_ms=30_000),
    Fault(12, queues.wrong_arguments, lease_ms=30_000),
    Fault(13, logins.wrong_logins, auth=True),
    Fault(14, bridge.killed_before_publish),
    Fault(15, bridge.killed_before_extension),
    Fault(16, bridge.frozen),
    Fault(17, engine.replies_lost, lease_ms=30_000),
    Fault(18, engine.down),
    Fault(18, engine.frozen),
    Fault(18, engine.cut_off),
    Fault(19, engine.refusing_one_task),
    Fault(20, engine.slow),
    Fault(21, answers.of_cancelled_instances),
    Fault(22, answers.late),
    Fault(22, failures.while_extension_is_due),
    Fault(23, answers.wrong),
    Fault(24, clocks.apart),
    Fault(25, replicas.rolled_out),
    Fault(25, replicas.rolled_out_as_one),
    Fault(26, headers.odd),
    Fault(27, millennia.locked),
    Fault(28, unreadable.cannot_give_out),
    Fault(29, gateways.named_engine),
    Fault(30, gateways.refuses_complete),
    Fault(30, gateways.cuts_polls),
    Fault(30, gateways.answers_polls_at_once),
    Fault(31, error_queue.full),
    Fault(32, queues.queue_made_anew, lease_ms=30_000),
    Fault(33, systems.down_for_three_locks),
    Fault(34, systems.at_its_limit),
    Fault(35, rights.missing),
    Fault(36, bridge.away_longer_than_locks, lease_ms=30_000),
    Fault(37, alarms.past_the_lease, lease_ms=30_000),
    Fault(38, lost_failures.with_heartbeats_after),
    Fault(39, in_flight.gone_elsewhere),
    Fault(40, replicas.with_branches),
    Fault(40, replicas.split_with_branches),
    Fault(41, attacker.attacks),
    Fault(42, clusters.broker_nodes_killed, clustered=True),
    Fault(43, clusters.engine_nodes_killed, clustered=True),
]


def fault(number: int) -> Fault:
    """Return the fault of that number."""
    return next(fault for fault in FAULTS if fault.number == number)
