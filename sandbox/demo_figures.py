"""What the demo counts: the broker's messages and the engine's history, never the worker's own words."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from statistics import median

from sandbox.demo_observer import Observer
from sandbox.demo_samples import SYSTEMS, Sample, System
from sandbox.demo_stage import Stage
from sandbox.engine_api import EngineApi, Row
from sandbox.programs import ERROR_QUEUE


@dataclass(frozen=True)
class SystemFigures:
    """One system: messages in the task exchange, and answers that the engine has taken."""

    system: str
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
    latencies: Mapping[str, float]
    troubles: tuple[str, ...]


@dataclass(frozen=True)
class Comparison:
    """Instances that ended as they should; by process those that did not end; by description the rest."""

    as_they_should: int
    lost: Counter[str]
    astray: Counter[str]


def progress(stage: Stage, *, wanted: int, started: int) -> Progress:
    """Looks once: some 16 small queries of the engine."""
    engine = stage.sandbox.engine_api()
    systems = tuple(_figures_of(system, engine, stage.observer) for system in SYSTEMS)
    return Progress(wanted, started, engine.finished_count(), systems)


def _figures_of(system: System, engine: EngineApi, observer: Observer) -> SystemFigures:
    def count(kind: str) -> int:
        return engine.task_log_count(topicName=system.topic, **{kind: "true"})

    # A task that an error event interrupts is deleted; nothing else deletes tasks here.
    return SystemFigures(
        system.name,
        published=observer.published[system.name],
        completed=count("successLog"),
        retried=count("failureLog"),
        bpmn_errors=count("deletionLog"),
    )


def outcome(stage: Stage, wanted: int, started: Mapping[str, Sample]) -> Outcome:
    """Judges the whole: each instance, what was left undone, and what else shows that something is wrong."""
    engine = stage.sandbox.engine_api()
    compared = compare(started, engine.ends_by_instance())
    return Outcome(
        started=len(started),
        as_they_should=compared.as_they_should,
        lost=compared.lost.total(),
        doubled=stage.observer.doubled,
        latencies=_median_latencies(engine.task_log()),
        troubles=(
            *([f"{wanted - len(started)} instances were not started"] if wanted > len(started) else ()),
            *(f"{count} not ended: {process}" for process, count in compared.lost.items()),
            *(f"{count} ended otherwise: {what}" for what, count in compared.astray.items()),
            *_causes(stage, engine),
        ),
    )


def compare(started: Mapping[str, Sample], ends: Mapping[str, list[str]]) -> Comparison:
    """Compares each instance with the one end event at which it should have arrived."""
    astray = {
        instance: f"{sample.process} at {' and '.join(ends[instance]) or 'no end event'} instead of {sample.end}"
        for instance, sample in started.items()
        if instance in ends and ends[instance] != [sample.end]
    }
    return Comparison(
        as_they_should=len(started.keys() & ends.keys()) - len(astray),
        lost=Counter(sample.process for instance, sample in started.items() if instance not in ends),
        astray=Counter(astray.values()),
    )


def _causes(stage: Stage, engine: EngineApi) -> list[str]:
    """Says where an open task waits and what else shows that something is wrong."""
    waiting = Counter(task["topicName"] for task in engine.external_tasks())
    incidents = Counter(str(incident["incidentMessage"]) for incident in engine.incidents())
    set_aside = stage.sandbox.broker.api.queue("/", ERROR_QUEUE).ready
    return [
        *(f"{count} tasks wait in the engine: {topic}" for topic, count in waiting.items()),
        *(f"{count} incidents: {message}" for message, count in incidents.items()),
        *([f"{set_aside} messages in {ERROR_QUEUE}"] if set_aside else ()),
        *([] if stage.worker.running() else ["the worker has ended"]),
    ]


def _median_latencies(log: Iterable[Row]) -> dict[str, float]:
    """Returns by system the median of milliseconds from a task's creation to its end, on the engine's clock."""
    created: dict[str, Row] = {}
    ended: dict[str, Row] = {}
    for row in log:
        if row["creationLog"]:
            created[row["externalTaskId"]] = row
        elif row["successLog"] or row["deletionLog"]:
            ended[row["externalTaskId"]] = row
    times: dict[str, list[float]] = defaultdict(list)
    for task, row in ended.items():
        times[row["topicName"]].append(_milliseconds(created[task], row))
    return {system.name: median(times[system.topic]) for system in SYSTEMS if system.topic in times}


def _milliseconds(begin: Row, end: Row) -> float:
    moments = [datetime.fromisoformat(row["timestamp"]) for row in (begin, end)]
    return (moments[1] - moments[0]).total_seconds() * 1000
