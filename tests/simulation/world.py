"""One simulated world: made from a plan, run to its end, audited at every step."""

import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from loguru import logger

from bridge.broker import ERROR_QUEUE
from bridge.contract import RESPONSE_QUEUE
from bridge.leases import LeaseTable
from tests.simulation import faults
from tests.simulation.amqp import Node
from tests.simulation.auditor import ALARM_SECONDS, TIERS, Auditor, Broken
from tests.simulation.broker import Broker, Message
from tests.simulation.clockwork import BEGIN, Clockwork, installed
from tests.simulation.engine import Engine, Task
from tests.simulation.network import Network
from tests.simulation.plan import Fault, Plan, Start
from tests.simulation.process import WorkerProcess
from tests.simulation.systems import System

# No wait is shorter, so that idle loops cost little: threads may be late, and a story is short.
DULL_GRAIN, GRAIN = 0.25, 1.0
CALM_SECONDS = 3.0
LOOK_SECONDS = 2
Tell = Callable[[float, str], None]


@dataclass(frozen=True)
class Outcome:
    """What came of a world; times in simulated seconds."""

    broken: tuple[Broken, ...]
    steps: int
    seconds: float
    tasks: int


class World:
    """Engine, broker, systems and processes in one virtual time; `tell` hears all that happens, for a story."""

    def __init__(self, plan: Plan, tell: Tell | None = None) -> None:
        self.plan = plan
        self.chance = None if plan.seed is None else random.Random(plan.seed)
        self.clockwork = Clockwork(self.chance, GRAIN if self.chance else DULL_GRAIN)
        self._tell = tell
        self.auditor = Auditor(plan, self)
        self.engine = Engine(lambda: self.clockwork.now, self.auditor)
        self.network = Network(self.clockwork, self.engine, self.chance)
        self.network.on_effect = self.signal
        self.network.on_mishap = self.auditor.held_up
        self.network.tell = self.say if tell else None
        self.broker = Broker(self.clockwork, self._message)
        self.node = Node(self.clockwork, self.broker, self.chance, plan.broker_latency)
        self.node.on_publish = self.auditor.sent
        self.systems = {one.name: System(one, self.node, self._worked) for one in plan.systems}
        self.processes = [
            WorkerProcess(str(number), kind, plan, self.clockwork, self.network, self.node)
            for number, kind in enumerate(plan.processes)
        ]
        self._happened: Counter[str] = Counter()
        self._waiting: dict[tuple[str, int], list[Fault]] = {}
        self._faults_going_on = 0
        self._goes_on = False

    def run(self, *, goes_on: bool = False) -> Outcome:
        """Let everything happen; return at the first broken invariant unless it `goes_on`, or at the end."""
        self._goes_on = goes_on
        with installed(self.clockwork):
            random.seed(self.plan.seed or 0)
            try:
                self._begin()
                self._go_on_to_the_end()
            finally:
                for process in self.processes:
                    process.kill()
                self.clockwork.close()
        return Outcome(
            tuple(self.auditor.broken), self.clockwork.steps, self.clockwork.now - BEGIN, len(self.engine.tasks)
        )

    def _begin(self) -> None:
        for start in self.plan.starts:
            self.clockwork.at(BEGIN + start.at, self._start, start)
        for fault in self.plan.faults:
            self._waiting.setdefault((fault.when, fault.nth), []).append(fault)
        for process in self.processes:
            process.start()
        for system in self.systems.values():
            self.clockwork.after(0.02, system.begin)
        self.signal("begin")

    def _start(self, start: Start) -> None:
        for _ in range(start.count):
            self.engine.start([f"{name}_work" for name in start.systems])
        self.say(f"{start.count} instances start, with tasks for {', '.join(start.systems)}")

    def _go_on_to_the_end(self) -> None:
        last = BEGIN + self._horizon()
        second, calm_since = BEGIN, 0.0
        while second < last and (self._goes_on or not self.auditor.broken):
            second += 1.0
            while self.clockwork.step(second):
                if self.auditor.broken and not self._goes_on:
                    return
            if second % LOOK_SECONDS == 0:
                self.auditor.look()
            self._look_for_crashes()
            calm_since = (calm_since or second) if self._is_calm() else 0.0
            if calm_since and second - calm_since >= CALM_SECONDS:
                break
        self.auditor.finish()

    def _horizon(self) -> float:
        """Return after how many seconds everything should have ended, whatever the plan holds."""
        plan = self.plan
        longest_lock = max(system.lock for system in plan.systems)
        pauses = sum(float(a.split()[1]) for s in plan.systems for a in s.answers if a.startswith("failure"))
        away = [end for system in plan.systems for _, end in system.down]
        faults_end = sum(fault.after + fault.lasts for fault in plan.faults)
        slow = 330.0 * any(fault.what in ("suspend", "trouble") for fault in plan.faults)
        slow += 1000.0 * any(fault.what in ("lose", "late") and "complete" in fault.of for fault in plan.faults)
        attempts = plan.retries + 2 + max(len(system.answers) for system in plan.systems)
        tasks = sum(start.count * len(start.systems) for start in plan.starts)
        attempts *= 1 + tasks // min(plan.max_in_flight, plan.high_water)
        one_by_one = tasks * max(system.work / system.prefetch for system in plan.systems)
        begins = max(start.at for start in plan.starts)
        return (
            begins + max(away, default=0.0) + faults_end + slow + pauses
            + attempts * (longest_lock + plan.retry_pause + one_by_one + 15.0) + 60.0
        )  # fmt: skip

    def _is_calm(self) -> bool:
        if self._faults_going_on or self.clockwork.now < BEGIN + max(start.at for start in self.plan.starts):
            return False
        return all(task.retries == 0 for task in self.tasks())

    def _look_for_crashes(self) -> None:
        for process in self.processes:
            if process.crash is not None:
                self.auditor.crashed(process.name, process.crash)

    # --- what happens -----------------------------------------------------------------------------------------

    def say(self, text: str) -> None:
        if self._tell is not None:
            self._tell(self.clockwork.now - BEGIN, text)

    def signal(self, word: str) -> None:
        """Note that something happened, which a fault may wait for."""
        self._happened[word] += 1
        for fault in self._waiting.pop((word, self._happened[word]), ()):
            self._faults_going_on += 1
            self.clockwork.after(fault.after, self._begin_fault, fault)

    def _begin_fault(self, fault: Fault) -> None:
        self.say(f"FAULT: {fault.what} {fault.of}".rstrip())
        self.auditor.disturbed(everybody=not faults.is_of_one_system(fault))
        end = faults.FAULTS[fault.what](self, fault)
        self.clockwork.after(fault.lasts if end else 0.0, self._end_fault, fault, end)

    def _end_fault(self, fault: Fault, end: Callable[[], None] | None) -> None:
        if end is not None:
            self.say(f"OVER: {fault.what} {fault.of}".rstrip())
            end()
        self.auditor.disturbed(everybody=not faults.is_of_one_system(fault))
        self._faults_going_on -= 1

    def _message(self, word: str, queue: str, message: Message) -> None:
        self.auditor.message(word, queue, message)
        if word == "enqueued":
            self.signal(_event_of(queue))
        elif queue not in (RESPONSE_QUEUE, ERROR_QUEUE) and not queue.startswith(TIERS):
            self.signal(word)
        if self._tell is not None and message.task_id:
            self.say(f"{queue}: a message of {message.task_id} is {word}")

    def _worked(self, word: str, task_id: str, lock_end: float) -> None:
        self.auditor.worked(word, task_id, lock_end)
        self.signal(word)
        if self._tell is not None:
            self.say(f"the system of {task_id} {word} {task_id}")

    # --- what the auditor sees --------------------------------------------------------------------------------

    @property
    def now(self) -> float:
        return self.clockwork.now

    @property
    def calls(self) -> int:
        return self.network.calls

    @property
    def had_trouble(self) -> bool:
        return any(fault.what in ("trouble", "gateway") for fault in self.plan.faults)

    @property
    def runs(self) -> bool:
        """Whether somebody fetches and somebody answers, and engine and broker let them."""
        if not (self.node.is_well and self.network.is_well):
            return False
        running = {process.kind for process in self.processes if process.is_running and not process.is_frozen}
        return bool(running & {"both", "worker"}) and bool(running & {"both", "handler"})

    def tasks(self) -> Iterator[Task]:
        return self.engine.open_tasks()

    def task(self, task_id: str) -> Task:
        return self.engine.tasks[task_id]

    def find(self, task_id: str) -> Task | None:
        return self.engine.tasks.get(task_id)

    def system_of(self, task: Task) -> str:
        return task.topic.partition("_")[0]

    def works_until(self, task: Task) -> float:
        return self.systems[self.system_of(task)].works_until(task.id)

    def has_unsent(self, task: Task) -> bool:
        return self.systems[self.system_of(task)].has_unsent(task.id)

    def is_healthy(self, system: str) -> bool:
        """Whether the system takes what comes, and its queue is not full."""
        queue = self.broker.queues.get(f"{system}.queue")
        if queue is None or not self.systems[system].is_up or queue.most is not None:
            return False
        topic = f"{system}_work"
        held = sum(task.topic == topic and task.is_locked(self.now) for task in self.tasks())
        counted = [sum(lease.topic == topic for lease in table.all()) for _, table in self.tables()]
        return len(queue.ready) < self.plan.high_water // 2 and max(held, *counted, 0) < self.plan.max_in_flight

    def echoes(self, task: Task) -> bool:
        return self.systems[self.system_of(task)].plan.echoes_attempt

    def outlasts_lock(self, task: Task) -> bool:
        """Whether its system works for longer than the lock that it has."""
        plan = self.systems[self.system_of(task)].plan
        return plan.work > plan.lock

    def says_twice(self, task: Task) -> bool:
        return self.systems[self.system_of(task)].plan.twice

    def answered(self, task: Task) -> bool:
        kind = {"completed": "complete"}.get(task.end, task.end)
        return self.systems[self.system_of(task)].answers[task.id][kind] > 0

    def is_set_aside(self, task_id: str) -> bool:
        queue = self.broker.queues.get(ERROR_QUEUE)
        return queue is not None and any(message.task_id == task_id for message in queue.ready)

    def is_listened_to(self, queue: str) -> bool:
        if queue == RESPONSE_QUEUE:
            return any(p.is_running and p.kind != "worker" for p in self.processes)
        system = self.systems.get(queue.removesuffix(".queue"))
        return system is not None and system.is_up and self.now - system.up_since > ALARM_SECONDS

    def tables(self) -> Iterator[tuple[str, LeaseTable]]:
        for process in self.processes:
            if process.shared is not None and process.kind != "handler":
                yield process.name, process.shared.leases


def _event_of(queue: str) -> str:
    """Return what it is called that a queue gets a message."""
    if queue == RESPONSE_QUEUE:
        return "answered"
    if queue == ERROR_QUEUE:
        return "set aside"
    return "delayed" if queue.startswith(TIERS) else "published"


class Ear:
    """The one sink of the worker's log, for whichever world runs: one for each would cost more than the world."""

    def __init__(self) -> None:
        self.world: World | None = None
        self._level = ""

    def listen(self, world: World, level: str) -> None:
        self.world = world
        if level != self._level:
            self._level = level
            logger.remove()
            logger.add(self._hear, format="{message}", level=level, catch=False, diagnose=False)

    def _hear(self, line: str) -> None:
        if self.world is not None:
            text = line.rstrip("\n")
            self.world.auditor.logged(text)
            self.world.say(f"    log: {text}")


_ear = Ear()


def run(plan: Plan, tell: Tell | None = None, *, goes_on: bool = False) -> Outcome:
    """Run the world of a plan, to its end where it `goes_on`; with `tell` also the worker's own log is told."""
    world = World(plan, tell)
    _ear.listen(world, "INFO" if tell else "WARNING")
    try:
        return world.run(goes_on=goes_on)
    finally:
        _ear.world = None
