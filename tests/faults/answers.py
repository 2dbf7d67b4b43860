"""Faults of the answers: too late, too early, wrong."""

from tests.faults import dead_letters, stranger
from tests.faults.scene import Scene


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
    scene.until(lambda: len(scene.observer.doubled()) == len(ours), "what nobody holds in the queue again")
    scene.observer.release()
    dead_letters.expect(scene, {"foreign_lock": len(theirs)})
    stranger.complete(scene, theirs)
    scene.finish()


def let_all_locks_end(scene: Scene, settings: dict[str, str]) -> None:
    """Publish all tasks, and let their locks end while nobody fetches and nobody answers."""
    scene.observer.hold()
    worker = scene.worker(part="camunda_worker", **settings)
    with scene.load():
        scene.until_seen(scene.total)
    worker.kill()
    scene.until(lambda: not scene.watch.sample(), "the end of all locks")
