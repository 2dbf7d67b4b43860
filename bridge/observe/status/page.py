"""The page for operators: one look tells whether work flows. Plain HTML; a few lines of script refresh it."""

import base64
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from bottle import SimpleTemplate

from bridge import metrics
from bridge.observe.durations import in_one_unit
from bridge.observe.logs import recent_errors
from bridge.observe.status.history import Course, History
from bridge.observe.status.snapshot import Snapshot, SystemView
from bridge.observe.status.sparkline import Sparkline, sparkline
from bridge.observe.status.troubles import Level, Trouble, troubles
from bridge.statistics import Statistics
from bridge.texts import gettext, grouped, language, ngettext, translated

_FOLDER = Path(__file__).parent
_STYLE = (_FOLDER / "page.css").read_text(encoding="utf-8")
_SCRIPT = (_FOLDER / "page.js").read_text(encoding="utf-8")
_PAGE = SimpleTemplate((_FOLDER / "page.tpl").read_text(encoding="utf-8"))
_FRAGMENT = SimpleTemplate((_FOLDER / "fragment.tpl").read_text(encoding="utf-8"))


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


# The browser runs and loads nothing else, whatever a topic or an error message may hold.
POLICY = (
    f"default-src 'none'; style-src {_hash(_STYLE)}; script-src {_hash(_SCRIPT)}; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


# Seen in the browser's tab: a disc, a triangle or an octagon, so that the shape tells too.
_ICON = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 20 20'%3E"
    "%3Cpath fill='%23{}' d='{}'/%3E%3C/svg%3E"
)
ICONS = {
    "ok": _ICON.format("2da160", "M10 1a9 9 0 100 18 9 9 0 000-18z"),
    "look": _ICON.format("e09a1a", "M10 1.5L19 18H1z"),
    "stopped": _ICON.format("d9273f", "M6.3 1h7.4L19 6.3v7.4L13.7 19H6.3L1 13.7V6.3z"),
}


NO_COURSE = Course((), ())


@dataclass(frozen=True, slots=True)
class Installation:
    """Which worker it is, and the engine and the broker that it works with, for people."""

    worker_id: str
    engine: str
    broker: str


@dataclass(frozen=True, slots=True)
class Row:
    """One system as the page shows it; `mark` chooses the sign, `state` says it in words.

    `answered` is None where it is not known in this process.
    """

    view: SystemView
    mark: str
    state: str
    published: int
    answered: int | None
    oldest: str
    hour: Sparkline | None


class Page:
    """Renders the page and the part of it that changes."""

    def __init__(
        self,
        installation: Installation,
        snapshot: Callable[[], Snapshot],
        history: History,
        stuck: Callable[[], list[str]],
        statistics: Statistics,
    ) -> None:
        self._installation = installation
        self._snapshot = snapshot
        self._history = history
        self._stuck = stuck
        self._statistics = statistics

    def whole(self) -> str:
        """Return the page, complete without script."""
        facts = self._facts()
        return str(_PAGE.render(style=_STYLE, script=_SCRIPT, fragment=_FRAGMENT.render(**facts), **facts))

    def fragment(self) -> str:
        """Return what changes."""
        return str(_FRAGMENT.render(**self._facts()))

    def _facts(self) -> dict[str, Any]:
        now, (minute, hour) = self._snapshot(), self._history.lately()
        wrong = troubles(now, hour, self._stuck())
        fetched = _sum(minute, "fetched")
        arrived = sum(minute[outcome, ""] for outcome in metrics.OUTCOMES)
        mark, words = headline(now, wrong, fetched + arrived)
        links = {connection.kind: connection.trouble for connection in now.connections}
        rows = [
            row_of(
                view,
                published=minute["published", view.name],
                answered=minute["answered", view.name] if now.sees_round_trips else None,
                course=self._history.course(view.name),
            )
            for view in now.systems
        ]
        return {
            "_": gettext,
            "ngettext": ngettext,
            "grouped": grouped,
            "language": language(),
            "now": now,
            "installation": self._installation,
            "troubles": wrong,
            "headline": (mark, words),
            "title": f"{words} – {self._installation.worker_id}",
            "icon": ICONS[mark],
            "rows": rows,
            "fetched": fetched,
            "arrived": arrived,
            "applied": minute["applied", ""],
            "delayed": minute["delayed", ""],
            "out_is_broken": bool(now.engine_trouble or links.get("tasks")),
            "in_is_broken": bool(links.get("answers")) or now.subscribed is False,
            "errors": recent_errors(),
            "changes": self._history.changes(),
            "translated": translated,
            "version": metrics.VERSION,
            "up": in_one_unit(self._statistics.uptime_seconds),
            "clock": datetime.now().astimezone().strftime("%H:%M:%S %Z"),
        }


def _sum(counts: dict[tuple[str, str], int], what: str) -> int:
    return sum(count for (name, _), count in counts.items() if name == what)


def headline(now: Snapshot, wrong: list[Trouble], moved: int) -> tuple[str, str]:
    """Return the mark and the words that sum everything up; `moved`: the tasks and answers of the last minute."""
    if any(trouble.level is Level.STOPPED for trouble in wrong):
        return "stopped", gettext("Work does not flow")
    is_idle = not moved and not any(system.in_flight for system in now.systems)
    words = gettext("Ready; nothing to do now") if is_idle else gettext("Work flows")
    if wrong:
        return "look", gettext("{words}, but something needs a look").format(words=words)
    return "ok", words


def row_of(view: SystemView, *, published: int, answered: int | None, course: Course = NO_COURSE) -> Row:
    """Return how a system stands, in words too: a colour alone says nothing to many."""
    oldest = "–" if view.oldest_seconds is None else in_one_unit(view.oldest_seconds)
    mark, state = _state_of(view, flows=bool(published or answered))
    return Row(view, mark, state, published, answered, oldest, sparkline(course, has_rate=answered is not None))


def _state_of(view: SystemView, *, flows: bool) -> tuple[str, str]:
    if view.paused or view.queue.trouble:
        return "look", gettext("paused: {reason}").format(reason=translated(view.paused or view.queue.trouble))
    if not view.queue.is_known:
        return "idle", gettext("unknown")
    if view.queue.is_unheard:
        return "look", gettext("nobody listens")
    if not view.queue.consumers:
        return "idle", gettext("no listener")
    if flows:
        return "ok", gettext("flows")
    return "ok", gettext("at work") if view.in_flight else gettext("listens")
