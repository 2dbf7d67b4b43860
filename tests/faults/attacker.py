"""A system that attacks: it answers for another, forges a name, reads what is not its own, and floods."""

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pika
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import ChannelClosedByBroker

from config import RoutingConfig
from sandbox.ports import LOOPBACK
from tests.faults import dead_letters, flood
from tests.faults.observer import Message
from tests.faults.scene import QUEUE, SYSTEM, Scene
from tests.faults.worker import ROOT
from tools.lib.permissions import rights_of_systems

ATTACKER = "attacker"
HALF = 0.5
MOST_MEMORY_KB = 250_000
FLOOD_SECONDS = 600.0


def attacks(scene: Scene) -> None:
    """A system that answers for others, forges names, floods the answers and sends huge bodies."""
    settings = lets_in(scene)
    worker = scene.worker(**settings)
    share = scene.total // 2
    calm = pace(scene, share)
    check_refusals(scene)
    with flooded(scene, victim(scene)):
        attacked = pace(scene, scene.total - share - 1)
    count = scene.scale.flood + scene.scale.huge_bodies
    seconds = scene.until(lambda: dead_letters.count(scene) >= count, "all bad answers set aside", FLOOD_SECONDS)
    most_memory = worker.peak_memory_kb()
    scene.figures.notes += [
        f"{scene.scale.flood} bad answers and {scene.scale.huge_bodies} of {flood.HUGE_BYTES // 1_000_000} MB",
        f"{calm:.0f} tasks/s in calm, {attacked:.0f} under attack: {attacked / calm:.2f}",
        f"all set aside {seconds:.0f} s later; the worker's memory: {most_memory // 1024} MB",
    ]
    if attacked < HALF * calm:
        scene.figures.problems.append(f"the others had {attacked / calm:.2f} of their pace")
    if most_memory > MOST_MEMORY_KB:
        scene.figures.problems.append(f"the worker's memory rose to {most_memory // 1024} MB")
    dead_letters.expect_many(scene, Counter(flood.reasons(scene.scale.flood, scene.scale.huge_bodies)))
    scene.observer.release()
    scene.finish()


def victim(scene: Scene) -> Message:
    """Return a task that its own system has not answered yet, and does not until the end."""
    scene.observer.hold()
    seen = scene.observer.tasks_seen
    with scene.load(1):
        pass
    scene.until_seen(seen + 1)
    message = scene.observer.messages[-1]
    scene.observer.release(lambda task_id: task_id != message.task_id)
    return message


def lets_in(scene: Scene) -> dict[str, str]:
    """Give the attacker the rights of the system `1c`, and return the settings that hold it to them."""
    routing = scene.folder / "routing.toml"
    routing.write_text(
        f'[systems.{SYSTEM}]\npatterns = ["bitrix_*"]\nusers = ["{scene.broker.username}"]\n'
        f'[systems.1c]\npatterns = ["1c_*"]\nusers = ["{ATTACKER}"]\n',
        encoding="utf-8",
    )
    scene.broker.api.add_user(ATTACKER, ATTACKER)
    known = RoutingConfig.load(routing, 600_000)
    (rights,) = [one for one in rights_of_systems(known) if one.user == ATTACKER]
    scene.broker.api.set_permissions(ATTACKER, scene.name, **rights.patterns)
    return {"ROUTING_FILE": str(routing), "RESPONSES_REQUIRE_USER_ID": "true"}


def pace(scene: Scene, tasks: int) -> float:
    """Let so many tasks more be done and return how many a second were."""
    done, begun = scene.api.finished_count(scene.key), time.monotonic()
    with scene.load(tasks):
        pass
    scene.until(lambda: scene.api.finished_count(scene.key) >= done + tasks, f"{tasks} more tasks", FLOOD_SECONDS)
    return tasks / (time.monotonic() - begun)


def check_refusals(scene: Scene) -> None:
    """The broker refuses to hand out another's tasks, and a name that is not the sender's."""
    forged = pika.BasicProperties(user_id=scene.broker.username)
    acts: dict[str, Callable[[BlockingChannel], object]] = {
        "read another's queue": lambda channel: channel.basic_get(QUEUE),
        "write to another's queue": lambda channel: channel.basic_publish("", QUEUE, b"{}"),
        "forge a user_id": lambda channel: channel.basic_publish(flood.EXCHANGE, flood.KEY, b"{}", forged),
    }
    with scene.connect(ATTACKER, ATTACKER) as connection:
        for what, act in acts.items():
            channel = connection.channel()
            channel.confirm_delivery()
            try:
                act(channel)
            except ChannelClosedByBroker:
                continue
            scene.figures.problems.append(f"the attacker may {what}")


@contextmanager
def flooded(scene: Scene, target: Message) -> Iterator[None]:
    """Let the attacker send, in a process of its own, while the block runs."""
    numbers = [scene.broker.port, scene.scale.flood, scene.scale.huge_bodies]
    arguments = [LOOPBACK, scene.name, ATTACKER, target.task_id, *map(str, numbers)]
    sender = subprocess.Popen([sys.executable, "-m", "tests.faults.flood", *arguments], cwd=ROOT)
    try:
        yield
        if sender.wait(FLOOD_SECONDS) != 0:
            scene.figures.problems.append("the attacker's process failed")
    finally:
        sender.kill()
        sender.wait()
