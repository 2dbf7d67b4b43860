"""The demo's stage: a sandbox, the worker as a user starts it, and a sample system for each queue."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sandbox.children import Child
from sandbox.demo_observer import Observer
from sandbox.demo_samples import SYSTEMS
from sandbox.engine_build import engine_jar
from sandbox.ports import LOOPBACK, free_ports
from sandbox.programs import REPOSITORY, start_module, start_worker
from sandbox.runs import Run
from sandbox.sandbox import PROCESS_FILES, Sandbox

LOG_FOLDER = REPOSITORY / "logs" / "demo"


@dataclass(frozen=True)
class Stage:
    """All that the demo looks at while it plays."""

    sandbox: Sandbox
    worker: Child
    observer: Observer
    status_url: str


@contextmanager
def set_stage() -> Iterator[Stage]:
    """Sets the stage, saying each step; whatever ends the block clears it. Only from the main thread."""
    engine_jar()  # it says so when it has to build first
    say("starting an engine (Camunda 7) and a broker (RabbitMQ), about 15 s")
    with Sandbox() as sandbox, Run() as run:
        say(
            f"deploying {len(PROCESS_FILES)} processes, starting a sample system for each of {len(SYSTEMS)} queues"
        )
        sandbox.engine_api().deploy(PROCESS_FILES)
        _start_systems(run, sandbox)
        status_port = free_ports(1)[0]
        worker = _start_worker(run, sandbox, status_port)
        status_url = f"http://{LOOPBACK}:{status_port}/"
        say(f"the worker's status page: {status_url}")
        with Observer(sandbox.broker) as observer:
            yield Stage(sandbox, worker, observer, status_url)


def say(text: str) -> None:
    """Tells the user a step."""
    print(f"demo: {text}", flush=True)


def _start_systems(run: Run, sandbox: Sandbox) -> None:
    for system in SYSTEMS:
        start_module(run, sandbox, name=system.name, module=f"sandbox.systems.{system.module}")


def _start_worker(run: Run, sandbox: Sandbox, status_port: int) -> Child:
    say(f"starting the worker: python main.py, logs in {LOG_FOLDER.relative_to(REPOSITORY)}")
    if (REPOSITORY / ".env").exists():
        say("note: the worker reads your .env as well, for what the sandbox does not set")
    return start_worker(run, sandbox, log_folder=LOG_FOLDER, status_port=status_port)
