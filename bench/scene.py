"""Where one contender plays: its own topics and broker vhost, an echo, and nothing of it left afterwards."""

import secrets
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Self
from urllib.parse import quote

from bench.contenders import Contender, Kind, Wiring
from bench.echo import READY, Had, read_had
from bench.load import SYSTEMS, Load
from bench.processes import Meter
from bench.spending import Ledger
from sandbox.children import Child
from sandbox.programs import REPOSITORY, bare_environment
from sandbox.runs import Run
from sandbox.sandbox import Sandbox

_ECHO_SECONDS = 20.0
_STOP_SECONDS = 30.0
_SETTLE_SECONDS = 1.5
# The engine goes on with the long poll of a bridge that is gone, and each new task wakes it up.
_PARKED_SECONDS = {Kind.PEER: 11.0, Kind.OURS: 1.0, Kind.DIRECT: 1.0}


class Stage:
    """An engine and a broker on which the contenders play one after the other."""

    def __init__(self, sandbox: Sandbox, run: Run) -> None:
        """Takes a sandbox that runs; what is started for a scene belongs to `run`."""
        self.sandbox = sandbox
        self.run = run
        self._calm_at = 0.0

    def left_by(self, kind: Kind) -> None:
        """Notes that a bridge has just ended."""
        self._calm_at = time.monotonic() + _PARKED_SECONDS[kind]

    def wait_calm(self) -> None:
        """Waits until no long poll of an earlier bridge is left in the engine, and a moment more."""
        threading.Event().wait(max(_SETTLE_SECONDS, self._calm_at - time.monotonic()))

    def restart_engine(self) -> None:
        """Begins with a new engine, cold and empty. Only from the main thread."""
        self.sandbox.engine.kill()
        self.sandbox.engine.start()


@dataclass
class Bridge:
    """A contender that runs; `stop_seconds` is known once it does no more."""

    child: Child
    meter: Meter
    ledger: Ledger
    begun_at: float  # Unix time
    stop_seconds: float = 0.0


class Scene:
    """One run of one contender; only from the main thread."""

    def __init__(
        self, stage: Stage, contender: Contender, *, topics: int = len(SYSTEMS), leaves_load: bool = False
    ) -> None:
        """Prepares names; nothing is there before it is entered.

        `leaves_load`: its instances stay in the engine, where to delete them would take longer than all the rest.
        """
        self.stage = stage
        self.run_id = secrets.token_hex(4)
        self.load = Load(stage.sandbox.engine.url, self.run_id, stage.run.folder, topics)
        self._leaves_load = leaves_load
        self._contender = contender
        self._vhost = f"bench-{self.run_id}"
        self._had_file = stage.run.folder / f"echo-{self.run_id}.json"
        self._echo: Child | None = None
        self._exit_stack = ExitStack()

    def __enter__(self) -> Self:
        broker = self.stage.sandbox.broker
        with ExitStack() as exit_stack:
            broker.add_vhost(self._vhost)
            exit_stack.callback(broker.delete_vhost, self._vhost)
            if not self._leaves_load:
                exit_stack.callback(self.load.delete)
            self.load.deploy()
            if wiring := self._contender.wiring(self.load.topics):
                self._wire(wiring)
                self._echo = self._start_echo(wiring)
                exit_stack.callback(self._echo.kill)
                self._wait_echo(self._echo)
            self._exit_stack = exit_stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not KeyboardInterrupt:  # then all of the sandbox goes, and a backlog would take long to delete
            self._exit_stack.close()

    @contextmanager
    def bridge(self) -> Iterator[Bridge]:
        """Runs the contender while the block does, then stops it in order."""
        child = self._start_bridge()
        try:
            with Meter(child.pid) as meter:
                yield (bridge := Bridge(child, meter, self._ledger(child), begun_at=time.time()))
            asked_at = time.monotonic()
            child.stop(_STOP_SECONDS)
            bridge.stop_seconds = time.monotonic() - asked_at
        finally:
            child.kill()
            self.stage.left_by(self._contender.kind)

    def had(self) -> list[Had]:
        """Ends the echo and returns the messages that it had."""
        if self._echo is None:
            return []
        self._echo.stop(_STOP_SECONDS)
        return read_had(self._had_file)

    def _start_bridge(self) -> Child:
        sandbox, topics, run = self.stage.sandbox, self.load.topics, self.stage.run
        environment = self._contender.environment(sandbox, self._vhost, topics, run.folder / f"logs-{self.run_id}")
        return run.start(self._log_name(), self._contender.command(sandbox, topics), environment)

    def _log_name(self) -> str:
        return f"{self._contender.name}-{self.run_id}"

    def _ledger(self, bridge: Child) -> Ledger:
        sandbox = self.stage.sandbox
        return Ledger(
            bridge=bridge.pid,
            engine=sandbox.engine.pid,
            broker=sandbox.broker.pid,
            echo=self._echo.pid if self._echo else None,
        )

    def _wire(self, wiring: Wiring) -> None:
        """Declares the queues, as the worker would: so the echo waits for none, whoever plays."""
        api, vhost = self.stage.sandbox.broker.api, self._vhost
        for queue in (*wiring.task_queues, wiring.answer_queue):
            api.declare_queue(vhost, queue, {})
        if wiring.exchange:
            exchange = quote(wiring.exchange, safe="")
            api.request("PUT", f"/exchanges/{vhost}/{exchange}", {"type": "topic", "durable": True})
        for queue, key in zip(wiring.task_queues, wiring.keys, strict=False):  # ours binds its queue itself
            path = f"/bindings/{vhost}/e/{wiring.exchange}/q/{quote(queue, safe='')}"
            api.request("POST", path, {"routing_key": key})

    def _start_echo(self, wiring: Wiring) -> Child:
        command = ["-m", "bench.echo", *wiring.task_queues, "--run", self.run_id, "--file", str(self._had_file)]
        answers = ["--exchange", wiring.answer_exchange, "--key", wiring.answer_queue]
        environment = bare_environment(self.stage.sandbox, self._vhost) | {"PYTHONPATH": str(REPOSITORY)}
        return self.stage.run.start(self._echo_name(), [sys.executable, *command, *answers], environment)

    def _echo_name(self) -> str:
        return f"echo-{self.run_id}"

    def _wait_echo(self, echo: Child) -> None:
        log = self.stage.run.folder / f"{self._echo_name()}.log"
        echo.wait_until(lambda: READY in log.read_text(), seconds=_ECHO_SECONDS)
