"""The product's services on threads, and what the tests say to them."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Protocol

from bridge.broker import TASKS_PLACE, Broker, Outcome, Publisher, QueueWatch, Topology
from bridge.contract import TASK_EXCHANGE, Publication
from sandbox.sandbox import Sandbox
from tests.sandbox.processes import eventually

SECONDS = 20.0


class Runs(Protocol):
    """A publisher or a consumer."""

    def run(self) -> None: ...

    def stop(self) -> None: ...


@contextmanager
def running(service: Runs) -> Iterator[threading.Thread]:
    """Runs a service on a thread of its own, and stops it at the end; it must end in good time."""
    thread = threading.Thread(target=service.run, daemon=True)
    thread.start()
    try:
        yield thread
    finally:
        service.stop()
        thread.join(SECONDS)
    assert not thread.is_alive()


def message(
    name: str, *, key: str = "1c.1c_sync_data", exchange: str = TASK_EXCHANGE, body: bytes = b"{}"
) -> Publication:
    properties = {"message_id": name, "delivery_mode": 2}
    return Publication(exchange, key, body, headers={}, properties=properties)


def outcomes_of(publisher: Publisher, publications: Sequence[Publication]) -> list[Outcome]:
    """Publishes a batch and returns the fates."""
    fates: SimpleQueue[Sequence[Outcome]] = SimpleQueue()
    publisher.publish(publications, fates.put)
    return list(fates.get(timeout=SECONDS))


def close_connections(sandbox: Sandbox, vhost: str) -> None:
    """Lets the broker close every connection of a vhost, the test's own too."""
    sandbox.broker.ctl("close_all_connections", "--vhost", vhost, "the test wants it")


def held(sandbox: Sandbox, vhost: str, queue: str) -> tuple[int, int]:
    """Returns how many messages a queue holds: ready, and delivered but not acknowledged."""
    state = sandbox.broker.api.queue(vhost, queue)
    return state.ready, state.unacked


def eventual(condition: Callable[[], bool]) -> bool:
    """Waits until the condition holds, and says whether it did within a while."""
    return eventually(condition, seconds=SECONDS)


def publisher_of(
    broker: Broker, topology: Topology, *, name: str, place: tuple[str, str] = TASKS_PLACE
) -> Publisher:
    """Return a publisher that looks at all queues, as the only one of its process."""
    return Publisher(broker, topology, name=name, place=place, watch=QueueWatch.of_all(topology))
