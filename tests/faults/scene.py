"""Where one fault happens: a fresh vhost, a fresh process, the worker under test, and those who watch."""

import os
import random
import secrets
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import pika

from sandbox.engine_api import EngineApi
from sandbox.sandbox import Sandbox
from sandbox.toxiproxy import Proxy
from tests.faults import checks
from tests.faults.figures import Figures
from tests.faults.lock_watch import LockWatch
from tests.faults.metrics_page import MetricsPage
from tests.faults.observer import Message, Observer
from tests.faults.process import deploy
from tests.faults.recorder import Recorder
from tests.faults.starter import Starter
from tests.faults.worker import Worker

SYSTEM = "bitrix24"
QUEUE = f"{SYSTEM}.queue"
OTHER_QUEUE = "openproject.queue"
PATIENCE_SECONDS = 120.0
POLL_SECONDS = 0.1
LOCK_MS = 600_000


@dataclass(frozen=True, slots=True)
class Scale:
    """How long a fault lasts and how many tasks it must carry through."""

    tasks: int = 1000
    lease_ms: int = 60_000
    freeze_seconds: float = 75.0
    engine_down_seconds: float = 600.0
    partition_seconds: float = 40.0
    alarm_seconds: float = 30.0
    refused_seconds: float = 75.0  # three logins of which the last is spaced 60 s from the first
    worker_frozen_seconds: float = 120.0
    engine_silent_seconds: float = 60.0
    tiers_ms: str = "5000,30000,300000"
    kills: int = 5
    calm_tasks: int = 20_000
    gateway_seconds: float = 360.0
    idle_seconds: float = 60.0
    system_lock_ms: int = 100_000
    rounds: int = 5
    branched: int = 5000
    flood: int = 100_000
    huge_bodies: int = 20

    @property
    def lease_seconds(self) -> float:
        """The lease that the worker is told to use."""
        return self.lease_ms / 1000


FULL = Scale()
QUICK = Scale(
    lease_ms=30_000,
    freeze_seconds=26.0,
    engine_down_seconds=15.0,
    partition_seconds=18.0,
    alarm_seconds=12.0,
    refused_seconds=23.0,
    worker_frozen_seconds=36.0,
    engine_silent_seconds=36.0,
    tiers_ms="500,2000,4000",
    kills=1,
    calm_tasks=3000,
    gateway_seconds=40.0,
    idle_seconds=10.0,
    system_lock_ms=36_000,
    rounds=2,
    branched=1000,
    flood=4000,
    huge_bodies=4,
)


@dataclass(frozen=True, slots=True)
class Kept:
    """The folders in which a fault leaves its workers' logs and recorded metrics; none: it leaves none."""

    logs: Path | None = None
    metrics: Path | None = None


KEPT_NOTHING = Kept()


class Late(AssertionError):
    """What a fault waited for did not come in time."""


