"""A trace goes from the process through the message to the system, and back with its answer."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pika.adapters.blocking_connection import BlockingChannel

from sandbox.engine_api import EngineApi
from tests.system.collector import Collector, collecting
from tests.system.conftest import StartSystem, StartWorker
from tests.system.engine import start_typed, wait_for_state
from tests.system.partner import TaskMessage, answer, complete, completing, silent
from tests.system.worker_process import WorkerProcess

pytestmark = pytest.mark.usefixtures("samples")

QUEUE = ["bitrix24.queue"]
SENT, APPLIED = "send bitrix24.queue", "process camunda.responses.queue"
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE}-{SPAN}-01"
PARTNERS_SPAN = "00f067aa0ba902b7"


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector


@pytest.fixture
def tracing_worker(start_worker: StartWorker, collector: Collector) -> WorkerProcess:
    settings = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "200"}
    return start_worker(**settings).wait_connected()


def traced(traceparent: str, **more: str) -> dict[str, dict[str, Any]]:
    texts = {"traceparent": traceparent, **more}
    return {name: {"type": "String", "value": value} for name, value in texts.items()}


def trace_headers(task: TaskMessage) -> dict[str, str]:
    headers = task.properties.headers or {}
    return {name: str(headers[name]) for name in ("traceparent", "tracestate") if name in headers}


@pytest.mark.usefixtures("tracing_worker")
def test_the_spans_of_the_worker_are_part_of_the_trace_of_process_and_partner(
    engine_api: EngineApi, start_system: StartSystem, channel: BlockingChannel, collector: Collector
) -> None:
    system = start_system(QUEUE, silent)

    instance = start_typed(engine_api, "bitrix24_task", traced(TRACEPARENT, tracestate="vendor=1"))
    (task,) = system.receive(1)
    answer(channel, complete(task), headers={"traceparent": f"00-{TRACE}-{PARTNERS_SPAN}-01"})
    wait_for_state(engine_api, instance)

    (sent,) = collector.wait_for(SENT)
    (applied,) = collector.wait_for(APPLIED)
    assert trace_headers(task) == {"traceparent": f"00-{TRACE}-{sent.span_id}-01", "tracestate": "vendor=1"}
    assert (sent.trace_id, sent.parent_id) == (TRACE, SPAN)
    assert (applied.trace_id, applied.parent_id) == (TRACE, PARTNERS_SPAN)
    assert {sent.attributes["camunda.task.id"], applied.attributes["camunda.task.id"]} == {task.id}
    assert (sent.attributes["camunda.outcome"], applied.attributes["camunda.outcome"]) == ("confirmed", "accepted")
    assert (sent.failed, applied.failed) == (False, False)
    assert sent.service == "universal-camunda-worker"


@pytest.mark.usefixtures("tracing_worker")
@pytest.mark.parametrize("variables", [{}, traced("00-nonsense-01")])
def test_where_a_process_has_no_trace_the_worker_begins_one(
    engine_api: EngineApi, start_system: StartSystem, collector: Collector, variables: dict[str, Any]
) -> None:
    system = start_system(QUEUE, completing)

    instance = start_typed(engine_api, "bitrix24_task", variables)
    wait_for_state(engine_api, instance)

    (task,) = system.tasks
    (sent,) = collector.wait_for(SENT)
    assert sent.parent_id == ""
    version, trace_id, span_id, flags = trace_headers(task)["traceparent"].split("-")
    assert (version, trace_id, span_id) == ("00", sent.trace_id, sent.span_id)
    assert int(flags, 16) & 1, "it is sampled"


@pytest.mark.usefixtures("tracing_worker")
def test_an_answer_whose_traceparent_is_not_valid_is_applied_in_a_trace_of_its_own(
    engine_api: EngineApi, start_system: StartSystem, channel: BlockingChannel, collector: Collector
) -> None:
    system = start_system(QUEUE, silent)

    instance = start_typed(engine_api, "bitrix24_task", {})
    (task,) = system.receive(1)
    answer(channel, complete(task), headers={"traceparent": f"00-{TRACE.upper()}-{PARTNERS_SPAN}-01"})
    wait_for_state(engine_api, instance)

    (applied,) = collector.wait_for(APPLIED)
    assert applied.parent_id == ""


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize(
    ("variables", "headers"),
    [
        pytest.param(traced(TRACEPARENT), {"traceparent": TRACEPARENT}, id="valid"),
        pytest.param(
            traced(TRACEPARENT, tracestate="a=1,b=2"),
            {"traceparent": TRACEPARENT, "tracestate": "a=1,b=2"},
            id="state",
        ),
        pytest.param(traced("00-nonsense-01", tracestate="a=1"), {}, id="invalid"),
        pytest.param({}, {}, id="none"),
    ],
)
def test_without_a_collector_a_valid_trace_goes_on_as_it_is(
    engine_api: EngineApi, start_system: StartSystem, variables: dict[str, Any], headers: dict[str, str]
) -> None:
    system = start_system(QUEUE, completing)

    start_typed(engine_api, "bitrix24_task", variables)

    (task,) = system.receive(1)
    assert trace_headers(task) == headers


def test_while_the_collector_is_down_the_work_goes_on_and_the_log_says_what_is_lost(
    engine_api: EngineApi, start_system: StartSystem, start_worker: StartWorker, unused_port: int
) -> None:
    url = f"http://127.0.0.1:{unused_port}"
    worker = start_worker(OTEL_EXPORTER_OTLP_ENDPOINT=url, OTEL_BSP_SCHEDULE_DELAY="200").wait_connected()
    start_system(QUEUE, completing)

    instance = engine_api.start_instance("bitrix24_task")
    wait_for_state(engine_api, instance)
    worker.wait_for("WARNING", f"OTEL_EXPORTER_OTLP_ENDPOINT {url} takes no spans")
    engine_api.start_instance("bitrix24_task")
    code, seconds = worker.stop()

    assert code == 0
    assert seconds < 12
    assert worker.lines("Transient error") == []


def test_a_stop_sends_the_last_spans(
    engine_api: EngineApi, start_system: StartSystem, start_worker: StartWorker, collector: Collector
) -> None:
    settings = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "60000"}
    worker = start_worker(**settings).wait_connected()
    start_system(QUEUE, completing)

    wait_for_state(engine_api, engine_api.start_instance("bitrix24_task"))
    assert worker.stop()[0] == 0

    assert [len(collector.named(name)) for name in (SENT, APPLIED)] == [1, 1]


def test_a_collector_without_the_packages_for_it_is_a_wrong_setting(
    start_worker: StartWorker, tmp_path: Path
) -> None:
    stand_in = tmp_path / "opentelemetry"
    stand_in.mkdir()
    (stand_in / "__init__.py").write_text("raise ImportError(\"No module named 'opentelemetry'\")\n")

    worker = start_worker(OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:4318", PYTHONPATH=str(tmp_path))

    assert worker.exit_code() == 78
    (line,) = worker.output.splitlines()
    assert "OTEL_EXPORTER_OTLP_ENDPOINT is set, and a package for it is missing" in line
    assert "pip install -r requirements-tracing.txt" in line
