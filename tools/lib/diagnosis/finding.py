"""One check and what came of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from bridge.errors import Unavailable, Unprocessable
from bridge.texts import Said, gettext


class Level(StrEnum):
    """How bad it is; only a problem makes the exit code 1."""

    OK = "ok"
    NOTE = "note"
    WARNING = "warning"
    PROBLEM = "problem"
    SKIPPED = "skipped"


SEE_LOG = Said("look at the server's log and, at RabbitMQ, at rabbitmq-diagnostics alarms; then ask again")


@dataclass(frozen=True, slots=True)
class Seen:
    """What a check saw, and what to do about it."""

    level: Level
    saw: str
    remedy: str = ""
    details: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Check:
    """One question: what is tried, how, and the remedies where the server refuses, or cannot be used."""

    name: str
    tried: str
    look: Callable[[], Seen]
    remedy: str
    unavailable: Callable[[Unavailable], str] = lambda _: SEE_LOG


@dataclass(frozen=True, slots=True)
class Finding:
    """A check with what it saw."""

    check: str
    tried: str
    seen: Seen

    def row(self) -> dict[str, Any]:
        """Return it for a JSON line."""
        seen = self.seen
        names = {"check": self.check, "level": str(seen.level), "tried": self.tried, "saw": seen.saw}
        return {**names, "details": list(seen.details), "remedy": seen.remedy}


def examine(check: Check) -> Finding:
    """Do one check; a server that refuses or is unavailable is a problem like any other."""
    try:
        seen = check.look()
    except Unprocessable as error:
        seen = Seen(Level.PROBLEM, error.detail, check.remedy)
    except Unavailable as error:
        seen = Seen(Level.PROBLEM, str(error), check.unavailable(error))
    return Finding(check.name, check.tried, seen)


def examine_all(checks: Sequence[Check], *, essential: int, failed: str = "") -> list[Finding]:
    """Do checks in order; after a problem of one of the first `essential`, or of `failed`, skip the others."""
    findings: list[Finding] = []
    for check in checks:
        failed = failed or failure_in(findings[:essential])
        findings.append(_skipped(check, failed) if failed else examine(check))
    return findings


def failure_in(findings: Sequence[Finding]) -> str:
    """Return the name of the first check that found a problem; empty where none did."""
    return next((finding.check for finding in findings if finding.seen.level is Level.PROBLEM), "")


def _skipped(check: Check, failed: str) -> Finding:
    saw = gettext("cannot be known: {check!r} failed").format(check=failed)
    return Finding(check.name, check.tried, Seen(Level.SKIPPED, saw))
