"""What the status server answers: the page, metrics and health. It only reads."""

from collections.abc import Callable, Sequence
from typing import Any

from bottle import Bottle, response
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest

from bridge.observe.status.collector import StateCollector
from bridge.observe.status.health import reasons_not_ready
from bridge.observe.status.page import POLICY, Page
from bridge.observe.status.snapshot import Snapshot

HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Content-Security-Policy": POLICY}
PLAIN, HTML = "text/plain; charset=utf-8", "text/html; charset=utf-8"
UNAVAILABLE = 503


def application(snapshot: Callable[[], Snapshot], page: Page, stuck: Callable[[], list[str]]) -> Any:
    """Return the WSGI application; `stuck` returns a line for each loop that does not turn."""
    registry = CollectorRegistry()
    registry.register(REGISTRY)
    registry.register(StateCollector(snapshot))
    app = Bottle()
    app.get("/", callback=lambda: _reply(page.whole(), HTML))
    app.get("/fragment", callback=lambda: _reply(page.fragment(), HTML))
    app.get("/metrics", callback=lambda: _reply(generate_latest(registry), CONTENT_TYPE_LATEST))
    app.get("/livez", callback=lambda: _verdict(stuck()))
    app.get("/readyz", callback=lambda: _verdict(list(reasons_not_ready(snapshot()))))
    return app


def _verdict(reasons: Sequence[str]) -> str | bytes:
    response.status = UNAVAILABLE if reasons else 200
    return _reply("".join(f"{line}\n" for line in reasons or ["ok"]), PLAIN)


def _reply(body: str | bytes, content_type: str) -> str | bytes:
    response.headers.update({**HEADERS, "Content-Type": content_type})
    return body
