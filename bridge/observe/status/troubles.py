"""What a person should do something about, each with the commands that show more and mend it."""

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from bridge.broker import QueueState
from bridge.observe.status.health import reasons_not_ready
from bridge.observe.status.history import Counts
from bridge.observe.status.snapshot import Snapshot
from bridge.texts import gettext, ngettext, translated

DIAGNOSTICS = "python tools/worker_diagnostics.py --problems"
QUEUES = "python tools/check_queues.py"
DEAD_LETTERS = "python tools/dead_letters.py list"
DROP_DEAD_LETTERS = "python tools/dead_letters.py drop --reason invalid"
FAILED_TASKS = "python tools/retry_incidents.py"
OPEN_TASKS = "python tools/camunda_processes.py --tasks"


class Level(Enum):
    """How bad it is."""

    STOPPED = "stopped"
    LOOK = "look"


@dataclass(frozen=True, slots=True)
class Trouble:
    """One thing that is wrong; `command` shows more, `mending` is for when the cause is gone."""

    level: Level
    text: str
    command: str
    mending: tuple[str, ...] = ()


def troubles(now: Snapshot, last_hour: Counts, stuck: list[str]) -> list[Trouble]:
    """Return all that is wrong, the worst first."""
    restart = gettext("Stuck, restart the worker: {loop}")
    stopped = [Trouble(Level.STOPPED, restart.format(loop=line), DIAGNOSTICS) for line in stuck]
    stopped += [Trouble(Level.STOPPED, _sentence(reason), DIAGNOSTICS) for reason in reasons_not_ready(now)]
    not_given = [Trouble(Level.LOOK, _sentence(translated(line)), DIAGNOSTICS) for line in now.not_given_out]
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
    by_system: dict[str, dict[str, int]] = {}
    for (system, topic), count in sorted(now.failed_tasks.items()):
        by_system.setdefault(system, {})[topic] = count
    for system, counts in by_system.items():
        topics = ", ".join(f"{topic} {count}" for topic, count in counts.items())
        text = gettext("Tasks of {system} failed for good and wait for a person: {topics}")
        retries = tuple(f"{FAILED_TASKS} --topic {shlex.quote(topic)}" for topic in counts)
        yield Trouble(Level.LOOK, text.format(system=system, topics=topics), FAILED_TASKS, retries)


def _of_queues(now: Snapshot) -> Iterator[Trouble]:
    for queue in (system.queue for system in now.systems):
        if queue.is_known and queue.is_unheard:
            text = ngettext(
                "Nobody listens to {queue}: {number} message waits. Is its system running?",
                "Nobody listens to {queue}: {number} messages wait. Is its system running?",
                queue.ready,
            )
            yield Trouble(Level.LOOK, text.format(queue=queue.name, number=queue.ready), QUEUES)
    if now.answers.is_known and now.answers.is_unheard:
        yield Trouble(Level.LOOK, _of_unread_answers(now), QUEUES)
    for system in now.systems:
        if system.paused:
            text = gettext("Tasks for {system} stay in the engine: {reason}")
            reason = translated(system.paused)
            yield Trouble(Level.LOOK, text.format(system=system.name, reason=reason), QUEUES)


def _of_unread_answers(now: Snapshot) -> str:
    """Say who should read them: we, where the engine is unavailable or our consumer is not subscribed."""
    if now.engine_trouble:
        text = ngettext(
            "{number} answer waits in {queue} until the engine is back",
            "{number} answers wait in {queue} until the engine is back",
            now.answers.ready,
        )
    elif now.subscribed is False:
        text = ngettext(
            "{number} answer waits in {queue} until we read it again",
            "{number} answers wait in {queue} until we read it again",
            now.answers.ready,
        )
    else:
        text = ngettext(
            "Nobody reads {queue}: {number} answer waits. Is the response handler running?",
            "Nobody reads {queue}: {number} answers wait. Is the response handler running?",
            now.answers.ready,
        )
    return text.format(queue=now.answers.name, number=now.answers.ready)


def _of_the_error_queue(errors: QueueState, last_hour: Counts) -> Iterator[Trouble]:
    if errors.is_known and errors.ready:
        counts = {reason: count for (what, reason), count in last_hour.items() if what == "dead_letters"}
        lately = [f"{reason} {count}" for reason, count in counts.items()]
        text = ngettext(
            "{number} unusable answer waits in {queue}", "{number} unusable answers wait in {queue}", errors.ready
        ).format(number=errors.ready, queue=errors.name)
        if lately:
            text += gettext(" (in the last hour: {reasons})").format(reasons=", ".join(lately))
        # Others may be worth a replay: who has looked at them knows.
        yield Trouble(Level.LOOK, text, DEAD_LETTERS, (DROP_DEAD_LETTERS,) if "invalid" in counts else ())


def _of_the_last_hour(last_hour: Counts) -> Iterator[Trouble]:
    for (what, system), count in sorted(last_hour.items()):
        if found := _lately(what, count):
            text, command = found
            yield Trouble(Level.LOOK, text.format(system=system, number=count), command)


def _lately(what: str, count: int) -> tuple[str, str] | None:
    """Return how this is told of the last hour, and the command; None for what needs no look."""
    match what:
        case "no_answers":
            text = ngettext(
                "{system} took {number} task in the last hour and was silent until the lock ended: a retry each",
                "{system} took {number} tasks in the last hour and was silent until the lock ended: a retry each",
                count,
            )
        case "rejected":
            text = ngettext(
                "{system} rejected the message of {number} task in the last hour, or gave it back too often",
                "{system} rejected the messages of {number} tasks in the last hour, or gave them back too often",
                count,
            )
        case "dropped":
            text = ngettext(
                "The full queue of {system} dropped {number} message in the last hour: its task comes again",
                "The full queue of {system} dropped {number} messages in the last hour: their tasks come again",
                count,
            )
            return text, QUEUES
        case "unpublishable":
            text = ngettext(
                "No message could carry {number} task for {system} in the last hour; see its incident",
                "No message could carry {number} tasks for {system} in the last hour; see their incidents",
                count,
            )
        case "tasks_not_given_out":
            text = ngettext(
                "The engine could not give out {number} task for {system} in the last hour; see its incident",
                "The engine could not give out {number} tasks for {system} in the last hour; see their incidents",
                count,
            )
        case "leases_lapsed":
            text = ngettext(
                "The short lock of {number} task for {system} ended early in the last hour: something is slow",
                "The short locks of {number} tasks for {system} ended early in the last hour: something is slow",
                count,
            )
            return text, OPEN_TASKS
        case _:
            return None
    return text, FAILED_TASKS
