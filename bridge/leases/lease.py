"""One task in flight: until when it is locked, whether its message was taken, and when to look at it."""

import math
from dataclasses import dataclass
from datetime import datetime, timedelta

from bridge import clock
from bridge.routing import System

LOOK_BEFORE_SECONDS = 0.5
CHECK_BEFORE_SECONDS = 2.0  # what is due may be late, and a lock that has ended is not ours any more
TOLERANCE_SECONDS = 10.0


@dataclass(slots=True, eq=False)
class Lease:
    """One task in flight. Dates are moments at the engine, numbers are monotonic seconds.

    `fetched_at`: when the engine locked it for us at first; None where an earlier process of ours fetched it.
    `full_lock_ends`: until when its message promises the lock; `message_ends`: when the message expires unread.
    `is_taken`: its queue was seen empty before that while somebody listened, and no message came back since; or
    `is_heard`: its system gave a sign of life.
    `known_within`: how long the fetch took, in which the engine began to count the lock.
    `read_end`: the end of the lock in the engine's own words, where it was read since we last moved it.
    `moved_at`: when we learnt of another end of the lock, which was `ended_before_at` until then.
    """

    task_id: str
    topic: str
    process_instance_id: str
    system: System
    retries: int | None
    lock_expires_at: datetime
    lock_ends: float
    full_lock_ends: float
    activity_instance_id: str = ""
    fetched_at: datetime | None = None
    message_ends: float = 0.0
    published_at: float = 0.0
    extended: bool = False
    answering: bool = False
    is_taken: bool = False
    is_heard: bool = False
    silent_since: float = 0.0
    known_within: float = 0.0
    read_end: datetime | None = None
    moved_at: float = 0.0
    ended_before_at: datetime | None = None

    @property
    def checked_at(self) -> float:
        """When to ask for the answer: before the lock ends, with time for calls to the engine."""
        ends = min(self.lock_ends, self.full_lock_ends or math.inf)
        return ends - max(self.system.margin_ms / 2000, CHECK_BEFORE_SECONDS)

    @property
    def silent_from(self) -> float:
        """From when no answer is silence: shortly before the promised lock ends, after the message has expired."""
        return (self.full_lock_ends or self.lock_ends) - self.system.margin_ms / 2000

    @property
    def looked_at_next(self) -> float:
        """When to see whether its message was taken, just before it expires; then, when to ask for its answer."""
        before_it_ends = self.message_ends - LOOK_BEFORE_SECONDS
        return self.checked_at if self.is_heard or clock.now() >= before_it_ends else before_it_ends

    @property
    def tolerance(self) -> float:
        """How many seconds beside the truth the end of the lock may be, once it was made longer."""
        return max(TOLERANCE_SECONDS, self.known_within + 2.0)

    @property
    def is_rebuilt(self) -> bool:
        """Whether an earlier process of ours locked it; whether and when it published it is not known."""
        return self.extended and not self.published_at

    @property
    def round_trip_seconds(self) -> float | None:
        """How long its message has been out; None where an earlier process published it."""
        if self.published_at:
            return clock.now() - self.published_at
        return None if self.extended else 0.0  # its answer was faster than the confirm

    def renew(self, fetched: "Lease") -> None:
        """Go on with the lock that was fetched for the same attempt: its message or its answer is out."""
        self.lock_expires_at, self.lock_ends = fetched.lock_expires_at, fetched.lock_ends
        self.known_within, self.moved_at, self.read_end = fetched.known_within, 0.0, None
        self.extended = self.silent_since > 0.0 or self.full_lock_ends <= self.lock_ends

    def move_end(self, lock_ends: float) -> None:
        """Note another end of the lock, given in monotonic seconds."""
        self.read_end = None
        self.moved_at, self.ended_before_at = clock.now(), self.lock_expires_at
        self.lock_expires_at += timedelta(seconds=lock_ends - self.lock_ends)
        self.lock_ends = lock_ends

    def is_same_attempt(self, retries: int | None, fetched_at: datetime, fetch_sent: float) -> bool:
        """Whether the engine offers the task again just because its lock lapsed.

        Offered before that, somebody unlocked the task or failed it: this is a new attempt. An extension that met
        the fetch came after it.
        """
        ended_at = self.lock_expires_at
        if self.moved_at > fetch_sent and self.ended_before_at is not None:
            ended_at = self.ended_before_at
        if self.moved_at:
            ended_at -= timedelta(seconds=self.known_within)
        return self.retries == retries and ended_at <= fetched_at

    @property
    def is_still_out(self) -> bool:
        """Whether its message may still be on its way, or at work."""
        until = self.full_lock_ends if self.is_taken else self.message_ends
        return bool(self.published_at) and clock.now() < until
