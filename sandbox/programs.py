"""Our own programs, started to work with a sandbox: the worker as a user starts it, and Python modules."""

import os
import sys
from pathlib import Path

from sandbox.children import Child
from sandbox.runs import Run
from sandbox.sandbox import Sandbox

REPOSITORY = Path(__file__).resolve().parent.parent
ERROR_QUEUE = "errors.camunda_tasks.queue"
_WORKER_QUEUES = {
    "bitrix24.queue",
    "openproject.queue",
    "1c.queue",
    "python-services.queue",
    "default.queue",
    "camunda.responses.queue",
    ERROR_QUEUE,
}
_WORKER_SECONDS = 30.0


def start_worker(run: Run, sandbox: Sandbox, *, log_folder: Path, status_port: int = 0) -> Child:
    """Starts main.py with nothing but its settings in the environment; returns when its queues are there."""
    environment = bare_environment(sandbox) | {"LOG_DIR": str(log_folder), "STATUS_PORT": str(status_port)}
    worker = run.start("worker", [sys.executable, str(REPOSITORY / "main.py")], environment)
    worker.wait_until(lambda: _queues(sandbox) >= _WORKER_QUEUES, seconds=_WORKER_SECONDS)
    return worker


def start_module(run: Run, sandbox: Sandbox, *, name: str, module: str) -> Child:
    """Starts a module of this repository that finds the sandbox in its environment."""
    environment = bare_environment(sandbox) | {"PYTHONPATH": str(REPOSITORY)}
    return run.start(name, [sys.executable, "-m", module], environment)


def bare_environment(sandbox: Sandbox, vhost: str = "/") -> dict[str, str]:
    """Returns what a program needs to find the sandbox; settings in the user's shell are for another worker."""
    return sandbox.environment(vhost) | {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8"}


def _queues(sandbox: Sandbox) -> set[str]:
    return set(sandbox.broker.api.queues("/"))
