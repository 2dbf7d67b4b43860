"""The worker with one safeguard taken away each: what the simulation must notice."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import response_handler
from bridge.broker import Consumer, Outcome, Publisher
from bridge.engine import Verdict
from bridge.intake.held_tasks import HeldTasks
from bridge.intake.topics import Topics
from bridge.leases import LeaseTable, extension
from bridge.leases.extension import Extension
from bridge.leases.silence import Silence
from response_handler import ResponseHandler, Step

Change = tuple[Any, Any, Any]  # an object or a dictionary, what of it, the new value


def _confirms_off() -> list[Change]:
    """Takes every message for delivered as soon as it is handed over."""
    publish = Publisher.publish

    def blind(self: Publisher, publications: Sequence[Any], on_outcomes: Callable[..., None], **_: float) -> None:
        publish(self, publications, lambda _: None)
        on_outcomes([Outcome.CONFIRMED] * len(publications))

    return [(Publisher, "publish", blind)]


def _unlock_unknown() -> list[Change]:
    """Unlocks what may or may not have been delivered."""

    def unlock(self: Any, batch: Sequence[Any]) -> list[Any]:
        for held in batch:
            self._engine.unlock(held.task.id)
            self._leases.done(held.task.id)
        return []

    return [(HeldTasks, "still_ours", unlock)]


def _blind_extension() -> list[Change]:
    """Extends leases without a look at how the tasks stand."""
    return [
        (Extension, "_is_unchanged", lambda *_: True),
        (extension, "give_back_pause", lambda *_: None),
    ]


def _acknowledge_first() -> list[Change]:
    """Acknowledges an answer before the engine has taken it."""
    handle = ResponseHandler.handle

    def eager(self: Any, delivery: Any) -> None:
        self._side_queues.ack(delivery)
        handle(self, delivery)

    return [(ResponseHandler, "handle", eager)]


def _never_look_for_topics() -> list[Change]:
    """Asks the engine for its topics once, and never again."""
    of_systems = Topics.of_systems

    def once(self: Any) -> Any:
        topics = of_systems(self)
        self._refresh_at = math.inf
        return topics

    return [(Topics, "of_systems", once)]


def _charge_for_the_broker() -> list[Change]:
    """Lets a full queue cost the task its retries."""
    report_failure = HeldTasks._report_failure

    def costly(self: Any, task: Any, message: str, **options: Any) -> None:
        report_failure(self, task, message, **{**options, "retries": 0})

    return [(HeldTasks, "_report_failure", costly)]


def _forget_waiting_answers() -> list[Change]:
    """Reports a system as silent without a look at the answers that wait."""
    return [(Silence, "_answers_are_read", lambda *_: True)]


def _publish_late() -> list[Change]:
    """Publishes a task however little of its lease is left."""
    publish = Publisher.publish

    def late(self: Publisher, publications: Sequence[Any], on_outcomes: Callable[..., None], **_: float) -> None:
        publish(self, publications, on_outcomes)

    return [
        (HeldTasks._hold_new.__globals__, "SAFE_LEASE_SECONDS", -1e9),
        (Publisher, "publish", late),
    ]


def _give_in_to_collisions() -> list[Change]:
    """Takes the engine's "updated by another transaction" for a yes."""
    return [(response_handler.POLICY, Verdict.COLLISION, Step.DONE)]


def _take_silence_for_yes() -> list[Change]:
    """Takes an engine that does not answer for one that agreed."""
    return [(response_handler.POLICY, Verdict.AWAY, Step.DONE)]


def _never_resume() -> list[Change]:
    """Does not take answers again after an outage of the engine."""
    return [(Consumer, "resume", lambda _: None)]


def _forget_nothing() -> list[Change]:
    """Keeps tasks in flight that were answered."""
    return [(LeaseTable, "_remove", lambda *_, **__: None)]


def _lose_the_unconfirmed() -> list[Change]:
    """Forgets what was not confirmed when the connection is lost."""

    def careless(self: Any) -> None:
        self._ready.clear()
        self._channel = None
        self._unconfirmed = {}

    return [(Publisher, "on_lost", careless)]


MUTANTS: dict[str, Callable[[], list[Change]]] = {
    "confirms off": _confirms_off,
    "unlock unknown": _unlock_unknown,
    "blind extension": _blind_extension,
    "acknowledge first": _acknowledge_first,
    "never look for topics": _never_look_for_topics,
    "charge for the broker": _charge_for_the_broker,
    "forget waiting answers": _forget_waiting_answers,
    "publish late": _publish_late,
    "give in to collisions": _give_in_to_collisions,
    "take silence for yes": _take_silence_for_yes,
    "never resume": _never_resume,
    "forget nothing": _forget_nothing,
    "lose the unconfirmed": _lose_the_unconfirmed,
}


@contextmanager
def applied(name: str) -> Iterator[None]:
    """Take the safeguard away in the block."""
    changes = [(owner, key, _swap(owner, key, value)) for owner, key, value in MUTANTS[name]()]
    try:
        yield
    finally:
        for owner, key, before in changes:
            _swap(owner, key, before)


def _swap(owner: Any, key: Any, value: Any) -> Any:
    """Set an attribute or an entry and return what was there; a name that is gone is an error."""
    if isinstance(owner, dict):
        before, owner[key] = owner[key], value
        return before
    before = getattr(owner, key)
    setattr(owner, key, value)
    return before
