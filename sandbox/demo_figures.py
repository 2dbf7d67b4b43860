"""What the demo counts: the broker's messages and the engine's history, never the worker's own words."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from statistics import median

from sandbox.demo_observer import Observer
from sandbox.demo_samples import SYSTEMS, Sample, System
from sandbox.demo_stage import ERROR_QUEUE, Stage
from sandbox.engine_api import EngineApi, Row


@dataclass(frozen=True)
class SystemFigures:
    """One system: messages in the task exchange, and answers that the engine has taken."""

    queue: str
    published: int
    completed: int
    retried: int
    bpmn_errors: int

    @property
    def answered(self) -> int:
        """Answers of any kind; equal to `published` when nothing is under way."""
        return self.completed + self.retried + self.bpmn_errors


@dataclass(frozen=True)
class Progress:
    """One look at everything."""

    wanted: int
    started: int
    ended: int
    systems: tuple[SystemFigures, ...]


@dataclass(frozen=True)
class Outcome:
    """How it ended: counts of instances, `doubled` of messages, and a sentence for all that went wrong."""

    started: int
    as_they_should: int
    lost: int
    doubled: int
    latencies: Mapping[str, float | None]
    troubles: tuple[str, ...]


def progress(stage: Stage, *, wanted: int, started: int) -> Progress:
    """Looks once: some 17 small queries."""
    engine = stage.sandbox.engine_api()
    systems = tuple(_figures_of(system, engine, stage.observer) for system in SYSTEMS)
    return Progress(wanted, started, engine.finished_count(), systems)


def _figures_of(system: System, engine: EngineApi, observer: Observer) -> SystemFigures:
    def count(kind: str) -> int:
        return engine.task_log_count(topicName=system.topic, **{kind: "true"})

    # A task that an error event interrupts is deleted; nothing else deletes tasks here.
    return SystemFigures(
        system.queue,
        published=observer.published[system.name],
        completed=count("successLog"),
        retried=count("failureLog"),
        bpmn_errors=count("deletionLog"),
    )


def outcome(stage: Stage, wanted: int, started: Mapping[str, Sample]) -> Outcome:
    """Compares each instance with how it should have ended."""
    engine = stage.sandbox.engine_api()
    ends = engine.ends_by_instance()
    lost = [sample.process for instance, sample in started.items() if instance not in ends]
    astray = [
        f"{sample.process} at {', '.join(ends[instance])} instead of {sample.end}"
        for instance, sample in started.items()
        if instance in ends and ends[instance] != [sample.end]
    ]
    return Outcome(
        started=len(started),
        as_they_should=len(started) - len(lost) - len(astray),
        lost=len(lost),
        doubled=stage.observer.doubled,
        latencies=_median_latencies(engine.task_log()),
        troubles=(
            *([f"{wanted - len(started)} instances were never started"] if wanted > len(started) else ()),
            *(f"{count} x not ended: {process}" for process, count in Counter(lost).items()),
            *(f"{count} x ended otherwise: {what}" for what, count in Counter(astray).items()),
            *_causes(stage, engine),
        ),
    )


def _causes(stage: Stage, engine: EngineApi) -> list[str]:
    """Says where an open task waits and what else shows that something is wrong."""
    waiting = Counter(task["topicName"] for task in engine.external_tasks())
    incidents = Counter(str(incident["incidentMessage"]) for incident in engine.incidents())
    set_aside = stage.sandbox.broker.api.queues("/")[ERROR_QUEUE].ready
    return [
        *(f"{count} tasks wait in the engine: {topic}" for topic, count in waiting.items()),
        *(f"{count} incidents: {message}" for message, count in incidents.items()),
        *([f"{set_aside} messages in {ERROR_QUEUE}"] if set_aside else ()),
        *([] if stage.worker.running() else ["the worker has ended"]),
    ]


def _median_latencies(log: Iterable[Row]) -> dict[str, float | None]:
    """Returns by queue the median of milliseconds from a task's creation to its end, on the engine's clock."""
    created: dict[str, Row] = {}
    ended: dict[str, Row] = {}
    for row in log:
        if row["creationLog"]:
            created[row["externalTaskId"]] = row
        elif row["successLog"] or row["deletionLog"]:
            ended[row["externalTaskId"]] = row
    times: dict[str, list[float]] = {system.topic: [] for system in SYSTEMS}
    for task, row in ended.items():
        times[row["topicName"]].append(_milliseconds(created[task], row))
    return {system.queue: median(times[system.topic] or [0]) or None for system in SYSTEMS}


def _milliseconds(begin: Row, end: Row) -> float:
    moments = [datetime.fromisoformat(row["timestamp"]) for row in (begin, end)]
    return (moments[1] - moments[0]).total_seconds() * 1000
