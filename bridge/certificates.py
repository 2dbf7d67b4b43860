"""Certificates that end, ours and those of engine and broker: a metric, and a warning two weeks before."""

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

from loguru import logger

from bridge import clock, metrics

SOON = timedelta(days=14)
TOLD_AGAIN_SECONDS = 24 * 3600.0

_ends: dict[str, datetime] = {}
_told_at: dict[str, float] = {}


def note(whose: str, words: str, ends: datetime | None) -> None:
    """Note when a certificate ends; None where there is none, or where that cannot be read.

    `whose`: `engine`, `broker`, `engine_client` or `broker_client`. `words`: which one it is, for people.
    """
    if ends is None:
        return
    _ends[whose] = ends
    metrics.certificate_ends(whose).set(ends.timestamp())
    now = clock.now()
    if ends - datetime.now(UTC) < SOON and now >= _told_at.get(whose, now):
        _told_at[whose] = now + TOLD_AGAIN_SECONDS
        logger.warning("the certificate {} ends at {:%Y-%m-%d %H:%M} UTC: renew it", words, ends)


def known() -> dict[str, datetime]:
    """Return when the certificates end that were seen so far, by whose they are."""
    return _ends.copy()


def forget() -> None:
    """Forget all that was seen: for tests, and for settings that name others."""
    _ends.clear()
    _told_at.clear()


def end_in_file(file: Path | None) -> datetime | None:
    """Return when a certificate in a PEM file ends; None where that cannot be read."""
    try:
        fields = ssl._ssl._test_decode_cert(str(file))  # type: ignore[attr-defined]  # there is no public way
        return end_in(fields["notAfter"])
    except (OSError, ValueError, KeyError):
        return None


def end_in(text: object) -> datetime | None:
    """Return the moment in the words of OpenSSL, `Nov 26 21:00:00 2027 GMT`, or of curl; None for other words."""
    try:
        return datetime.fromtimestamp(ssl.cert_time_to_seconds(str(text)), UTC)
    except ValueError:
        pass
    try:
        return datetime.strptime(str(text), "%Y-%m-%d %H:%M:%S GMT").replace(tzinfo=UTC)
    except ValueError:
        return None
