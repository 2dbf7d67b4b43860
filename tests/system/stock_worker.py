"""Another team's worker, built on the client library the requirements name: `stock_worker.py URL TOPIC`."""

import logging
import sys

from camunda.external_task.external_task import ExternalTask, TaskResult
from camunda.external_task.external_task_worker import ExternalTaskWorker

SETTINGS = {"maxTasks": 5, "lockDuration": 60_000, "asyncResponseTimeout": 1000, "retries": 3, "sleepSeconds": 1}


def handle(task: ExternalTask) -> TaskResult:
    return task.complete({"by": "stock"})


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    ExternalTaskWorker(worker_id="stock-worker", base_url=sys.argv[1], config=SETTINGS).subscribe(
        [sys.argv[2]], handle
    )
