"""The names that /metrics exports."""

import re

import pytest
from prometheus_client import REGISTRY, CollectorRegistry, generate_latest

from bridge import metrics
from bridge.observe.status.collector import StateCollector
from tests.unit.status_views import working

NAME = re.compile(r"\b(?:camunda_worker|process)_[a-z_]+\b")


def names_in(text: str) -> set[str]:
    """Returns the names of metrics of ours in a PromQL expression."""
    return set(NAME.findall(text))


@pytest.fixture(scope="session")
def exported() -> set[str]:
    """Every name, those too of series that begin with their first event."""
    metrics.begin_at_zero(["1c"])
    metrics.fetched("1c", "t").inc(0)
    metrics.responses("complete", "applied").inc(0)
    metrics.round_trip("t")
    metrics.task_results("1c", "t", "complete")
    metrics.succeeded("fetch")
    metrics.certificate_ends("engine")
    registry = CollectorRegistry()
    registry.register(REGISTRY)
    registry.register(StateCollector(lambda: working(failed_tasks={("1c", "t"): 1})))
    lines = generate_latest(registry).decode().splitlines()
    return {re.split(r"[{ ]", line)[0] for line in lines if not line.startswith("#")}
