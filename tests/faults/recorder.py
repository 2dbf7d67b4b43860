"""Writes down what a worker's page for Prometheus says while a fault happens."""

import json
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import requests

from tests.faults.metrics_page import MetricsPage

INTERVAL_SECONDS = 5.0
TIMEOUT_SECONDS = 4.0
UP = 'up{job="camunda-worker"}'


class Recorder:
    """Scrapes one page every 5 s into a file, a line of JSON each: fault, Unix time, and each series."""

    def __init__(self, page: MetricsPage, file: Path, fault: str) -> None:
        self._page = page
        self._file = file
        self._fault = fault
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)

    def __enter__(self) -> Self:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        with self._file.open("a", encoding="utf-8") as lines:
            while not self._stopping.wait(INTERVAL_SECONDS):
                scrape = {"fault": self._fault, "time": time.time(), "samples": self._scrape()}
                lines.write(json.dumps(scrape) + "\n")
                lines.flush()

    def _scrape(self) -> dict[str, float]:
        """Return the value of each series of ours; only `up` where the page cannot be read."""
        try:
            found = [*self._page.samples(timeout_seconds=TIMEOUT_SECONDS)]
        except requests.RequestException:
            return {UP: 0.0}
        return {UP: 1.0} | {_series(sample.name, sample.labels): sample.value for sample in found}


def _series(name: str, labels: dict[str, str]) -> str:
    inside = ",".join(f"{label}={json.dumps(value)}" for label, value in sorted(labels.items()))
    return f"{name}{{{inside}}}" if inside else name
