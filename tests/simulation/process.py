"""One process of the worker: the real parts, built by the real builders, in simulated threads."""

from bridge.engine import CamundaClient
from bridge.process import Service, Shared
from bridge.process.daemon import STOP_SECONDS
from bridge.process.run import Builders
from bridge.process.shared import Outside
from bridge.retry_policy import RetryPolicy
from bridge.routing import System
from bridge.statistics import Statistics
from camunda_worker import worker_services
from config import RoutingConfig, Settings
from response_handler import handler_services
from tests.simulation.amqp import Node, SimulatedDoor
from tests.simulation.clockwork import Clockwork, Process, Thread
from tests.simulation.network import Network, SimulatedHttp
from tests.simulation.plan import Plan

BUILDERS = {
    "both": Builders(worker_services, handler_services),
    "worker": Builders(worker=worker_services),
    "handler": Builders(handler=handler_services),
}
OURS = "universal-worker"


class WorkerProcess:
    """A process that can be started, stopped in order, killed and frozen."""

    def __init__(
        self, name: str, kind: str, plan: Plan, clockwork: Clockwork, network: Network, node: Node
    ) -> None:
        self.name = name
        self.kind = kind
        self.shared: Shared | None = None
        self._services: list[Service] = []
        self._plan = plan
        self._clockwork = clockwork
        self._network = network
        self._node = node
        self._process = Process(name)
        self._door = SimulatedDoor(node, self._process)
        self._is_wanted = False

    @property
    def is_running(self) -> bool:
        return self.shared is not None and not self._process.is_dead

    @property
    def is_frozen(self) -> bool:
        return self._process.is_frozen

    @property
    def crash(self) -> BaseException | None:
        return self._process.crash

    def start(self) -> None:
        """Begin as `main.py` would; one that is being stopped is followed by the new one."""
        if self.is_running:
            self._is_wanted = True
            return
        self._is_wanted = False
        self._process = Process(self.name)
        self._door = SimulatedDoor(self._node, self._process)
        camunda = CamundaClient(SimulatedHttp(self._network), OURS)
        outside = Outside(camunda, self._door, routing_of(self._plan))
        builders = BUILDERS[self.kind]
        self.shared = builders.share(settings_of(self._plan), outside, Statistics())
        self._services = builders.services(self.shared)
        self._threads = [
            self._clockwork.spawn(self._process, service.run, service.name) for service in self._services
        ]

    def kill(self) -> None:
        """End it without a word, as `kill -9` does."""
        if self.is_running:
            self._process.kill()
            for connection in self._door.connections:  # type: ignore[attr-defined]
                connection.vanish()
            self.shared = None

    def stop(self) -> None:
        """End it in order, as SIGTERM does; what takes too long is killed."""
        if self.is_running:
            self._clockwork.spawn(self._process, self._stop, "MainThread")
            self._clockwork.after(STOP_SECONDS, self._give_up, self._process)

    def _stop(self) -> None:
        assert self.shared is not None
        self.shared.stopping.set()
        for service, thread in zip(self._services, self._threads, strict=True):
            service.stop()
            while not thread.dead:
                self._clockwork.sleep(0.05)
        process = self._process
        self._clockwork.after(0.0, self._give_up, process)

    def _give_up(self, process: Process) -> None:
        if self._process is process:
            self.kill()
            if self._is_wanted:
                self.start()

    def freeze(self) -> None:
        self._process.is_frozen = True

    def thaw(self) -> None:
        self._clockwork.thaw(self._process)

    def threads(self) -> list[Thread]:
        return self._process.threads


BASE = Settings.model_validate(
    {
        "camunda_base_url": "http://engine/engine-rest",
        "camunda_lease_duration": 30_000,
        "rabbitmq_username": "worker",
        "rabbitmq_password": "secret",
        "status_port": 0,
    }
)


def settings_of(plan: Plan) -> Settings:
    """Return the settings of a plan; what it does not name has the defaults of the product."""
    own = {
        "camunda_lease": plan.lease,
        "camunda_extend_after": int(plan.extend_after * 1000),
        "camunda_max_tasks": plan.max_tasks,
        "camunda_max_in_flight": plan.max_in_flight,
        "rabbitmq_queue_high_water": plan.high_water,
        "rabbitmq_prefetch": plan.prefetch,
        "camunda_retries": plan.retries,
        "camunda_retry_timeout": int(plan.retry_pause * 1000),
    }
    return BASE.model_copy(update=own)  # validating each anew would cost more than the world it is for


def routing_of(plan: Plan) -> RoutingConfig:
    """Return a routing with the plan's systems, each with the topics that begin with its name."""
    retry = RetryPolicy(plan.retries, (int(plan.retry_pause * 1000),))
    systems = [
        System(one.name, int(one.lock * 1000), patterns=(f"{one.name}_*",), retry=retry) for one in plan.systems
    ]
    return RoutingConfig(systems, System("default", 40_000, retry=retry))
