"""Writes down what a worker's page for Prometheus says while a fault happens."""

import json
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import requests
from prometheus_client.parser import text_string_to_metric_families

from sandbox.ports import LOOPBACK
from tests.faults.metrics_page import PREFIX

INTERVAL_SECONDS = 5.0
TIMEOUT_SECONDS = 4.0
UP = 'up{job="camunda-worker"}'


class Recorder:
    """Scrapes one page every 5 s into a file, a line of JSON each: fault, Unix time, and each series."""

    def __init__(self, port: int, file: Path, fault: str) -> None:
        self._url = f"http://{LOOPBACK}:{port}/metrics"
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
            page = requests.get(self._url, timeout=TIMEOUT_SECONDS).text
        except requests.RequestException:
            return {UP: 0.0}
        families = text_string_to_metric_families(page)
        ours = (sample for family in families for sample in family.samples if sample.name.startswith(PREFIX))
        return {UP: 1.0} | {_series(sample.name, sample.labels): sample.value for sample in ours}


def _series(name: str, labels: dict[str, str]) -> str:
    inside = ",".join(f"{label}={json.dumps(value)}" for label, value in sorted(labels.items()))
    return f"{name}{{{inside}}}" if inside else name
