"""What can go wrong, and what an operator can do, by name. Each returns what ends it, None where nothing does."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from tests.simulation.network import Mishap
from tests.simulation.plan import Fault

if TYPE_CHECKING:
    from tests.simulation.engine import Task
    from tests.simulation.world import World

End = Callable[[], None] | None
CALL_FAULTS = ("lose", "reset", "refuse", "late", "gateway", "trouble")


def kill(world: "World", fault: Fault) -> End:
    process = world.processes[int(fault.of)]
    process.kill()
    return process.start


def restart(world: "World", fault: Fault) -> End:
    process = world.processes[int(fault.of)]
    process.stop()
    return process.start


def freeze(world: "World", fault: Fault) -> End:
    process = world.processes[int(fault.of)]
    process.freeze()
    return process.thaw


def engine_down(world: "World", _: Fault) -> End:
    world.network.go_down()
    return world.network.recover


def engine_frozen(world: "World", _: Fault) -> End:
    world.network.freeze()
    return world.network.recover


def broker_down(world: "World", _: Fault) -> End:
    world.node.go_down()
    for system in world.systems.values():
        system.disconnected()
    return world.node.recover


def broker_frozen(world: "World", _: Fault) -> End:
    world.node.freeze()
    return world.node.recover


def memory_alarm(world: "World", _: Fault) -> End:
    world.node.alarm()
    return world.node.recover


def connections_lost(world: "World", _: Fault) -> End:
    world.node.drop_all("connection reset by peer")
    return None


def queue_deleted(world: "World", fault: Fault) -> End:
    world.broker.delete_queue(f"{fault.of}.queue")
    return None


def queue_made_anew(world: "World", fault: Fault) -> End:
    """A partner deletes its queue and declares it again, as it is allowed to: without our binding."""
    world.broker.delete_queue(f"{fault.of}.queue")
    world.broker.declare_queue(f"{fault.of}.queue", {})
    return None


def queue_full(world: "World", fault: Fault) -> End:
    queue = world.broker.queues.get(f"{fault.of}.queue")
    if queue is None:
        return None
    queue.most = 0

    def relax() -> None:
        queue.most = None

    return relax


def spoil(world: "World", fault: Fault) -> End:
    """Spoil the next call of a kind; with a number before it (`3 complete`) the next few."""
    number, _, word = fault.of.rpartition(" ")
    world.network.spoil(Mishap(fault.what, word, int(number or 1), fault.lasts))
    return None


def unlock(world: "World", _: Fault) -> End:
    if task := _some_task(world):
        world.engine.unlock(task)
    return None


def cancel(world: "World", _: Fault) -> End:
    if task := _some_task(world):
        world.engine.cancel(task)
    return None


def suspend(world: "World", _: Fault) -> End:
    task = _some_task(world)
    if task is None:
        return None
    world.engine.suspend(task, is_suspended=True)
    return lambda: world.engine.suspend(task, is_suspended=False)


def set_retries(world: "World", _: Fault) -> End:
    if task := _some_task(world):
        world.auditor.touched(task)
        world.engine.set_retries(task, 2)
    return None


def _some_task(world: "World") -> "Task | None":
    return next(world.tasks(), None)


FAULTS: dict[str, Callable[["World", Fault], End]] = {
    "kill": kill,
    "restart": restart,
    "freeze": freeze,
    "engine down": engine_down,
    "engine frozen": engine_frozen,
    "broker down": broker_down,
    "broker frozen": broker_frozen,
    "memory alarm": memory_alarm,
    "connections lost": connections_lost,
    "queue deleted": queue_deleted,
    "queue made anew": queue_made_anew,
    "queue full": queue_full,
    **dict.fromkeys(CALL_FAULTS, spoil),
    "unlock": unlock,
    "cancel": cancel,
    "suspend": suspend,
    "set retries": set_retries,
}


def is_of_one_system(fault: Fault) -> bool:
    """Whether the others must not feel it."""
    return fault.what in (
        "queue deleted",
        "queue made anew",
        "queue full",
        "unlock",
        "cancel",
        "suspend",
        "set retries",
    )
