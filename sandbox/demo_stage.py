"""The demo's stage: a sandbox, the worker as a user starts it, and a sample system for each queue."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sandbox.children import Child
from sandbox.demo_observer import Observer
from sandbox.demo_samples import SYSTEMS
from sandbox.engine_build import engine_jar
from sandbox.runs import Run
from sandbox.sandbox import PROCESS_FILES, Sandbox

_REPOSITORY = Path(__file__).resolve().parent.parent
LOG_FOLDER = _REPOSITORY / "logs" / "demo"
ERROR_QUEUE = "errors.camunda_tasks.queue"
_ALL_QUEUES = {"camunda.responses.queue", ERROR_QUEUE, *(system.queue for system in SYSTEMS)}
_WORKER_SECONDS = 30.0


@dataclass(frozen=True)
class Stage:
    """All that the demo looks at while it plays."""

    sandbox: Sandbox
    worker: Child
    observer: Observer


@contextmanager
def stage() -> Iterator[Stage]:
    """Sets the stage, saying each step; whatever ends the block clears it. Only from the main thread."""
    engine_jar()  # it says so when it has to build first
    say("starting an engine (Camunda 7) and a broker (RabbitMQ), about 15 s")
    with Sandbox() as sandbox, Run() as run:
        say(f"deploying {len(PROCESS_FILES)} processes, one sample system to each of {len(SYSTEMS)} queues")
        sandbox.engine_api().deploy(PROCESS_FILES)
        _start_systems(run, sandbox)
        say(f"starting the worker: python main.py, logs in {LOG_FOLDER.relative_to(_REPOSITORY)}")
        worker = start_worker(run, sandbox, log_folder=LOG_FOLDER)
        with Observer(sandbox.broker) as observer:
            yield Stage(sandbox, worker, observer)


def start_worker(run: Run, sandbox: Sandbox, *, log_folder: Path) -> Child:
    """Starts main.py with nothing but its settings in the environment; returns when its queues are there."""
    environment = _bare(sandbox) | {"LOG_DIR": str(log_folder)}
    worker = run.start("worker", [sys.executable, str(_REPOSITORY / "main.py")], environment)
    worker.wait_until(lambda: _ALL_QUEUES <= sandbox.broker.api.queues("/").keys(), seconds=_WORKER_SECONDS)
    return worker


def start_python(run: Run, sandbox: Sandbox, *, name: str, module: str) -> Child:
    """Starts a module of this repository that finds the sandbox in its environment."""
    environment = _bare(sandbox) | {"PYTHONPATH": str(_REPOSITORY)}
    return run.start(name, [sys.executable, "-m", module], environment)


def say(text: str) -> None:
    """Tells the user a step of the set-up."""
    print(f"demo: {text}", flush=True)


def _start_systems(run: Run, sandbox: Sandbox) -> None:
    for system in SYSTEMS:
        start_python(run, sandbox, name=system.name, module=f"sandbox.systems.{system.module}")


def _bare(sandbox: Sandbox) -> dict[str, str]:
    # Settings that the user keeps in the shell are for another worker.
    return sandbox.environment() | {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8"}