class Scene:
    """All that a fault function needs; leaving it ends the worker and the watchers."""

    def __init__(
        self, sandbox: Sandbox, scale: Scale, figures: Figures, *, sabotage: str = "", kept: Kept = KEPT_NOTHING
    ) -> None:
        self.sandbox = sandbox
        self.engine = sandbox.engine
        self.broker = sandbox.broker
        self.scale = scale
        self.figures = figures
        self.random = random.Random(figures.seed)
        self.name = f"f{figures.number:02}-{secrets.token_hex(3)}"
        self.key = self.name.replace("-", "_")
        self.topics = [f"bitrix_{self.key}"]
        self.worker_id = f"worker-{self.name}"
        self.api = sandbox.engine_api()
        self.total = scale.tasks
        self.may_be_dead_letters = 0
        self.secrets = [sandbox.broker.password]
        self.may_be_cancelled = 0
        self._kept = kept
        self._sabotage = sabotage
        self._workers: list[Worker] = []
        self._exit_stack = ExitStack()
        self.folder = sandbox.folder / self.name

    def __enter__(self) -> Self:
        self.folder.mkdir()
        self.broker.add_vhost(self.name)
        deploy(self.api, self.key)
        with ExitStack() as exit_stack:
            exit_stack.callback(self._clean_up)
            self.observer = exit_stack.enter_context(Observer(self.broker, self.name, [QUEUE]))
            watch = LockWatch(self.sandbox.engine_api(), self.definition_id, self.scale.lease_seconds)
            self.watch = exit_stack.enter_context(watch)
            self._exit_stack = exit_stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exit_stack.close()

    def _clean_up(self) -> None:
        for worker in self._workers:
            worker.kill()
            if self._kept.logs is not None and worker.log.exists():
                self._kept.logs.mkdir(parents=True, exist_ok=True)
                shutil.copy(worker.log, self._kept.logs / f"{self.name}-{worker.name}.log")
        self.broker.delete_vhost(self.name)

    # --- those who act

    def worker(self, name: str = "worker", *, part: str = "main", kill_at: str = "", **settings: str) -> Worker:
        """Start a worker process with these settings on top of the usual ones, and return it."""
        usual = {
            **self.sandbox.environment(self.name),
            "CAMUNDA_WORKER_ID": self.worker_id,
            "CAMUNDA_TOPICS_INCLUDE": f"*_{self.key}",
            "CAMUNDA_LEASE_DURATION": str(self.scale.lease_ms),
            "CAMUNDA_LOCK_DURATION": str(LOCK_MS),
        }
        spoilt = {name: settings.pop(name) for name in [*settings] if name.startswith("FAULT_")}
        if self._sabotage:
            spoilt["FAULT_SABOTAGE"] = self._sabotage
        if kill_at:
            spoilt |= {"FAULT_KILL_AT": kill_at, "FAULT_TRIGGER": str(self.trigger)}
        if self._kept.metrics is not None and "STATUS_PORT" not in settings:
            settings |= self._recorded(name, self._kept.metrics)
        worker = Worker(self.folder, name, {**usual, **settings}, part=part, spoilt=spoilt)
        self._workers.append(worker)
        worker.start()
        return worker

    def _recorded(self, name: str, folder: Path) -> dict[str, str]:
        """Record the page of a worker to come, and return the setting that makes it serve one."""
        page = MetricsPage.free()
        file = folder / f"{self.name}-{name}.jsonl"
        self._exit_stack.enter_context(Recorder(page, file, self.figures.name))
        return page.setting

    def proxy(self, target_port: int | None = None) -> Proxy:
        """Start a proxy before the broker, or another port, for a worker that is given its port."""
        return self._exit_stack.enter_context(Proxy(self.folder, target_port or self.broker.port))

    def use(self, deploy_other: Callable[[EngineApi, str], None]) -> None:
        """Let the instances run through another process from now on."""
        deploy_other(self.api, self.key)
        self.watch.look_at(self.definition_id)

    @property
    def definition_id(self) -> str:
        """The newest version of the process."""
        return str(self.api.request("GET", f"/process-definition/key/{self.key}")["id"])

    def add_system(self) -> str:
        """Let every second task be for another system, which is served too, and return its topic."""
        self.topics.append(f"openproject_{self.key}")
        self.observer.serve(OTHER_QUEUE)
        return self.topics[-1]

    @property
    def trigger(self) -> Path:
        """The file that makes a worker with a kill point die there."""
        return self.folder / "trigger"

    @contextmanager
    def load(
        self, total: int | None = None, *, per_second: float | None = None, topics: Sequence[str] = ()
    ) -> Iterator[Starter]:
        """Start instances in the background while the block runs, and all of them before it ends."""
        api, total, topics = self.sandbox.engine_api(), total or self.total, topics or self.topics
        with Starter(api, self.key, total, topics=topics, per_second=per_second) as starter:
            yield starter
            starter.wait()

    def connect(self, user: str = "", password: str = "") -> pika.BlockingConnection:
        """Return a connection of the test's own to the scene's vhost."""
        login = pika.PlainCredentials(user or self.broker.username, password or self.broker.password)
        return pika.BlockingConnection(
            pika.ConnectionParameters(self.broker.host, self.broker.port, self.name, login, heartbeat=0)
        )

    # --- waiting

    def until(self, is_so: Callable[[], bool], what: str, seconds: float = PATIENCE_SECONDS) -> float:
        """Wait until something is so and return the seconds it took; raise Late after `seconds`."""
        begun = time.monotonic()
        while not is_so():
            if time.monotonic() - begun > seconds:
                raise Late(f"{what}: not within {seconds:.0f} s")
            time.sleep(POLL_SECONDS)
        return time.monotonic() - begun

    def until_seen(self, tasks: int, seconds: float = PATIENCE_SECONDS) -> None:
        """Wait until the systems have seen that many different tasks."""
        self.until(lambda: self.observer.tasks_seen >= tasks, f"{tasks} tasks in the queues", seconds)

    def strikes(self, count: int | None = None) -> Iterator[int]:
        """Yield a few times while the tasks flow; as often as the scale says, or `count` times."""
        count = count or self.scale.kills
        for number in range(count):
            self.until_seen(self.total * (2 * number + 1) // (2 * count + 1))
            yield number

    def pause(self, seconds: float) -> None:
        """Let time pass: the length of a fault."""
        time.sleep(seconds)

    def pause_at_risk(self, seconds: float) -> None:
        """Let time pass and note meanwhile which tasks may come twice."""
        ends = time.monotonic() + seconds
        self.watch.note_risk()
        while time.monotonic() < ends:
            time.sleep(0.5)
            self.watch.note_risk()

    def at_risk_while(self, act: Callable[[], None]) -> None:
        """Do something that takes its time, and note meanwhile which tasks may come twice."""
        with ThreadPoolExecutor(1) as pool:
            acting = pool.submit(act)
            while not acting.done():
                self.pause_at_risk(0.0)
                time.sleep(0.2)
            acting.result()

    def freeze(self, pid: int, seconds: float) -> None:
        """Stop the clock of a process for that long."""
        os.kill(pid, signal.SIGSTOP)
        try:
            self.pause(seconds)  # whoever looks at the engine's locks now may wait for it
        finally:
            os.kill(pid, signal.SIGCONT)

    def note_recovery(self, since: float, *, count_repeats: bool, queue: str = "") -> None:
        """Note how long after `since` (Unix seconds) the first message was published; call it where work waits."""
        first = self.until_published(since, count_repeats=count_repeats, queue=queue)
        self.figures.recovery_seconds.append(first - since)

    def until_published(self, since: float, *, count_repeats: bool = False, queue: str = "") -> float:
        """Wait for the first message after `since` and return when it came, both in Unix seconds.

        A message that is published again was made before `since`, and so was one that a frozen broker had taken
        already: where the latter may come, repeats do not count.
        """

        def published() -> list[Message]:
            late = [m for m in self.observer.messages[:] if m.seen_at >= since and queue in ("", m.queue)]
            return [m for m in late if m.created_at >= since or (count_repeats and not m.redelivered)]

        self.until(lambda: bool(published()), "a message after the fault")
        return published()[0].seen_at

    def until_settled(self, seconds: float = PATIENCE_SECONDS) -> None:
        """Wait until all is done; that it is not, is a problem in the figures."""
        try:
            self.until(lambda: checks.is_all_done(self), "all instances ended and all queues empty", seconds)
        except Late as error:
            self.figures.problems.append(str(error))

    def finish(self, seconds: float = PATIENCE_SECONDS) -> None:
        """Wait until all is done, then stop the workers and check every invariant."""
        self.until_settled(seconds)
        for worker in self._workers:
            if worker.running():
                worker.stop()
            elif worker.is_wanted:
                self.figures.problems.append(f"I7: {worker.name} ended by itself, see its log")
        checks.check_all(self, self._workers)
