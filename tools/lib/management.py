"""The broker's management API, where a tool is given its URL: what AMQP does not tell of a queue."""

import argparse
import base64
import json
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from bridge.broker.broker import Broker
from bridge.errors import LoginRefused, SettingsError, Unavailable
from bridge.texts import gettext
from config import Settings

TIMEOUT_SECONDS = 10


def http_url(text: str) -> str:
    """Return the URL of an argument. Raises ArgumentTypeError for what is none of HTTP, such as a file."""
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in text:
        refusal = gettext("{text!r:.80} is no URL without a login, such as http://localhost:15672")
        raise argparse.ArgumentTypeError(refusal.format(text=text))
    return text


@dataclass(frozen=True, slots=True)
class QueueTotals:
    """What the management API knows of a queue; None where this broker does not say."""

    unacked: int | None
    oldest: float | None


def queue_totals(url: str, broker: Broker) -> dict[str, QueueTotals]:
    """Return what the API below `url`, such as http://localhost:15672, tells of the queues of our virtual host.

    Raises Unavailable, LoginRefused where our user may not use it.
    """
    rows = _rows(url, broker, "")
    if not all("messages_unacknowledged" in row for row in rows):  # a broker that collects no statistics
        rows = _rows(url, broker, "?disable_stats=true&enable_queue_totals=true")
    return totals_of(rows)


def totals_of(rows: Iterable[dict[str, Any]]) -> dict[str, QueueTotals]:
    """Return the totals by queue."""
    return {
        row["name"]: QueueTotals(row.get("messages_unacknowledged"), _seconds(row.get("head_message_timestamp")))
        for row in rows
    }


def _seconds(value: object) -> float | None:
    """Return epoch seconds; the API gives a number or, in some versions, a text such as 2026-11-24 10:00:00."""
    if isinstance(value, int | float):
        return float(value)
    try:
        return datetime.fromisoformat(f"{value}+00:00").timestamp()
    except ValueError:
        return None


def _rows(url: str, broker: Broker, query: str) -> list[dict[str, Any]]:
    place = f"--management {url}"
    target = f"{url.rstrip('/')}/api/queues/{quote(broker.virtual_host, safe='')}{query}"
    try:
        request = urllib.request.Request(target, headers={"Authorization": _basic(broker)})  # noqa: S310  # http_url
        with _opener.open(request, timeout=TIMEOUT_SECONDS) as reply:
            rows = json.load(reply)
    except urllib.error.HTTPError as error:
        if error.code == 401:
            text = gettext(
                "{place} refuses RABBITMQ_USERNAME {user!r}: it wants the right password and a user "
                "with the tag monitoring or management"
            )
            raise LoginRefused(text.format(place=place, user=broker.username)) from error
        answers = gettext("{place} answers {code}").format(place=place, code=error.code)
        raise Unavailable(answers) from error
    except (OSError, ValueError, RecursionError, HTTPException) as error:
        raise _no_api(place, getattr(error, "reason", error)) from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) and "name" in row for row in rows):
        raise _no_api(place, gettext("it answers with JSON that is no list of queues"))
    return rows


def _no_api(place: str, reason: object) -> Unavailable:
    text = gettext("no management API at {place}: {reason}")
    return Unavailable(text.format(place=place, reason=reason))


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the password to wherever it leads."""

    def redirect_request(self, *_: Any) -> None:
        """Follow none."""


_opener = urllib.request.build_opener(_NoRedirect)


@dataclass(frozen=True, slots=True)
class Admin:
    """Who may change permissions."""

    name: str
    password: str


def add_admin_options(parser: argparse.ArgumentParser, what: str) -> None:
    """Let a tool act through the management API, as an administrator."""
    parser.add_argument("--apply", metavar="URL", type=http_url, help=what)
    parser.add_argument("--admin", metavar="NAME", help=gettext("the administrator's user name"))
    password = gettext("a file with its password")
    parser.add_argument("--admin-password-file", metavar="FILE", type=Path, help=password)


def admin_of(arguments: argparse.Namespace, settings: Settings) -> Admin:
    """Return the administrator of the options, else the worker's own user. Raises SettingsError."""
    if arguments.admin is None:
        return Admin(settings.rabbitmq_username, settings.secret_now("rabbitmq_password"))
    file: Path | None = arguments.admin_password_file
    try:
        return Admin(arguments.admin, file.read_text(encoding="utf-8-sig").strip() if file else "")
    except (OSError, ValueError) as error:
        text = gettext("--admin-password-file: cannot read {file}: {error}")
        raise SettingsError(text.format(file=file, error=error)) from error


def give_rights(url: str, admin: Admin, vhost: str, user: str, patterns: Mapping[str, str]) -> str:
    """Set what a user may configure, write and read in a virtual host; return why that was refused, if it was.

    Raises Unavailable, LoginRefused where the administrator may not.
    """
    problem = _put(url, admin, ("permissions", vhost, user), dict(patterns))
    hint = gettext("{problem}: does this user exist? (rabbitmqctl add_user {user})")
    return problem and hint.format(problem=problem, user=user)


def set_policy(url: str, admin: Admin, vhost: str, name: str, policy: Mapping[str, Any]) -> str:
    """Set a policy of a virtual host; return why that was refused, if it was.

    Raises Unavailable, LoginRefused where the administrator may not.
    """
    return _put(url, admin, ("policies", vhost, name), dict(policy))


def _put(url: str, admin: Admin, place: Sequence[str], document: Mapping[str, Any]) -> str:
    path = "/".join(quote(part, safe="") for part in place)
    headers = {"Authorization": _basic_login(admin.name, admin.password), "Content-Type": "application/json"}
    body = json.dumps(document).encode()
    try:
        request = urllib.request.Request(  # noqa: S310  # http_url
            f"{url.rstrip('/')}/api/{path}", data=body, headers=headers, method="PUT"
        )
        with _opener.open(request, timeout=TIMEOUT_SECONDS):
            return ""
    except urllib.error.HTTPError as error:
        if error.code in (401, 403):
            text = gettext(
                "--apply {url} refuses {user!r}: it wants the right password and a user with the tag administrator"
            )
            raise LoginRefused(text.format(url=url, user=admin.name)) from error
        return gettext("the API answers {code}").format(code=error.code)
    except (OSError, ValueError, HTTPException) as error:
        raise _no_api(f"--apply {url}", getattr(error, "reason", error)) from error


def _basic(broker: Broker) -> str:
    return _basic_login(broker.username, broker.read_password())


def _basic_login(name: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()
