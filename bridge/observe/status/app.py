"""What the status server answers: the page, metrics and health. It only reads."""

from collections.abc import Callable, Sequence
from typing import Any

from bottle import Bottle, request, response
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest

from bridge.observe.status.collector import StateCollector
from bridge.observe.status.health import reasons_not_ready
from bridge.observe.status.page import POLICY, Page
from bridge.observe.status.snapshot import Snapshot
from bridge.texts import in_language, language_of_header

HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Content-Security-Policy": POLICY}
PLAIN, HTML = "text/plain; charset=utf-8", "text/html; charset=utf-8"
UNAVAILABLE = 503


def application(snapshot: Callable[[], Snapshot], page: Page, stuck: Callable[[], list[str]]) -> Any:
    """Return the WSGI application; `stuck` returns a line for each loop that does not turn."""
    registry = CollectorRegistry()
    registry.register(REGISTRY)
    registry.register(StateCollector(snapshot))
    app = Bottle()
    app.get("/", callback=lambda: _in_words(page.whole))
    app.get("/fragment", callback=lambda: _in_words(page.fragment))
    app.get("/metrics", callback=lambda: _reply(generate_latest(registry), CONTENT_TYPE_LATEST))
    app.get("/livez", callback=lambda: _verdict(stuck()))
    app.get("/readyz", callback=lambda: _verdict(list(reasons_not_ready(snapshot()))))
    return app


def _in_words(render: Callable[[], str]) -> str | bytes:
    """Answer in the reader's language."""
    language = language_of_header(request.environ.get("HTTP_ACCEPT_LANGUAGE", ""))  # bottle wants it in UTF-8
    response.headers.update({"Content-Language": language, "Vary": "Accept-Language"})
    with in_language(language):
        return _reply(render(), HTML)


def _verdict(reasons: Sequence[str]) -> str | bytes:
    response.status = UNAVAILABLE if reasons else 200
    return _reply("".join(f"{line}\n" for line in reasons or ["ok"]), PLAIN)


def _reply(body: str | bytes, content_type: str) -> str | bytes:
    response.headers.update({**HEADERS, "Content-Type": content_type})
    return body
