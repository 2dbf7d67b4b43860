"""What a person should do something about, each with the command that shows more or mends it."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from bridge.broker import QueueState
from bridge.observe.status.health import reasons_not_ready
from bridge.observe.status.history import Counts
from bridge.observe.status.snapshot import Snapshot

DIAGNOSTICS = "python tools/worker_diagnostics.py --problems"
QUEUES = "python tools/check_queues.py --watch"
DEAD_LETTERS = "python tools/dead_letters.py list"
FAILED_TASKS = "python tools/retry_incidents.py"
OPEN_TASKS = "python tools/camunda_processes.py --tasks"


class Level(Enum):
    """How bad it is."""

    STOPPED = "stopped"
    LOOK = "look"


@dataclass(frozen=True, slots=True)
class Trouble:
    """One thing that is wrong."""

    level: Level
    text: str
    command: str


def troubles(now: Snapshot, last_hour: Counts, stuck: list[str]) -> list[Trouble]:
    """Return all that is wrong, the worst first."""
    stopped = [Trouble(Level.STOPPED, f"Stuck, restart the worker: {line}", DIAGNOSTICS) for line in stuck]
    stopped += [Trouble(Level.STOPPED, _sentence(reason), DIAGNOSTICS) for reason in reasons_not_ready(now)]
    not_given = [Trouble(Level.LOOK, _sentence(line), DIAGNOSTICS) for line in now.not_given_out]
    return [
        *stopped,
        *not_given,
        *_of_failed_tasks(now),
        *_of_queues(now),
        *_of_the_error_queue(now.errors, last_hour),
        *_of_the_last_hour(last_hour),
    ]


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _of_failed_tasks(now: Snapshot) -> Iterator[Trouble]:
    by_system: dict[str, list[str]] = {}
    for (system, topic), count in sorted(now.failed_tasks.items()):
        by_system.setdefault(system, []).append(f"{topic} {count}")
    for system, topics in by_system.items():
        text = f"Tasks of {system} failed for good and wait for a person: {', '.join(topics)}"
        yield Trouble(Level.LOOK, text, FAILED_TASKS)


def _of_queues(now: Snapshot) -> Iterator[Trouble]:
    for queue in (system.queue for system in now.systems):
        if queue.is_known and queue.is_unheard:
            wait = f"{queue.ready} messages wait" if queue.ready > 1 else "a message waits"
            yield Trouble(Level.LOOK, f"Nobody listens to {queue.name}: {wait}. Is its system running?", QUEUES)
    if now.answers.is_known and now.answers.is_unheard:
        yield Trouble(Level.LOOK, _of_unread_answers(now), QUEUES)
    for system in now.systems:
        if system.paused:
            yield Trouble(Level.LOOK, f"Tasks for {system.name} stay in the engine: {system.paused}", QUEUES)


def _of_unread_answers(now: Snapshot) -> str:
    """Say who should read them: we, where the engine is unavailable or our consumer is not subscribed."""
    queue = now.answers
    wait = f"{queue.ready} answers wait" if queue.ready > 1 else "an answer waits"
    if now.engine_trouble:
        return f"{_sentence(wait)} in {queue.name} until the engine is back"
    if now.subscribed is False:
        return f"{_sentence(wait)} in {queue.name} until we read it again"
    return f"Nobody reads {queue.name}: {wait}. Is the response handler running?"


def _of_the_error_queue(errors: QueueState, last_hour: Counts) -> Iterator[Trouble]:
    if errors.is_known and errors.ready:
        lately = [f"{reason} {count}" for (what, reason), count in last_hour.items() if what == "dead_letters"]
        reasons = f" (in the last hour: {', '.join(lately)})" if lately else ""
        wait = f"{errors.ready} unusable answers wait" if errors.ready > 1 else "An unusable answer waits"
        yield Trouble(Level.LOOK, f"{wait} in {errors.name}{reasons}", DEAD_LETTERS)


def _of_the_last_hour(last_hour: Counts) -> Iterator[Trouble]:
    for (what, system), count in sorted(last_hour.items()):
        tasks = f"{count} tasks" if count > 1 else "one task"
        match what:
            case "no_answers":
                text = (
                    f"{system} took {tasks} in the last hour and stayed silent until the lock ended: a retry each"
                )
                yield Trouble(Level.LOOK, text, FAILED_TASKS)
            case "rejected":
                text = f"{system} rejected the message of {tasks} in the last hour, or gave it back too often"
                yield Trouble(Level.LOOK, text, FAILED_TASKS)
            case "unpublishable":
                text = f"No message could carry {tasks} for {system} in the last hour; the incident says why"
                yield Trouble(Level.LOOK, text, FAILED_TASKS)
            case "tasks_not_given_out":
                text = (
                    f"The engine could not give out {tasks} for {system} in the last hour; the incident says why"
                )
                yield Trouble(Level.LOOK, text, FAILED_TASKS)
            case "leases_lapsed":
                text = (
                    f"The short lock of {tasks} for {system} ended too early in the last hour: something was slow"
                )
                yield Trouble(Level.LOOK, text, OPEN_TASKS)
