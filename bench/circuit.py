"""The whole path without a real engine: a stand-in for it, a broker, workers, and the echo as their systems."""

import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

import requests

from bench.echo import read_had
from bench.processes import Meter
from bench.stand_in import Batch, StandIn
from sandbox.broker import Broker, TlsFiles
from sandbox.children import Child
from sandbox.errors import SandboxError
from sandbox.ports import LOOPBACK, free_ports
from sandbox.runs import Run, clean_abandoned_runs

QUEUES = ("bitrix24.queue", "openproject.queue", "1c.queue", "python-services.queue")
TOPICS = ("bitrix_create_task", "op_create_project", "1c_sync_data", "send_email")  # one for each of the queues
HELD_TOPIC, HOLDING_QUEUE = "held", "default.queue"
_REPOSITORY = Path(__file__).resolve().parent.parent
_ANSWERS = ("--exchange", "camunda.task.responses", "--key", "camunda.responses.queue")
_READY_SECONDS = 30.0
_LOOK_SECONDS = 0.1
_EMPTY_SECONDS = 15.0


class Servers:
    """The stand-in and a broker; they stay while workers come and go."""

    def __init__(self, run: Run, tls: TlsFiles | None = None) -> None:
        """Prepares both; what else is started beside them belongs to `run` too."""
        self.run = run
        self.broker = Broker(run, tls=tls)
        self.stand_in = StandIn(run)

    def start(self) -> Self:
        """Starts both. Only from the main thread."""
        clean_abandoned_runs()
        self.stand_in.start()
        self.broker.start()
        return self

    def environment(self) -> dict[str, str]:
        """Returns where everything is, and nothing of the user's shell but PATH."""
        return {
            "CAMUNDA_BASE_URL": self.stand_in.url,
            "RABBITMQ_HOST": self.broker.host,
            "RABBITMQ_PORT": str(self.broker.port),
            "RABBITMQ_USERNAME": self.broker.username,
            "RABBITMQ_PASSWORD": self.broker.password,
            "PATH": os.environ.get("PATH", os.defpath),
            "LANG": "C.UTF-8",
        }


class Circuit:
    """Workers and the echo, for one measurement; leaving it kills them and forgets all tasks."""

    def __init__(
        self,
        servers: Servers,
        settings: Mapping[str, str],
        *,
        workers: int = 1,
        program: Sequence[str] = (str(_REPOSITORY / "main.py"),),
        holds: bool = False,
        stall_seconds: float = 40.0,
    ) -> None:
        """Takes the workers' settings and how Python starts them.

        With `holds` one system takes tasks and never answers. Where nothing moves for `stall_seconds`, nothing
        more is waited for.
        """
        self.servers = servers
        self._settings = settings
        self._program = program
        self._status_ports = free_ports(workers)
        self._holds = holds
        self._stall_seconds = stall_seconds
        self._children: list[Child] = []
        self._had = servers.run.folder / "echo.json"

    def __enter__(self) -> Self:
        """Starts the processes. Only from the main thread."""
        self.echo = self._start_echo("echo", *QUEUES, *_ANSWERS, "--file", str(self._had))
        if self._holds:
            unread = self.servers.run.folder / "holder.json"
            self._start_echo("holder", HOLDING_QUEUE, "--hold", "--file", str(unread))
        self.workers = [self._start_worker(port) for port in self._status_ports]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for child in self._children:
            child.kill()  # nothing in them is worth an orderly stop
        self.servers.stand_in.reset()  # ends the polls that they leave behind, too
        self._had.unlink(missing_ok=True)
        if self._holds:
            self.servers.broker.api.delete_queue("/", HOLDING_QUEUE)  # with all that was held

    def _start_worker(self, status_port: int) -> Child:
        name = f"worker-{status_port}"
        # Metrics and status page are on, as in production: port 0 would leave them out.
        own = {"LOG_DIR": str(self.servers.run.folder / name), "STATUS_PORT": str(status_port)}
        return self._start(name, self._program, {**own, **self._settings})

    def _start_echo(self, name: str, *arguments: str) -> Child:
        return self._start(name, ["-m", "bench.echo", *arguments], {"PYTHONPATH": str(_REPOSITORY)})

    def _start(self, name: str, arguments: Sequence[str], environment: Mapping[str, str]) -> Child:
        whole = {**self.servers.environment(), **environment}
        child = self.servers.run.start(name, [sys.executable, *arguments], whole)
        self._children.append(child)
        return child

    def wait_ready(self) -> None:
        """Waits until each worker says that its work can flow."""
        for worker, port in zip(self.workers, self._status_ports, strict=True):
            worker.wait_until(partial(_is_ready, port), seconds=_READY_SECONDS)

    def peak_mb(self) -> float:
        """Returns the most memory that each worker had so far, summed up."""
        return sum(Meter(worker.pid).peak_mb for worker in self.workers)

    def wait(self, number: int, so_far: Callable[[Batch], bool], *, look_seconds: float = _LOOK_SECONDS) -> Batch:
        """Waits until a batch is so far, or until nothing moves any more, and returns it as it is."""
        pause = threading.Event()
        batch, moved_at = self.servers.stand_in.batch(number), time.monotonic()
        while not so_far(batch) and time.monotonic() - moved_at < self._stall_seconds:
            self._check_running()
            pause.wait(look_seconds)
            before, batch = batch, self.servers.stand_in.batch(number)
            moved_at = moved_at if batch == before else time.monotonic()
        return batch

    def _check_running(self) -> None:
        for child in self._children:
            if not child.running():
                child.wait_until(lambda: False, seconds=0)  # raises, with the end of its log

    def came_again(self) -> int:
        """Ends the echo once it has had everything; returns how many messages were of a task it had before."""
        self._wait_queues_empty()
        self.echo.stop()
        tasks = Counter(had.task_id for had in read_had(self._had))
        return tasks.total() - len(tasks)

    def _wait_queues_empty(self) -> None:
        """Waits for the last acknowledgements; what would be left is delivered to the next measurement."""
        pause = threading.Event()
        deadline = time.monotonic() + _EMPTY_SECONDS
        while filled := self._filled_queues():
            if time.monotonic() > deadline:
                raise SandboxError(f"messages were left in {', '.join(filled)}")
            pause.wait(_LOOK_SECONDS)

    def _filled_queues(self) -> list[str]:
        queues = self.servers.broker.api.queues("/").values()
        return [queue.name for queue in queues if queue.ready + queue.unacked and queue.name != HOLDING_QUEUE]


def _is_ready(status_port: int) -> bool:
    with requests.Session() as session:
        session.trust_env = False  # a proxy has no business on the loopback interface
        try:
            return session.get(f"http://{LOOPBACK}:{status_port}/readyz", timeout=5).ok
        except requests.RequestException:
            return False
