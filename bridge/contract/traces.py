"""W3C trace context: which trace a task or an answer belongs to, as headers of a message hold it."""

import re
from dataclasses import dataclass
from typing import Self

# Versions that we do not know may have more behind what we know; none is called ff.
_IDS = r"(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
_TRACEPARENT = re.compile(rf"00-{_IDS}|(?!00|ff)[0-9a-f]{{2}}-{_IDS}(-[!-~]{{0,200}})?")
_KEY = r"[a-z0-9][a-z0-9_*/-]{0,240}(@[a-z0-9_*/-]{1,14})?"
_MEMBER = re.compile(rf"[ \t]*({_KEY}=[ -+\--<>-~]{{0,255}}[!-+\--<>-~])?[ \t]*")
_MOST_MEMBERS, _LONGEST_STATE = 32, 512


@dataclass(frozen=True, slots=True)
class TraceContext:
    """A valid `traceparent`, and the `tracestate` beside it, empty where there is none."""

    traceparent: str
    tracestate: str = ""

    @classmethod
    def read(cls, traceparent: object, tracestate: object = None) -> Self | None:
        """Return what was given, None where it is not valid; of an invalid `tracestate` nothing is kept."""
        if not isinstance(traceparent, str) or not _TRACEPARENT.fullmatch(traceparent):
            return None
        return cls(traceparent, tracestate if isinstance(tracestate, str) and _is_state(tracestate) else "")

    @property
    def headers(self) -> dict[str, str]:
        """The headers that hold it."""
        return {"traceparent": self.traceparent} | ({"tracestate": self.tracestate} if self.tracestate else {})


def _is_state(text: str) -> bool:
    members = text.split(",")
    return (
        len(text) <= _LONGEST_STATE
        and len(members) <= _MOST_MEMBERS
        and all(_MEMBER.fullmatch(member) for member in members)
    )
