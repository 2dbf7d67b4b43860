"""What is counted, for Prometheus: the one place for names, labels and buckets.

Labels are systems, topics, queues and words of fixed lists; never ids. A metric with labels is a function that
returns the child of these labels and keeps it, which costs a quarter of looking it up anew.
"""

import platform
import time
from collections.abc import Iterable, Iterator
from functools import cache

from prometheus_client import Counter, Gauge, Histogram, Info, disable_created_metrics

from bridge.errors import REASONS

VERSION = "0.2.0"
QUICK = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
DAYS = (0.01, 0.05, 0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 6 * 3600, 24 * 3600, 7 * 24 * 3600)
RESULTS = ("confirmed", "returned", "refused", "unsent", "unknown", "unpublishable")
OUTCOMES = ("applied", "gone", "stale", "ignored", "delayed", "error_queue")
REJECTED_BECAUSE = ("rejected", "delivery_limit", "maxlen")
CONNECTIONS = ("tasks", "answers", "detours")
CALLS = ("fetchAndLock", "external-task", "topic-names")

disable_created_metrics()  # type: ignore[no-untyped-call]

_FETCHED = Counter("camunda_worker_tasks_fetched", "Tasks fetched and locked at the engine.", ["system", "topic"])
_PUBLISHED = Counter(
    "camunda_worker_tasks_published",
    "Tasks handed to the broker by what became of them; unpublishable: no message can carry the task.",
    ["system", "result"],
)
CONFIRM_SECONDS = Histogram(
    "camunda_worker_confirm_seconds", "From handing a batch to the broker to its last confirm.", buckets=QUICK
)
_NOT_GIVEN_OUT = Counter(
    "camunda_worker_tasks_not_given_out",
    "Tasks that the engine cannot read, so that no fetch can bring them.",
    ["system"],
)
_EXTENDED = Counter(
    "camunda_worker_leases_extended", "Short locks made into the full lock of the system.", ["system"]
)
_LAPSED = Counter(
    "camunda_worker_leases_lapsed", "Short locks that ended before the full one was in place.", ["system"]
)
_NO_ANSWERS = Counter(
    "camunda_worker_no_answers", "Tasks reported as failed: the system took them and was silent.", ["system"]
)
_SILENT = Gauge(
    "camunda_worker_system_silent",
    "1 from the moment when a system let a lock end without an answer until an answer of it comes.",
    ["system"],
)
_CANCELLED = Counter(
    "camunda_worker_cancelled", "Cancelled tasks that a system was told of, which wants to know.", ["system"]
)
_REJECTED = Counter(
    "camunda_worker_rejected",
    "Task messages that their system rejected or gave back too often, or that its full queue dropped.",
    ["system", "reason"],
)
_RESPONSES = Counter(
    "camunda_worker_responses",
    "Responses by type and by what became of them; type unknown: it could not be read.",
    ["type", "outcome"],
)
_RESULTS = Counter(
    "camunda_worker_task_results",
    "What systems reported of their tasks and the engine took; unknown: the components run apart.",
    ["system", "topic", "result"],
)
_UNREADABLE_ROWS = Counter(
    "camunda_worker_unreadable_rows", "Rows of the engine's replies that were skipped.", ["call"]
)
_UNKNOWN_KEYS = Counter(
    "camunda_worker_unknown_keys", "Answers with keys that nobody knows, which are ignored.", ["system"]
)
_DEAD_LETTERS = Counter("camunda_worker_dead_letters", "Responses moved to the error queue.", ["reason"])
APPLY_SECONDS = Histogram(
    "camunda_worker_apply_seconds", "What the engine needs to take one response.", buckets=QUICK
)
_ROUND_TRIP = Histogram(
    "camunda_worker_round_trip_seconds",
    "From the confirm of a task's message to the moment when its answer is applied.",
    ["system"],
    buckets=DAYS,
)
_RECONNECTS = Counter(
    "camunda_worker_reconnects", "Connections to the broker made again after a loss.", ["connection"]
)
_CERTIFICATE_ENDS = Gauge(
    "camunda_worker_certificate_ends_timestamp_seconds",
    "When a certificate ends, since 1970: that of the engine, the broker, or ours for one of them.",
    ["whose"],
)
_LAST_SUCCESS = Gauge(
    "camunda_worker_last_success_timestamp_seconds", "When this last succeeded, since 1970.", ["op"]
)
Info("camunda_worker_build", "The version that runs.").info(
    {"version": VERSION, "python": platform.python_version()}
)

_succeeded_at: dict[str, float] = {}
_silent_systems: set[str] = set()

fetched = cache(_FETCHED.labels)
published = cache(_PUBLISHED.labels)
not_given_out = cache(_NOT_GIVEN_OUT.labels)
extended = cache(_EXTENDED.labels)
lapsed = cache(_LAPSED.labels)
cancelled = cache(_CANCELLED.labels)
rejected = cache(_REJECTED.labels)
no_answers = cache(_NO_ANSWERS.labels)
responses = cache(_RESPONSES.labels)
task_results = cache(_RESULTS.labels)
dead_letters = cache(_DEAD_LETTERS.labels)
unknown_keys = cache(_UNKNOWN_KEYS.labels)
unreadable_rows = cache(_UNREADABLE_ROWS.labels)
round_trip = cache(_ROUND_TRIP.labels)
reconnects = cache(_RECONNECTS.labels)
certificate_ends = cache(_CERTIFICATE_ENDS.labels)


def succeeded(op: str) -> None:
    """Note that `fetch`, `publish`, `extend` or `apply` succeeded now."""
    is_first = op not in _succeeded_at
    _succeeded_at[op] = time.time()
    if is_first:
        _LAST_SUCCESS.labels(op).set_function(lambda: _succeeded_at[op])


def fell_silent(system: str) -> None:
    """Note that a system took a task and let its lock end."""
    no_answers(system).inc()
    _silent_systems.add(system)
    _SILENT.labels(system).set(1)


def heard(system: str) -> None:
    """Note a sign that a system answers; costs next to nothing, for it comes with each answer."""
    if system in _silent_systems:
        _silent_systems.discard(system)
        _SILENT.labels(system).set(0)


def totals() -> Iterator[tuple[str, list[str], float]]:
    """Yield what was counted so far: the name without prefix and unit, the labels' values, the count."""
    counters = (
        _FETCHED,
        _PUBLISHED,
        _NOT_GIVEN_OUT,
        _LAPSED,
        _NO_ANSWERS,
        _REJECTED,
        _RESPONSES,
        _DEAD_LETTERS,
        _ROUND_TRIP,
        _RECONNECTS,
    )
    for metric in counters:
        for family in metric.collect():
            for sample in family.samples:
                name, _, kind = sample.name.removeprefix("camunda_worker_").rpartition("_")
                if kind in ("total", "count"):
                    yield name, list(sample.labels.values()), sample.value


def begin_at_zero(systems: Iterable[str]) -> None:
    """Make the series that alerts look at exist before their first event, which else would not be a rise."""
    for system in systems:
        for result in RESULTS:
            published(system, result)
        for reason in REJECTED_BECAUSE:
            rejected(system, reason)
        _SILENT.labels(system)
        for of_system in (extended, lapsed, no_answers, unknown_keys, not_given_out, cancelled):
            of_system(system)
    for reason in REASONS:
        dead_letters(reason)
    for call in CALLS:
        unreadable_rows(call)
    for connection in CONNECTIONS:
        reconnects(connection)
