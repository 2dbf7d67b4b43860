"""What is a state and no count, read from a snapshot whenever Prometheus asks."""

from collections.abc import Callable, Iterator

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from bridge.observe.status.snapshot import Snapshot

Samples = list[tuple[str, float]]


class StateCollector(Collector):
    """Yields the gauges of one snapshot. A queue that was not seen lately has no sample: nobody knows."""

    def __init__(self, snapshot: Callable[[], Snapshot]) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterator[Metric]:
        """Yield one family for each state."""
        now = self._snapshot()
        yield _gauge(
            "engine_reachable", "1 where the engine answered when it was last called.", now.engine_trouble == ""
        )
        if now.subscribed is not None:
            yield _gauge("subscribed", "1 where the broker delivers the systems' answers to us.", now.subscribed)
        yield from _of_connections(now)
        yield from _of_queues(now)
        if now.fetches:
            yield from _of_systems(now)


def _of_connections(now: Snapshot) -> Iterator[Metric]:
    connected = [(connection.kind, float(connection.connected)) for connection in now.connections]
    yield _gauges("broker_connected", "1 where this connection to the broker is open.", "connection", connected)
    blocked = [(connection.kind, float(connection.blocked)) for connection in now.connections]
    text = "1 where the broker, short of memory or disk, takes nothing on this connection."
    yield _gauges("broker_blocked", text, "connection", blocked)


def _of_queues(now: Snapshot) -> Iterator[Metric]:
    known = [
        queue for queue in (*(system.queue for system in now.systems), now.answers, now.errors) if queue.is_known
    ]
    ready = [(queue.name, float(queue.ready)) for queue in known]
    yield _gauges("queue_ready_messages", "Messages that wait in this queue.", "queue", ready)
    consumers = [(queue.name, float(queue.consumers)) for queue in known]
    yield _gauges("queue_consumers", "Consumers that listen to this queue.", "queue", consumers)


def _of_systems(now: Snapshot) -> Iterator[Metric]:
    in_flight = [(system.name, float(system.in_flight)) for system in now.systems]
    yield _gauges("tasks_in_flight", "Tasks locked for this system and not answered.", "system", in_flight)
    paused = [(system.name, float(bool(system.paused))) for system in now.systems]
    yield _gauges("system_paused", "1 where this system's tasks are left in the engine.", "system", paused)
    failed = GaugeMetricFamily(
        "camunda_worker_failed_tasks",
        "Tasks without retries, each with an incident, as last counted; the engine names 1000 at most.",
        labels=["system", "topic"],
    )
    for place, count in now.failed_tasks.items():
        failed.add_metric(place, count)
    yield failed
    oldest = [(system.name, system.oldest_seconds or 0.0) for system in now.systems]
    text = "Since the oldest of the tasks in flight was published; 0 where there is none."
    yield _gauges("oldest_task_age_seconds", text, "system", oldest)


def _gauge(name: str, text: str, value: bool) -> Metric:
    return GaugeMetricFamily(f"camunda_worker_{name}", text, value=float(value))


def _gauges(name: str, text: str, label: str, samples: Samples) -> Metric:
    family = GaugeMetricFamily(f"camunda_worker_{name}", text, labels=[label])
    for value_of_label, value in samples:
        family.add_metric([value_of_label], value)
    return family
