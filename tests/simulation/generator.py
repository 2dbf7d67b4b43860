"""Plans from seeds: small worlds in which much happens at interesting moments."""

import random

from tests.simulation.faults import CALL_FAULTS
from tests.simulation.plan import Fault, Plan, Start, System

NAMES = ("bitrix24", "1c", "mail")
LOCKS = (10.0, 20.0, 40.0, 40.0, 60.0)
MOMENTS = (
    "begin",
    "fetchAndLock",
    "published",
    "taken",
    "answered",
    "extendLock",
    "failure",
    "complete",
    "delayed",
)
# Right after something, in the middle of what follows, about when a lease is extended, runs out, a lock ends.
DELAYS = (0.0, 0.0, 0.001, 0.003, 0.02, 0.3, 1.4, 1.6, 5.0, 20.0, 29.0, 31.0, 39.0, 41.0)
LENGTHS = (0.5, 3.0, 12.0, 12.0, 40.0)
CALLS = ("fetchAndLock", "extendLock", "failure", "complete", "query", "read", "lock", "topic-names")
OF_PROCESSES = ("kill", "kill", "restart", "freeze")
OF_SYSTEMS = ("queue deleted", "queue made anew", "queue full")
OF_ALL = ("engine down", "engine frozen", "broker down", "broker frozen", "memory alarm", "connections lost")
OF_TASKS = ("unlock", "cancel", "suspend", "set retries")


def plan_of(seed: int) -> Plan:
    """Return the plan that a seed stands for."""
    chance = random.Random(f"plan {seed}")
    names = NAMES[: chance.choice((1, 1, 2, 3))]
    processes = chance.choice((("both",),) * 6 + (("both", "both"), ("worker", "handler"), ("worker", "handler")))
    return Plan(
        systems=tuple(_system(name, chance) for name in names),
        starts=tuple(_start(names, chance) for _ in range(chance.choice((1, 1, 2, 3)))),
        faults=tuple(_fault(names, processes, chance) for _ in range(chance.choice((0, 1, 1, 2, 2, 3)))),
        seed=seed,
        processes=processes,
        lease="direct" if chance.random() < 0.1 else "two-step",
        max_tasks=chance.choice((1, 3, 10)),
        max_in_flight=chance.choice((2, 5) + (10_000,) * 8),
        high_water=chance.choice((4,) + (1_000,) * 9),
        prefetch=chance.choice((20, 100)),
        retries=chance.choice((0, 1, 1)),
        retry_pause=chance.choice((0.0, 1.0, 5.0, 20.0)),
        extend_after=chance.choice((0.0, 1.5, 1.5, 5.0)),
        broker_latency=chance.choice((0.0005, 0.0005, 0.0005, 0.05)),
    )


def _system(name: str, chance: random.Random) -> System:
    lock = chance.choice(LOCKS)
    return System(
        name=name,
        lock=lock,
        work=chance.choice((0.05, 0.05, 0.5, 2.0, 8.0, lock * 0.8, lock * 1.1)),
        answers=_answers(chance),
        twice=chance.random() < 0.1,
        down=_down(chance),
        heartbeat=lock / 3 if chance.random() < 0.15 else 0.0,
        afterthought=chance.choice((0.001, 0.3, 3.0)) if chance.random() < 0.1 else 0.0,
        prefetch=chance.choice((1, 10)),
        echoes_attempt=chance.random() < 0.6,
    )


def _answers(chance: random.Random) -> tuple[str, ...]:
    last = chance.choice(("complete",) * 6 + ("bpmn_error", "silence"))
    if chance.random() < 0.6:
        return (last,)
    others = (
        "failure 0",
        "failure 0",
        "failure 1",
        "failure 5",
        "failure 60",
        "silence",
        "reject",
        "requeue",
        "complete",
    )
    return (*(chance.choice(others) for _ in range(chance.choice((1, 2)))), last)


def _down(chance: random.Random) -> tuple[tuple[float, float], ...]:
    if chance.random() < 0.8:
        return ()
    begin = chance.choice((0.0, 3.0, 12.0))
    return ((begin, begin + chance.choice((5.0, 25.0, 60.0))),)


def _start(names: tuple[str, ...], chance: random.Random) -> Start:
    some = chance.sample(names, chance.randint(1, len(names)))
    if chance.random() < 0.2:
        some += some[:1]  # two branches for the same system
    return Start(chance.choice((0.5, 3.0, 3.0, 10.0)), tuple(some), chance.choice((1, 1, 2, 5)))


def _fault(names: tuple[str, ...], processes: tuple[str, ...], chance: random.Random) -> Fault:
    what = chance.choice(
        chance.choice((OF_PROCESSES, OF_SYSTEMS, OF_ALL, OF_ALL, OF_TASKS, CALL_FAULTS, CALL_FAULTS))
    )
    of = ""
    if what in OF_PROCESSES:
        of = str(chance.randrange(len(processes)))
    elif what in OF_SYSTEMS:
        of = chance.choice(names)
    elif what in CALL_FAULTS:
        of = chance.choice(("", "", "3 ")) + chance.choice(CALLS)
    lasts = chance.choice(LENGTHS)
    return Fault(what, of, chance.choice(MOMENTS), chance.choice((1, 1, 1, 2, 5)), chance.choice(DELAYS), lasts)
