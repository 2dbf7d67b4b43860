"""Spans of what the worker does with tasks and answers, sent to a collector by OTLP.

Imported only where OTEL_EXPORTER_OTLP_ENDPOINT is set: requirements-tracing.txt has what it needs.
"""

import logging
import math
from collections.abc import Mapping, Sequence

from loguru import logger
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import Span as OtelSpan
from opentelemetry.trace import SpanKind, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from bridge import clock
from bridge.contract import RESPONSE_QUEUE, TASK_EXCHANGE, ExternalTask, Response, TraceContext
from bridge.errors import SettingsError
from bridge.metrics import VERSION
from bridge.routing import System

EXPORT_SECONDS = 5.0
LAST_SPANS_SECONDS = 3.0  # a stop does not wait longer for a collector
W3C = TraceContextTextMapPropagator()


class Span:
    """One thing that the worker does; `trace` is the context for what follows from it, at another place."""

    def __init__(self, span: OtelSpan) -> None:
        self._span = span

    @property
    def trace(self) -> TraceContext | None:
        """The context that a message carries."""
        headers: dict[str, str] = {}
        W3C.inject(headers, set_span_in_context(self._span, Context()))
        return TraceContext.read(headers.get("traceparent"), headers.get("tracestate"))

    def end(self, outcome: str, *, failed: bool) -> None:
        """End it, with a word for what has become of it."""
        self._span.set_attribute("camunda.outcome", outcome)
        if failed:
            self._span.set_status(StatusCode.ERROR, outcome)
        self._span.end()


class Tracing:
    """Begins spans, from any thread, and sends those that have ended.

    `endpoint` is the collector's base URL. Which spans are sampled, and headers for the collector, the library
    reads from its own variables of the environment (OTEL_TRACES_SAMPLER, OTEL_EXPORTER_OTLP_HEADERS and others).
    """

    def __init__(self, endpoint: str, service_name: str) -> None:
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # its errors are told by _Exporter
        resource = Resource.create({SERVICE_NAME: service_name, SERVICE_VERSION: VERSION})
        self._endpoint = endpoint
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._tracer = self._provider.get_tracer("universal-camunda-worker", VERSION)
        self._stopping = clock.Event()
        self._gives_up_at = math.inf

    def run(self) -> None:
        """Send spans until `stop`, and then those that are left; the body of a thread.

        Raises SettingsError where the library refuses one of its own variables.
        """
        try:
            self._provider.add_span_processor(BatchSpanProcessor(_Exporter(self._endpoint)))
        except ValueError as error:
            raise SettingsError(f"a variable OTEL_* of the environment is wrong: {error}") from error
        self._stopping.wait()
        self._provider.shutdown()

    def stop(self) -> None:
        """Send what is left and end."""
        self._gives_up_at = clock.now() + LAST_SPANS_SECONDS
        self._stopping.set()

    @property
    def holds_nothing(self) -> bool:
        """Whether a stop need not wait for the last spans any longer."""
        return clock.now() > self._gives_up_at

    def publishing(self, task: ExternalTask, system: System) -> Span:
        """Begin the span of a task's way into its system's queue, in the trace of the process where it has one."""
        attributes = {
            "messaging.operation.type": "send",
            "messaging.destination.name": TASK_EXCHANGE,
            "messaging.rabbitmq.destination.routing_key": f"{system.name}.{task.topic}",
            "camunda.task.id": task.id,
            "camunda.task.attempt": task.attempt,
            "camunda.process_instance.id": task.process_instance_id,
        }
        return self._begin(f"send {system.queue}", SpanKind.PRODUCER, task.trace, attributes)

    def applying(self, response: Response, trace: TraceContext | None) -> Span:
        """Begin the span of an answer's application, in the trace that the answer names."""
        attributes = {
            "messaging.operation.type": "process",
            "messaging.destination.name": RESPONSE_QUEUE,
            "camunda.task.id": response.task_id,
            "camunda.response_type": response.response_type.value,
        }
        return self._begin(f"process {RESPONSE_QUEUE}", SpanKind.CONSUMER, trace, attributes)

    def _begin(
        self, name: str, kind: SpanKind, parent: TraceContext | None, attributes: Mapping[str, str]
    ) -> Span:
        context = W3C.extract(parent.headers if parent else {}, Context())
        all_attributes = {"messaging.system": "rabbitmq", **attributes}
        return Span(self._tracer.start_span(name, context, kind, all_attributes))


class _Exporter(SpanExporter):
    """Sends spans, and says where that fails; what cannot be sent is lost, the work goes on."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
        self._otlp = OTLPSpanExporter(f"{endpoint}/v1/traces", timeout=EXPORT_SECONDS)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send a batch."""
        result = self._otlp.export(spans)
        if result is not SpanExportResult.SUCCESS:
            logger.warning("OTEL_EXPORTER_OTLP_ENDPOINT {} takes no spans: {} lost", self._endpoint, len(spans))
        return result

    def shutdown(self) -> None:
        """End, and give up a batch that waits to be sent again."""
        self._otlp.shutdown()  # type: ignore[no-untyped-call]
