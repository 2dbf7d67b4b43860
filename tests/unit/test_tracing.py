"""The spans of the worker: one for each message on its way, whatever becomes of it, and one for each answer."""

from collections.abc import Callable, Iterator

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from bridge.broker import Outcome
from bridge.engine import Reply
from bridge.errors import SettingsError
from bridge.tracing import Tracing
from tests.unit import fakes
from tests.unit.fakes import task_row
from tests.unit.test_answer_policy import Desk, complete
from tests.unit.test_camunda_worker import Bench

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
Spans = Callable[[], list[ReadableSpan]]


@pytest.fixture
def tracing() -> Tracing:
    return Tracing("http://127.0.0.1:9", "worker")


@pytest.fixture
def ended(tracing: Tracing) -> Iterator[Spans]:
    """The spans that have ended."""
    exporter = InMemorySpanExporter()
    tracing._provider.add_span_processor(SimpleSpanProcessor(exporter))
    yield lambda: list(exporter.get_finished_spans())
    tracing._provider.shutdown()


@pytest.fixture
def bench(tracing: Tracing) -> Bench:
    return Bench(tracing=tracing)


def outcome_of(span: ReadableSpan) -> tuple[object, bool]:
    return (span.attributes or {})["camunda.outcome"], span.status.is_ok


def test_a_message_that_is_published_again_stays_in_its_span(bench: Bench, ended: Spans) -> None:
    row = task_row() | {"variables": {"traceparent": {"type": "String", "value": TRACEPARENT}}}
    bench.offer(row)
    bench.publisher.outcomes = [Outcome.UNKNOWN]
    bench.engine.tasks["t1"] = row

    bench.worker.turn()
    before = ended()
    bench.nothing_more()
    bench.worker.turn()

    first, again = (batch[0].headers["traceparent"] for batch in bench.publisher.batches)
    (span,) = ended()
    assert (before, first) == ([], again)
    assert f"{span.context.span_id:016x}" in first
    assert f"{span.context.trace_id:032x}" in TRACEPARENT
    assert outcome_of(span) == ("confirmed", True)


def test_a_task_that_is_given_back_ends_its_span_with_the_reason(bench: Bench, ended: Spans) -> None:
    bench.offer(task_row())
    bench.publisher.outcomes = [Outcome.REFUSED]

    bench.worker.turn()
    bench.nothing_more()
    bench.worker.turn()

    assert [outcome_of(span) for span in ended()] == [(Outcome.REFUSED.value, False)]


def test_a_task_that_no_message_can_carry_ends_its_span(bench: Bench, ended: Spans) -> None:
    bench.offer(task_row() | {"variables": {"scan": {"type": "Bytes", "value": "x" * 20_000}}})

    bench.worker.turn()

    assert [outcome_of(span) for span in ended()] == [("unpublishable", False)]


def test_what_is_freed_at_a_stop_ends_its_span(bench: Bench, ended: Spans) -> None:
    bench.offer(task_row())
    bench.publisher.outcomes = [Outcome.UNSENT]
    bench.worker.turn()
    bench.engine.replies["fetchAndLock"] = [Reply(200, b"[]")]
    bench.stopping.set()

    bench.worker.run()

    assert [outcome_of(span) for span in ended()] == [("the worker stops", False)]


@pytest.mark.parametrize(
    ("reply", "outcome"),
    [
        pytest.param(fakes.ACCEPTED, ("accepted", True), id="accepted"),
        pytest.param(fakes.GONE, ("gone", True), id="gone"),
        pytest.param(fakes.BAD_TYPE, ("rejected", False), id="rejected"),
        pytest.param(fakes.TROUBLE, ("trouble", False), id="trouble"),
    ],
)
def test_the_span_of_an_answer_says_the_engines_word(
    tracing: Tracing, ended: Spans, reply: Reply, outcome: tuple[object, bool]
) -> None:
    desk = Desk(tracing=tracing)
    desk.engine.replies["complete"] = [reply]

    desk.take(fakes.delivery(complete(), headers={"traceparent": TRACEPARENT}))

    (span,) = ended()
    assert span.parent is not None
    assert f"{span.parent.span_id:016x}" in TRACEPARENT
    assert outcome_of(span) == outcome


def test_an_answer_whose_variables_cannot_be_applied_ends_its_span(tracing: Tracing, ended: Spans) -> None:
    desk = Desk(tracing=tracing)

    desk.take(fakes.delivery(complete(variables={"n": {"value": 1, "type": 5}})))

    assert [outcome_of(span) for span in ended()] == [("not applied", False)]


def test_a_variable_that_the_library_refuses_is_a_wrong_setting(
    tracing: Tracing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "-1")

    with pytest.raises(SettingsError, match=r"OTEL_.* max_queue_size must be a positive integer"):
        tracing.run()
