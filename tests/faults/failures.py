"""Failures that the systems report, and the pauses that they ask for."""

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime

from tests.faults.observer import COMPLETE, Answer, Message
from tests.faults.scene import Late, Scene
from tests.faults.worker import Worker

RETRY_MS = 5_000
AGAIN_SECONDS = (5.0, 15.0)
EXTENSION_SECONDS = (1.4, 2.4)  # how old a message is when its lease is extended
PATIENCE_SECONDS = 30.0
TASKS_PER_SECOND = 20.0  # no queue grows, so that a pause is as long as it was asked for

Setup = Callable[[Scene], list[Worker]]


def while_extension_is_due(scene: Scene) -> None:
    """Failure reported while the extension of its lease is due.

    In one process, in split processes, and with two replicas that apply each other's answers.
    """
    scene.observer.behave = lambda message: fail_at_first(message, scene.random.uniform(*EXTENSION_SECONDS))
    share = math.ceil(scene.total / len(SETUPS))
    scene.total = share * len(SETUPS)
    for setup in SETUPS:
        fail_under(scene, setup, share)
    scene.finish()


def fail_under(scene: Scene, setup: Setup, tasks: int) -> None:
    """Let each of some tasks fail once, with the worker set up like that."""
    seen = len(scene.observer.messages)
    workers = setup(scene)
    with scene.load(tasks, per_second=TASKS_PER_SECOND):
        pass
    with suppress(Late):  # told by check_pauses
        scene.until(
            lambda: len(scene.observer.messages) >= seen + 2 * tasks, "all second attempts", PATIENCE_SECONDS
        )
    check_pauses(scene, setup, scene.observer.messages[seen:])
    for worker in workers:
        worker.stop()


def fail_at_first(message: Message, after_seconds: float) -> Answer:
    """Report a failure for the first attempt, complete the second."""
    failure = {"response_type": "failure", "error_message": "busy", "retry_timeout": RETRY_MS}
    return Answer(failure, after_seconds) if message.attempt == "first" else COMPLETE


def one_process(scene: Scene) -> list[Worker]:
    """Start the worker as one process."""
    return [scene.worker("one")]


def split_processes(scene: Scene) -> list[Worker]:
    """Start its two components apart."""
    return [
        scene.worker("fetcher", part="camunda_worker"),
        scene.worker("handler", part="response_handler"),
    ]


def two_replicas(scene: Scene) -> list[Worker]:
    """Start it twice, each with a worker id of its own."""
    accepted = {"CAMUNDA_ACCEPT_WORKER_IDS": f"{scene.worker_id}-*"}
    return [
        scene.worker(f"replica-{letter}", CAMUNDA_WORKER_ID=f"{scene.worker_id}-{letter}", **accepted)
        for letter in "ab"
    ]


SETUPS: tuple[Setup, ...] = (one_process, split_processes, two_replicas)


def check_pauses(scene: Scene, setup: Setup, messages: Sequence[Message]) -> None:
    """Each task comes again in the time that its system asked for, give or take one poll."""
    failed_at = failures_in_the_history(scene)
    tasks = {message.task_id for message in messages}
    again = [message for message in messages if message.attempt != "first"]
    pauses = [message.seen_at - failed_at[message.task_id] for message in again]
    shortest, longest = AGAIN_SECONDS
    wrong = [pause for pause in pauses if not shortest <= pause <= longest]
    missing = len(tasks) - len(pauses)
    name = setup.__name__.replace("_", " ")
    scene.figures.notes.append(f"{name}: again after {min(pauses):.1f} to {max(pauses):.1f} s")
    if wrong or missing:
        problem = f"{name}: of {len(tasks)} tasks {len(wrong)} came again too early or late, {missing} never"
        scene.figures.problems.append(problem)


def failures_in_the_history(scene: Scene) -> dict[str, float]:
    """Return when the engine took the failure of each task, in Unix seconds."""
    rows = scene.api.task_log(processDefinitionKey=scene.key, failureLog="true")
    return {row["externalTaskId"]: datetime.fromisoformat(row["timestamp"]).timestamp() for row in rows}
