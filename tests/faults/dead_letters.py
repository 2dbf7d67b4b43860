"""What lies in the error queue, and why."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.faults.checks import ERROR_QUEUE
from tests.faults.scene import Scene


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One message of the error queue."""

    body: bytes
    headers: dict[str, Any]

    @property
    def reason(self) -> str:
        """Why it is there, in one word."""
        return str(self.headers["x-error-reason"])


def expect(scene: Scene, reasons: Mapping[str, int]) -> None:
    """Wait until the error queue holds that many messages for each reason; any other one is a problem."""
    scene.may_be_dead_letters = sum(reasons.values())
    scene.until(lambda: count(scene) >= scene.may_be_dead_letters, f"{dict(reasons)} in the error queue")
    found = Counter(letter.reason for letter in read(scene))
    if found != Counter(reasons):
        scene.figures.problems.append(f"error queue: {dict(found)}, expected were {dict(reasons)}")
    scene.figures.notes.append(f"error queue: {dict(found)}")


def expect_many(scene: Scene, reasons: Mapping[str, int]) -> None:
    """Expect as many messages as that in all, where they are too many to be read one by one."""
    scene.may_be_dead_letters = sum(reasons.values())
    found = count(scene)
    if found != scene.may_be_dead_letters:
        scene.figures.problems.append(f"error queue: {found} messages, expected were {dict(reasons)}")
    scene.figures.notes.append(f"error queue: {found} messages")


def count(scene: Scene) -> int:
    """Count the messages of the error queue."""
    queue = scene.broker.api.queues(scene.name).get(ERROR_QUEUE)
    return queue.ready if queue else 0


def read(scene: Scene) -> list[DeadLetter]:
    """Return all messages of the error queue and leave them there."""
    connection = scene.connect()
    channel = connection.channel()
    letters = []
    while (message := channel.basic_get(ERROR_QUEUE))[0] is not None:
        _, properties, body = message
        letters.append(DeadLetter(body, dict(properties.headers or {})))
    connection.close()  # unacknowledged, they all go back
    return letters
