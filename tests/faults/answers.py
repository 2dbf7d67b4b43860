"""Faults of the answers: too late, wrong, or about an instance that is gone."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from tests.faults import dead_letters, rubbish, stranger
from tests.faults.observer import Message
from tests.faults.rubbish import Rubbish
from tests.faults.scene import SYSTEM, Scene

VICTIMS = 5
DUPLICATES = 200
FORGER = "mallory"
KEPT_BYTES = 65_536


def late(scene: Scene) -> None:
    """Answer after the lock ended.

    Not fetched again, fetched again by us, or by another worker.
    """
    short_lock = {"CAMUNDA_LOCK_DURATION": str(scene.scale.lease_ms)}
    let_all_locks_end(scene, short_lock)
    theirs = stranger.fetch(scene, scene.total // 3)
    rest = sorted({message.task_id for message in scene.observer.messages} - theirs)
    nobodys, ours = set(rest[::2]), set(rest[1::2])
    scene.worker("handler", part="response_handler")
    scene.observer.release(nobodys.__contains__)
    scene.until(lambda: scene.api.finished_count(scene.key) == len(nobodys), "the late answers in the history")
    scene.watch.at_risk |= ours  # their locks have ended: they come again
    scene.worker("fetcher", part="camunda_worker", **short_lock)
    scene.until(lambda: len(scene.observer.doubled()) >= len(ours), "what nobody holds in the queue again")
    scene.observer.release()
    dead_letters.expect(scene, {"foreign_lock": len(theirs)})
    stranger.complete(scene, theirs)
    scene.finish()


def let_all_locks_end(scene: Scene, settings: dict[str, str]) -> None:
    """Publish all tasks, and let their locks end while nobody fetches and nobody answers."""
    scene.observer.hold()
    with scene.load():
        pass
    worker = scene.worker(part="camunda_worker", CAMUNDA_MAX_TASKS="100", **settings)
    scene.until_seen(scene.total)
    worker.kill()
    scene.until(lambda: not scene.watch.sample(), "the end of all locks")


def of_cancelled_instances(scene: Scene) -> None:
    """Answer for a cancelled instance."""
    cancelled = scene.total // 5
    scene.total += cancelled
    scene.observer.hold()
    with scene.load():
        scene.worker()
    scene.until_seen(scene.total)
    instances = [row["processInstanceId"] for row in scene.api.external_tasks(topicName=scene.topics[0])]
    for instance in scene.random.sample(instances, cancelled):
        scene.api.request("DELETE", f"/process-instance/{instance}")
    scene.may_be_cancelled = cancelled
    scene.observer.release()
    scene.finish()


def wrong(scene: Scene) -> None:
    """Duplicate, forged, malformed, 20 MB, non-UTF-8 and deeply nested answers among good ones."""
    scene.observer.hold()
    with scene.load():
        worker = scene.worker(**only_answers_of(scene, scene.broker.username))
        scene.until_seen(2 * VICTIMS)
        victims = scene.observer.messages[: 2 * VICTIMS]
        about_them = {message.task_id for message in victims}
        scene.observer.release(lambda task_id: task_id not in about_them)
        sent = send_rubbish(scene, victims)
        sent += send_forgeries(scene, victims[:VICTIMS])
    dead_letters.expect(scene, Counter(one.reason for one in sent))
    check_bodies(scene, sent)
    scene.until(
        lambda: scene.api.finished_count(scene.key) == scene.total - len(victims), "the good answers applied"
    )
    send_again(scene, scene.observer.messages[-DUPLICATES:])
    refused = [message.task_id for message in victims[VICTIMS:]]
    scene.api.request("PUT", "/external-task/retries", json={"externalTaskIds": refused, "retries": 1})
    scene.observer.release()
    scene.figures.notes.append(f"the worker's memory at the end: {worker.memory_kb() // 1024} MiB")
    scene.finish()


def only_answers_of(scene: Scene, user: str) -> dict[str, str]:
    """Return the settings that take answers for the system only from that user of the broker."""
    routing = scene.folder / "routing.toml"
    routing.write_text(f'[systems.{SYSTEM}]\npatterns = ["bitrix_*"]\nusers = ["{user}"]\n', encoding="utf-8")
    return {"ROUTING_FILE": str(routing), "RESPONSES_REQUIRE_USER_ID": "true"}


def send_rubbish(scene: Scene, victims: Sequence[Message]) -> list[Rubbish]:
    """Send bad answers, shuffled, and return them: every kind about some tasks, refused ones about the rest."""
    sent = [one for message in victims[:VICTIMS] for one in rubbish.about(message)]
    sent += [rubbish.refused(message) for message in victims[VICTIMS:]]
    scene.random.shuffle(sent)
    with rubbish.sender(scene, scene.broker.username, scene.broker.password) as send:
        for one in sent:
            send(one.body)
    return sent


def send_forgeries(scene: Scene, victims: Sequence[Message]) -> list[Rubbish]:
    """Answer as somebody whom the broker knows, but not as the system of these tasks."""
    scene.broker.api.add_user(FORGER, FORGER)
    scene.broker.api.set_permissions(FORGER, scene.name)
    sent = [Rubbish("forged", rubbish.good(message)) for message in victims]
    with rubbish.sender(scene, FORGER, FORGER) as send:
        for one in sent:
            send(one.body)
    return sent


def send_again(scene: Scene, answered: Sequence[Message]) -> None:
    """Repeat the good answers to some tasks, and answer for tasks that never were."""
    with rubbish.sender(scene, scene.broker.username, scene.broker.password) as send:
        for message in answered:
            send(rubbish.good(message))
            send(rubbish.good(replace(message, task_id=f"no-{message.task_id}")))


def check_bodies(scene: Scene, sent: Sequence[Rubbish]) -> None:
    """What is set aside is kept as it came; of what is too large, the beginning."""
    kept = Counter(letter.body for letter in dead_letters.read(scene))
    wanted = Counter(one.body[:KEPT_BYTES] if one.reason == "too_large" else one.body for one in sent)
    if kept != wanted:
        scene.figures.problems.append(f"{(wanted - kept).total()} bad answers are not kept as they came")
