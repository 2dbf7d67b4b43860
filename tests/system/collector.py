"""A collector of traces: takes what OTLP sends over HTTP."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span as OtlpSpan

from tests.sandbox.processes import eventually

SECONDS = 30.0


@dataclass(frozen=True)
class Recorded:
    """A span as it came; ids in hexadecimal digits, the parent's empty where there is none."""

    name: str
    service: str
    trace_id: str
    span_id: str
    parent_id: str
    attributes: dict[str, str]
    failed: bool


class Collector:
    """The spans that came so far, and where to send more."""

    def __init__(self) -> None:
        self.spans: list[Recorded] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def run(self) -> None:
        self._server.serve_forever()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def wait_for(self, name: str, count: int = 1) -> list[Recorded]:
        """Waits until that many spans of that name came, and returns them."""
        assert eventually(lambda: len(self.named(name)) >= count, seconds=SECONDS), self.spans
        return self.named(name)

    def named(self, name: str) -> list[Recorded]:
        return [span for span in self.spans if span.name == name]

    def _take(self, body: bytes) -> None:
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            texts = {one.key: one.value.string_value for one in resource.resource.attributes}
            spans = (span for scope in resource.scope_spans for span in scope.spans)
            self.spans += [_recorded(span, texts["service.name"]) for span in spans]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        take = self._take

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                assert self.path == "/v1/traces"
                take(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        return Handler


def _recorded(span: OtlpSpan, service: str) -> Recorded:
    return Recorded(
        name=span.name,
        service=service,
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        attributes={one.key: one.value.string_value for one in span.attributes},
        failed=span.status.code == span.status.STATUS_CODE_ERROR,
    )


@contextmanager
def collecting() -> Iterator[Collector]:
    collector = Collector()
    thread = threading.Thread(target=collector.run, daemon=True)
    thread.start()
    try:
        yield collector
    finally:
        collector.stop()
        thread.join(SECONDS)
