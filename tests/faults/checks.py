"""The invariants, checked from outside: engine history, queues, and what the systems saw and said."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from sandbox.errors import SandboxError

if TYPE_CHECKING:
    from tests.faults.observer import Message
    from tests.faults.scene import Scene
    from tests.faults.worker import Worker

ERROR_QUEUE = "errors.camunda_tasks.queue"
CLOCK_SLACK_SECONDS = 1.0
ORPHAN_SLACK_SECONDS = 5.0
STOP_SECONDS = 25.0
PAGE = 50_000


def is_all_done(scene: Scene) -> bool:
    """Whether every instance has ended and nothing waits in a queue."""
    try:
        return scene.api.finished_count(scene.key) >= scene.total and not (
            scene.api.running_count(scene.key) or any(_waiting(scene).values())
        )
    except SandboxError:
        return False


def _waiting(scene: Scene) -> dict[str, int]:
    queues = scene.broker.api.queues(scene.name).values()
    return {queue.name: queue.ready + queue.unacked for queue in queues if queue.name != ERROR_QUEUE}


def check_all(scene: Scene, workers: Sequence[Worker]) -> None:
    """Fill in the figures, and note whatever does not hold."""
    problems = [
        *_nothing_lost(scene),
        *_no_false_completion(scene),
        *_few_doubled(scene),
        *_nothing_unlocked(scene),
        *_no_orphans(scene),
        *_queues_add_up(scene),
        *_logs_are_clean(scene, workers),
        *_stopped_in_time(workers),
    ]
    scene.figures.problems += problems


def _nothing_lost(scene: Scene) -> Iterator[str]:
    """I1: all instances end as designed."""
    started = int(_get(scene, "/history/process-instance/count", processDefinitionKey=scene.key)["count"])
    done = sum(
        int(_get(scene, "/history/activity-instance/count", activityId=f"{scene.key}_{end}")["count"])
        for end in ("done", "refused")
    )
    scene.figures.tasks, scene.figures.lost = done, max(started, scene.total) - done - scene.may_be_cancelled
    if scene.figures.lost:
        yield f"I1: {scene.figures.lost} of {started} instances did not end as designed"
    wanted = scene.total - scene.may_be_cancelled
    if done < wanted:
        yield f"I1: {done} tasks completed, {wanted} are wanted"
    if incidents := scene.api.incidents(scene.key):
        yield f"I1: {len(incidents)} incidents, such as {incidents[0]['incidentMessage']!r}"


def _no_false_completion(scene: Scene) -> Iterator[str]:
    """I2: every completion has one answer behind it, and no task is completed twice."""
    completions = Counter(row["externalTaskId"] for row in _completions(scene))
    unasked = [task for task in completions if not scene.observer.said[task]["complete"]]
    if unasked:
        yield f"I2: {len(unasked)} completions without an answer, such as task {unasked[0]}"
    if twice := [task for task, count in completions.items() if count > 1]:
        yield f"I2: {len(twice)} tasks completed twice, such as {twice[0]}"


def _completions(scene: Scene) -> Iterator[dict[str, Any]]:
    query = {"processDefinitionKey": scene.key, "successLog": "true", "sortBy": "timestamp", "sortOrder": "asc"}
    first = 0
    while rows := _get(scene, "/history/external-task-log", firstResult=str(first), maxResults=str(PAGE), **query):
        yield from rows
        first += PAGE


def _few_doubled(scene: Scene) -> Iterator[str]:
    """I3: only tasks that were fetched and neither extended nor answered when the fault came may come twice."""
    doubled = scene.observer.doubled()
    tasks = {message.task_id for message in doubled}
    scene.figures.doubled, scene.figures.may_double = len(doubled), len(scene.watch.at_risk)
    if len(doubled) > len(scene.watch.at_risk):
        yield f"I3: {len(doubled)} messages doubled, at most {len(scene.watch.at_risk)} may be"
    if strangers := tasks - scene.watch.at_risk:
        yield f"I3: {len(strangers)} doubled tasks were safe when the fault came, such as {min(strangers)}"


def _nothing_unlocked(scene: Scene) -> Iterator[str]:
    """A published task stays locked until its lease ends; so two fetches of one attempt lie a lease apart."""
    by_id: dict[str, list[Message]] = defaultdict(list)
    for message in scene.observer.messages:
        by_id[message.message_id].append(message)
    early = [
        message_id
        for message_id, messages in by_id.items()
        if _fetched_within_a_lease([m.lock_expires_at for m in messages], scene.scale.lease_seconds)
    ]
    freed = [m for m, moment in scene.watch.unlocked.items() if m in by_id and by_id[m][0].created_at < moment]
    if freed:
        yield f"{len(freed)} published tasks were unlocked, such as {freed[0]}"
    if early:
        yield f"{len(early)} published tasks were unlocked and fetched again, such as {early[0]}"


def _fetched_within_a_lease(lock_ends: list[float], lease_seconds: float) -> bool:
    fetches = sorted(set(lock_ends))
    gaps = (later - earlier for earlier, later in pairwise(fetches))
    return any(gap < lease_seconds - CLOCK_SLACK_SECONDS for gap in gaps)


def _no_orphans(scene: Scene) -> Iterator[str]:
    """I4: no lock without a message behind it for longer than the lease + 5 s."""
    created: dict[str, float] = {}
    for message in (*scene.observer.messages, *scene.observer.copies):
        created[message.message_id] = min(message.created_at, created.get(message.message_id, message.created_at))
    never = float("inf")
    longest, message_id = 0.0, ""
    for lock in scene.watch.locks:
        of_lock = f"{lock.task_id}:{lock.attempt}"
        seconds = min(created.get(of_lock, never), lock.held_until) - lock.since
        if seconds > longest:
            longest, message_id = seconds, of_lock
    scene.figures.orphan_seconds = longest
    if longest > scene.scale.lease_seconds + ORPHAN_SLACK_SECONDS:
        yield f"I4: a task was locked for {longest:.0f} s without its message {message_id}"


def _queues_add_up(scene: Scene) -> Iterator[str]:
    """I5: nothing waits anywhere, and the error queue holds what the fault put there and no more."""
    left = {name: count for name, count in _waiting(scene).items() if count}
    if left:
        yield f"I5: messages are left over: {left}"
    queues = scene.broker.api.queues(scene.name)
    dead = queues[ERROR_QUEUE].ready if ERROR_QUEUE in queues else 0
    if dead != scene.may_be_dead_letters:
        yield f"I5: {dead} messages in the error queue, {scene.may_be_dead_letters} are expected"


def _logs_are_clean(scene: Scene, workers: Sequence[Worker]) -> Iterator[str]:
    """I9 and more: no secret in a log, and no crash."""
    for worker in workers:
        text = worker.text()
        if any(secret in text for secret in scene.secrets):
            yield f"I9: a password is in the log of {worker.name}"
        for word in ("Traceback", "CRITICAL"):
            if word in text:
                yield f"{worker.name} crashed: {text[text.index(word) :][:1500]}"


def _stopped_in_time(workers: Sequence[Worker]) -> Iterator[str]:
    """A worker that is asked to end does so before a service manager loses its patience."""
    for worker in workers:
        if worker.stop_seconds > STOP_SECONDS:
            yield f"{worker.name} took {worker.stop_seconds:.0f} s to stop"


def _get(scene: Scene, path: str, **query: str) -> Any:
    return scene.api.request("GET", path, params=query)
