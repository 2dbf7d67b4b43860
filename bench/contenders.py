"""Who takes part: our worker, bridges as one would write them in an hour, and the engine's ceiling."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from urllib.parse import quote

from bench import peer_builds
from sandbox.ports import free_ports
from sandbox.programs import REPOSITORY, bare_environment
from sandbox.sandbox import Sandbox

CEILING = "direct"
YARDSTICK = "go"
_PEER_MAX_TASKS = 100
_PEER_CONCURRENCY = 16
_PEER_LOCK_MS = 600_000  # as ours


class Kind(Enum):
    """How a contender is started, and where its messages go."""

    OURS = "main.py, with its settings in the environment"
    PEER = "one of bench/peers"
    DIRECT = "bench/direct.py: no messages"


@dataclass(frozen=True)
class Wiring:
    """Where tasks come from and where answers go; a named `exchange` is bound to the queues by `keys`."""

    task_queues: tuple[str, ...]
    answer_exchange: str
    answer_queue: str  # and the routing key of the answers
    exchange: str = ""
    keys: tuple[str, ...] = ()


@dataclass(frozen=True)
class Contender:
    """A program that carries tasks to the systems and answers back."""

    name: str
    kind: Kind
    max_tasks: int | None = None  # None: the default settings

    @property
    def is_ours(self) -> bool:
        """Whether it is the worker of this repository."""
        return self.kind is Kind.OURS

    def prepare(self) -> None:
        """Builds what has to be built once, while nothing is measured."""
        if self.kind is Kind.PEER:
            peer_builds.build(self.name)

    def command(self, sandbox: Sandbox, topics: Sequence[str]) -> tuple[str, ...]:
        """Returns the command that runs it in the foreground."""
        if self.kind is Kind.PEER:
            return peer_builds.build(self.name)
        if self.kind is Kind.OURS:
            return sys.executable, str(REPOSITORY / "main.py")
        direct = (sys.executable, "-m", "bench.direct")
        return *direct, "--url", sandbox.engine.url, "--topics", ",".join(topics)

    def environment(self, sandbox: Sandbox, vhost: str, topics: Sequence[str], logs: Path) -> dict[str, str]:
        """Returns the environment that it runs in, with nothing of the user's shell but PATH."""
        bare = bare_environment(sandbox, vhost)
        if self.kind is Kind.PEER:
            return bare | _peer_settings(sandbox, vhost, topics)
        if self.kind is Kind.DIRECT:
            return bare | {"PYTHONPATH": str(REPOSITORY)}
        # Metrics and status page are on, as in production: 0 would leave them out.
        routing = str(REPOSITORY / "bench" / "routing.toml")
        settings = {"LOG_DIR": str(logs), "STATUS_PORT": str(free_ports(1)[0]), "ROUTING_FILE": routing}
        return bare | settings | ({"CAMUNDA_MAX_TASKS": str(self.max_tasks)} if self.max_tasks else {})

    def wiring(self, topics: Sequence[str]) -> Wiring | None:
        """Returns where its messages go; None for one that has none."""
        if self.kind is Kind.DIRECT:
            return None
        if self.kind is Kind.OURS:
            systems = dict.fromkeys(topic.rpartition("_")[2] for topic in topics)  # see bench/routing.toml
            queues = tuple(f"{system}.queue" for system in systems)
            return Wiring(queues, "camunda.task.responses", "camunda.responses.queue")
        queues = tuple(f"peer.task.{topic}" for topic in topics)
        return Wiring(queues, "", "peer.responses", exchange="peer.tasks", keys=tuple(topics))


CONTENDERS = {
    contender.name: contender
    for contender in (
        Contender("worker", Kind.OURS, max_tasks=100),
        Contender("worker-10", Kind.OURS),
        *(Contender(name, Kind.PEER, max_tasks=_PEER_MAX_TASKS) for name in peer_builds.NAMES),
        Contender(CEILING, Kind.DIRECT),
    )
}


def in_turn(contenders: Sequence[Contender], round_number: int) -> list[Contender]:
    """Returns the contenders in the order of a round: each round another one begins."""
    first = (round_number - 1) % len(contenders)
    return [*contenders[first:], *contenders[:first]]


def _peer_settings(sandbox: Sandbox, vhost: str, topics: Sequence[str]) -> dict[str, str]:
    broker = sandbox.broker
    login = f"{broker.username}:{quote(broker.password, safe='')}"
    return {
        "AMQP_URL": f"amqp://{login}@{broker.host}:{broker.port}/{quote(vhost, safe='')}",
        "MAX_TASKS": str(_PEER_MAX_TASKS),
        "TOPICS": ",".join(topics),
        "LOCK_DURATION": str(_PEER_LOCK_MS),
        "CONCURRENCY": str(_PEER_CONCURRENCY),
    }
