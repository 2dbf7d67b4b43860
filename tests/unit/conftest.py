"""What the unit tests share: an environment without our settings, the lines that were logged, a clock."""

import gc
import os
from collections.abc import Callable, Iterator

import pytest
from loguru import logger
from prometheus_client import REGISTRY

from bridge import clock as clock_module
from bridge.broker.bent_pika import bend
from config import Settings

Rise = Callable[..., float]


class Clock:
    """What the code under test takes for the time; it passes when a test says so."""

    def __init__(self) -> None:
        self._now = 1000.0

    def now(self) -> float:
        return self._now

    def advance(self, seconds: float) -> None:
        self._now += seconds


@pytest.fixture(autouse=True, scope="session")
def bent_pika() -> None:
    """Let pika read and write as it does in the product, where every connection begins with it."""
    bend()


@pytest.fixture(autouse=True)
def garbage_waits() -> Iterator[None]:
    """Collect no garbage in a test: in the depth of a nested text there is no room for what a finalizer does."""
    gc.disable()
    yield
    gc.enable()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    stopped = Clock()
    monkeypatch.setattr(clock_module, "now", stopped.now)
    return stopped


@pytest.fixture
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Take our settings out of the environment; set what a test needs on the returned object."""
    ours = ("camunda_", "rabbitmq_", "routing_", "status_", "log_")
    for name in [*os.environ]:
        if name.lower() in Settings.model_fields or name.lower().startswith(ours):
            monkeypatch.delenv(name)
    return monkeypatch


@pytest.fixture
def logged() -> Iterator[list[str]]:
    """Collect the log, each line as `LEVEL message`."""
    lines: list[str] = []
    sink = logger.add(lines.append, format="{level} {message}", level="DEBUG")
    yield lines
    logger.remove(sink)


def value(name: str, **labels: str) -> float:
    """Return what a metric of ours shows now."""
    return REGISTRY.get_sample_value(f"camunda_worker_{name}", labels) or 0.0


@pytest.fixture
def rise() -> Rise:
    """Returns how much a metric rose since the test began; other tests count in the same process."""
    before = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for metric in REGISTRY.collect()
        for sample in metric.samples
    }

    def risen(name: str, **labels: str) -> float:
        key = f"camunda_worker_{name}", tuple(sorted(labels.items()))
        return value(name, **labels) - before.get(key, 0.0)

    return risen
