"""What happens in one simulated world, as data: read it as a story, shrink it, keep it as a test."""

from dataclasses import dataclass


@dataclass(frozen=True)
class System:
    """An outside system, whose topics begin with its name.

    `answers`: what it does with the first, second ... attempt of a task, the last one for ever after: `complete`,
    `bpmn_error`, `failure PAUSE` (seconds), `silence`, `reject`, `requeue`, `invalid`. `twice`: it says all twice.
    `down`: from when to when it is away, in seconds from the begin. `heartbeat`: seconds between signs of life.
    `afterthought`: it sends one more sign of life so many seconds after each answer, 0: not.
    """

    name: str
    lock: float = 40.0
    work: float = 0.1
    answers: tuple[str, ...] = ("complete",)
    twice: bool = False
    down: tuple[tuple[float, float], ...] = ()
    heartbeat: float = 0.0
    afterthought: float = 0.0
    prefetch: int = 10
    echoes_attempt: bool = True


@dataclass(frozen=True)
class Start:
    """`count` instances are started, each with a task for each of these systems, side by side."""

    at: float
    systems: tuple[str, ...]
    count: int = 1


@dataclass(frozen=True)
class Fault:
    """Something goes wrong, or somebody interferes: `after` seconds after the `nth` time that `when` happened.

    `what` is a word of `faults.FAULTS`, `of` says to whom: a process, a system, a call. `lasts`: until it is over.
    """

    what: str
    of: str = ""
    when: str = "begin"
    nth: int = 1
    after: float = 0.0
    lasts: float = 10.0


@dataclass(frozen=True)
class Plan:
    """A whole world. `seed` decides what the plan leaves open (latencies, who is first); None: the dullest."""

    systems: tuple[System, ...]
    starts: tuple[Start, ...]
    faults: tuple[Fault, ...] = ()
    seed: int | None = None
    processes: tuple[str, ...] = ("both",)
    lease: str = "two-step"
    max_tasks: int = 10
    max_in_flight: int = 10_000
    high_water: int = 1_000
    prefetch: int = 100
    retries: int = 1
    retry_pause: float = 5.0
    extend_after: float = 1.5
    broker_latency: float = 0.0005
