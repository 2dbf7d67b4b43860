"""Faults of failures that the engine took, and whose reply never came."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from tests.faults import gateway
from tests.faults.failures import TASKS_PER_SECOND
from tests.faults.gateway import Request, Rule
from tests.faults.observer import COMPLETE, Answer, Message
from tests.faults.scene import Scene

PAUSES_MS = (0, 1_000, 10_000)
LATE_SECONDS = 10.0  # what a poll and a burst of others may cost; a pause that became a lock is far longer
RETRIES = "3"  # what a task has left after its first failure
LOST_SHARE = 0.15  # more would look like a gateway that refuses all
HEARTBEAT = {"response_type": "extend_lock"}
NO_ATTEMPT = {"attempt": None}


def with_heartbeats_after(scene: Scene) -> None:
    """The 204 of a failure lost, and a heartbeat right behind it, after pauses of 0, 1 and 10 s.

    With and without the attempt echoed.
    """
    scene.observer.behave = fail_at_first
    lost: set[str] = set()
    with gateway.before(scene.engine) as between:
        between.rule = losing_replies(scene, lost)
        scene.worker(CAMUNDA_BASE_URL=between.url)
        with scene.load(per_second=TASKS_PER_SECOND):
            pass
        scene.finish()
    check_each_failed_once(scene)
    scene.figures.notes.append(f"{len(lost)} replies lost")
    for pause_ms in PAUSES_MS:
        check_pauses(scene, pause_ms)


def fail_at_first(message: Message) -> Answer:
    """Report a failure for the first attempt, of some with a heartbeat behind it; complete the second."""
    if message.attempt != "first":
        return COMPLETE
    failure = {"response_type": "failure", "error_message": "busy", "retry_timeout": pause_of(message)}
    match message.number // len(PAUSES_MS) % 3:
        case 0:
            return Answer(failure)
        case 1:
            return Answer(failure, then=[HEARTBEAT])
        case _:
            return Answer(failure | NO_ATTEMPT, then=[HEARTBEAT | NO_ATTEMPT])


def pause_of(message: Message) -> int:
    """Return the pause, in milliseconds, that the system of a task asks for."""
    return PAUSES_MS[message.number % len(PAUSES_MS)]


def losing_replies(scene: Scene, lost: set[str]) -> Rule:
    """Return the rule that loses the reply to the first failure of some tasks, and notes their paths."""
    seen: set[str] = set()

    def rule(request: Request) -> Request:
        if request.word != "failure" or request.path in seen:
            return request
        seen.add(request.path)
        if scene.random.random() >= LOST_SHARE:
            return request
        lost.add(request.path)
        return replace(request, loses_reply=True)

    return rule


def check_each_failed_once(scene: Scene) -> None:
    """Each failure reached the engine once, cost one retry, and led to one more message."""
    rows = scene.api.task_log(processDefinitionKey=scene.key, failureLog="true")
    failures = Counter(row["externalTaskId"] for row in rows)
    attempts: dict[str, set[str]] = defaultdict(set)
    for message in scene.observer.messages:
        attempts[message.task_id].add(message.attempt)
    again = [task for task, count in failures.items() if count > 1]
    wrong = [task for task, seen in attempts.items() if seen != {"first", RETRIES}]
    if again or wrong:
        problem = f"{len(again)} failures were reported twice, {len(wrong)} tasks have other attempts"
        scene.figures.problems.append(problem)


def check_pauses(scene: Scene, pause_ms: int) -> None:
    """Each task comes again in the time that its system asked for, give or take one poll."""
    rows = scene.api.task_log(processDefinitionKey=scene.key, failureLog="true")
    failed_at = {row["externalTaskId"]: datetime.fromisoformat(row["timestamp"]).timestamp() for row in rows}
    pauses = sorted(
        message.seen_at - failed_at[message.task_id]
        for message in second_messages(scene.observer.messages)
        if pause_of(message) == pause_ms
    )
    wanted = pause_ms / 1000
    wrong = [pause for pause in pauses if not wanted <= pause <= wanted + LATE_SECONDS]
    name = f"a pause of {wanted:.0f} s"
    scene.figures.notes.append(f"{name}: {len(pauses)} tasks again after {pauses[0]:.1f} to {pauses[-1]:.1f} s")
    if wrong:
        scene.figures.problems.append(f"{len(wrong)} came again too early or late: {scene.figures.notes[-1]}")


def second_messages(messages: Sequence[Message]) -> list[Message]:
    """Return the first message of each task's second attempt."""
    second: dict[str, Message] = {}
    for message in messages:
        if message.attempt != "first":
            second.setdefault(message.task_id, message)
    return list(second.values())
