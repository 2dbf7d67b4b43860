"""What a worker says of itself: its page for Prometheus."""

from collections.abc import Iterator
from dataclasses import dataclass

import requests
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from sandbox.ports import LOOPBACK, free_ports

PREFIX = "camunda_worker_"


@dataclass(frozen=True, slots=True)
class MetricsPage:
    """The page of the worker that is started with this STATUS_PORT."""

    port: int

    @classmethod
    def free(cls) -> "MetricsPage":
        """Return one for a worker to come."""
        return cls(*free_ports(1))

    @property
    def setting(self) -> dict[str, str]:
        """The setting that makes the worker serve it."""
        return {"STATUS_PORT": str(self.port)}

    def samples(self, *, timeout_seconds: float = 10.0) -> Iterator[Sample]:
        """Yield all that it says of ours. Raises requests' errors where it cannot be read."""
        page = requests.get(f"http://{LOOPBACK}:{self.port}/metrics", timeout=timeout_seconds).text
        for family in text_string_to_metric_families(page):
            yield from (sample for sample in family.samples if sample.name.startswith(PREFIX))

    def value(self, name: str, **labels: str) -> float:
        """Return a figure by its name without prefix: the sum over all labels that are not given."""
        return sum(
            sample.value
            for sample in self.samples()
            if sample.name == PREFIX + name and labels.items() <= sample.labels.items()
        )
