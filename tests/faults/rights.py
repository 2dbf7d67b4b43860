"""Faults of permissions: one right at the broker missing at a time, at the start and later."""

import time

from tests.faults.broker import note_outage_cost
from tests.faults.queues import RESPONSE_QUEUE, STEADY, TASK_EXCHANGE
from tests.faults.scene import QUEUE, Scene
from tests.faults.worker import Worker

PASSWORD = "the-password-of-a-worker-with-few-rights"
LACKING_SECONDS = 12.0
RECONNECTS_PER_SECOND = 0.8
CONNECTIONS = 3
# By name: what the permission leaves out, and what the log says.
LACKS = {
    "write": ({"write": f"^(?!{TASK_EXCHANGE}$)"}, f"lacks the write permission on exchange '{TASK_EXCHANGE}'"),
    "read": ({"read": f"^(?!{RESPONSE_QUEUE}$)"}, f"lacks the read permission on queue '{RESPONSE_QUEUE}'"),
    "bind": ({"read": f"^(?!{TASK_EXCHANGE}$)"}, f"lacks the read permission on exchange '{TASK_EXCHANGE}'"),
    "bind its queue": ({"write": f"^(?!{QUEUE}$)"}, f"lacks the write permission on queue '{QUEUE}'"),
}
HARMLESS = {"write": r"^(?!amq\.default$)"}  # neither tasks nor answers go through the default exchange


def missing(scene: Scene) -> None:
    """No right to write tasks, to read answers, to bind, one at a time."""
    scene.secrets += (PASSWORD,)
    scene.broker.api.add_user(scene.name, PASSWORD)
    scene.broker.api.set_permissions(scene.name, scene.name)
    declare_all(scene)
    share = scene.total // (len(LACKS) + 2)
    for number, name in enumerate(LACKS):
        lack(scene, name, share, number)
    flow_without_default_exchange(scene, scene.total - (len(LACKS) + 1) * share)
    take_away(scene, share)
    scene.finish()


def declare_all(scene: Scene) -> None:
    """Let a worker with all rights declare the topology."""
    worker = scene.worker("first")
    scene.until(lambda: worker.text().count("connected to RabbitMQ") == CONNECTIONS, "a connected worker")
    worker.stop()


def lack(scene: Scene, name: str, tasks: int, number: int) -> None:
    """Start a worker without a right, see what it says and does not do, and grant it."""
    rights, words = LACKS[name]
    scene.broker.api.set_permissions(scene.name, scene.name, **rights)
    with scene.load(tasks):
        worker = scene.worker(f"without-{number}", RABBITMQ_USERNAME=scene.name, RABBITMQ_PASSWORD=PASSWORD)
        scene.until(lambda: words in worker.text(), f"words about {name}")
        before = worker.usage()
        scene.pause(LACKING_SECONDS)
        note_outage_cost(scene, *worker.usage().since(before))
        check_lack(scene, worker, name)
        scene.broker.api.set_permissions(scene.name, scene.name)
        granted_at = time.monotonic()
        scene.until_seen((number + 1) * tasks)
    scene.figures.recovery_seconds.append(time.monotonic() - granted_at)
    scene.until(lambda: scene.api.finished_count(scene.key) >= (number + 1) * tasks, f"all done after {name}")
    worker.stop()


def check_lack(scene: Scene, worker: Worker, name: str) -> None:
    """Nothing is locked that cannot be delivered, and the broker is not knocked at without end."""
    if name != "read" and (locked := scene.api.external_tasks(workerId=scene.worker_id)):
        scene.figures.problems.append(f"{len(locked)} tasks locked without the right to {name}")
    per_second = worker.text().count("connected to RabbitMQ") / LACKING_SECONDS
    scene.figures.notes.append(f"without {name}: {per_second:.2f} connections/s")
    if per_second > RECONNECTS_PER_SECOND:
        scene.figures.problems.append(f"I6: {scene.figures.notes[-1]}")


def flow_without_default_exchange(scene: Scene, tasks: int) -> None:
    """Let tasks flow without a right that no task needs."""
    scene.broker.api.set_permissions(scene.name, scene.name, **HARMLESS)
    worker = scene.worker("harmless", RABBITMQ_USERNAME=scene.name, RABBITMQ_PASSWORD=PASSWORD)
    with scene.load(tasks):
        scene.until_seen(scene.total - scene.total // (len(LACKS) + 2))
        scene.pause(LACKING_SECONDS)
    worker.stop()
    if "ACCESS_REFUSED" in worker.text():
        scene.figures.problems.append("an idle worker asks for a right that it does not need")


def take_away(scene: Scene, tasks: int) -> None:
    """Take the right to write from a worker that runs; the broker looks at it anew with the next connection."""
    scene.broker.api.set_permissions(scene.name, scene.name)
    with scene.load(tasks, per_second=STEADY):
        worker = scene.worker("struck", RABBITMQ_USERNAME=scene.name, RABBITMQ_PASSWORD=PASSWORD)
        scene.until_seen(scene.total - tasks // 2)
        scene.watch.note_risk()
        scene.broker.api.set_permissions(scene.name, scene.name, **LACKS["write"][0])
        scene.broker.ctl("close_all_connections", "--vhost", scene.name, "the test wants it")
        scene.watch.note_risk()
        scene.until(lambda: LACKS["write"][1] in worker.text(), "words about the right that was taken away")
        scene.pause_at_risk(LACKING_SECONDS)
        scene.broker.api.set_permissions(scene.name, scene.name)
        scene.note_recovery(time.time(), count_repeats=True)
