"""Answers whose headers no library would write: nested without end, unencodable, random, damaged."""

import random
import struct
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

import pika
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import AMQPError
from pika.spec import BasicProperties

from tests.faults import dead_letters, rubbish
from tests.faults.checks import ERROR_QUEUE
from tests.faults.observer import Message
from tests.faults.process import deploy_trap
from tests.faults.scene import Scene
from tests.unit.wire import array, double, header_frame, item, long_string, measured, table

VICTIMS = 20
SHOWERS = 300
DEPTHS = (33, 339, 2000)
TRAP = -1  # the number of the task whose answer the engine never takes
TIERS_SECONDS = 400.0
GARBAGE = b"no answer at all"
# Behind the head of the frame, the class and the size of the body.
PROPERTIES = slice(19, -1)
# Values that were altered in copies, or could not be written into one, as the management API shows them.
EXACT: dict[str, tuple[bytes, Any]] = {
    "half": (double(0.75), 0.75),
    "huge": (double(1e19), 1e19),
    "single": (b"f" + struct.pack(">f", 0.25), 0.25),
    "count": (b"I" + struct.pack(">i", -7), -7),
    "word": (long_string("да".encode()), "да"),
    "list": (array(double(1.5), b"t\x01"), [1.5, True]),
}


class RawProperties(BasicProperties):
    """Properties that are sent as the bytes that they are."""

    def __init__(self, encoded: bytes) -> None:
        super().__init__()
        self._encoded = encoded

    def encode(self) -> list[bytes]:
        """Return what goes into the frame."""
        return [self._encoded]


class Sender:
    """Sends what the broker may refuse, each time on a connection that still stands."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._connection: pika.BlockingConnection | None = None
        self._channel: BlockingChannel | None = None

    def send(self, properties: bytes, body: bytes) -> bool:
        """Return whether the broker took an answer with these properties."""
        try:
            self._open().basic_publish("", rubbish.RESPONSE_QUEUE, body, RawProperties(properties))
        except AMQPError:
            self.close()
            return False
        return True

    def _open(self) -> BlockingChannel:
        if self._channel is None:
            self._connection = self._scene.connect()
            self._channel = self._connection.channel()
            self._channel.confirm_delivery()
        return self._channel

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._connection is not None:
            with suppress(AMQPError):
                self._connection.close()
        self._connection = self._channel = None


def odd(scene: Scene) -> None:
    """Nested and unencodable headers, random and damaged frames, among good answers."""
    trap = f"{scene.key}_trap"
    deploy_trap(scene.api, trap)
    instance = scene.api.start_instance(trap, {"topic": scene.topics[0], "number": TRAP})
    scene.observer.hold()
    with scene.load():
        worker = scene.worker(FAULT_TIERS_MS=scene.scale.tiers_ms)
        scene.until(lambda: trapped(scene) is not None and scene.observer.tasks_seen > VICTIMS, "the first tasks")
        held = trapped(scene)
        assert held is not None
        scene.observer.release(lambda task_id: task_id != held.task_id)
        garbage = shower(scene, held)
    scene.until(lambda: len(scene.api.incidents(trap)) == 1, "the incident of the refused answer", TIERS_SECONDS)
    dead_letters.expect(scene, Counter(invalid=garbage, retries_exhausted=1))
    check_values(scene)
    scene.api.request("DELETE", f"/process-instance/{instance}")
    scene.observer.release()
    scene.finish()
    if again := worker.text().count("next attempt in"):
        scene.figures.problems.append(f"the worker had to connect again {again} times")


def trapped(scene: Scene) -> Message | None:
    """Return the message of the task whose answer is never taken."""
    return next((message for message in list(scene.observer.messages) if message.number == TRAP), None)


def shower(scene: Scene, held: Message) -> int:
    """Send odd answers, good ones with odd headers among them; return how many bad ones the broker took."""
    sender, chance = Sender(scene), scene.random
    exact = table(*(item(name, value) for name, (value, _) in EXACT.items()), item("deep", nested(339, chance)))
    taken = [sender.send(properties(exact), body) for body in (GARBAGE, rubbish.good(held))]
    if not all(taken):
        scene.figures.problems.append("the broker did not take the headers that must be kept")
    good = [message for message in list(scene.observer.messages) if message.number != TRAP][:VICTIMS]
    for message in good:
        sender.send(properties(odd_table(chance)), rubbish.good(message))
    bad = [sender.send(one, GARBAGE) for one in odd_properties(chance, SHOWERS)]
    sender.close()
    scene.figures.notes.append(f"the broker passed on {sum(bad)} of {len(bad)} odd answers")
    return sum(bad) + 1


def properties(headers: bytes) -> bytes:
    """Return properties with such headers as they stand in the frame."""
    return header_frame(headers)[PROPERTIES]


def odd_properties(chance: random.Random, count: int) -> Iterator[bytes]:
    """Yield properties with random headers, each third one damaged."""
    for number in range(count):
        whole = properties(odd_table(chance))
        yield whole if number % 3 else damaged(whole, chance)


def damaged(encoded: bytes, chance: random.Random) -> bytes:
    """Change, cut out or put in a few bytes behind the flags."""
    place = chance.randrange(2, len(encoded))
    return encoded[:place] + chance.randbytes(chance.randrange(4)) + encoded[place + chance.randrange(4) :]


def odd_table(chance: random.Random) -> bytes:
    """Return a table with a few random headers."""
    return table(*(item(f"h{number}", value(chance)) for number in range(chance.randrange(1, 5))))


def value(chance: random.Random, depth: int = 0) -> bytes:
    """Return a random encoded value."""
    fixed = {b"t": 1, b"b": 1, b"s": 2, b"I": 4, b"l": 8, b"f": 4, b"d": 8, b"D": 5, b"T": 8, b"V": 0}
    kind = chance.choice([*fixed, b"S", b"x", b"A", b"F", b"deep"])
    if kind in fixed:
        return kind + chance.randbytes(fixed[kind])
    if kind in (b"S", b"x") or depth > 3:
        return b"S" + measured(chance.randbytes(chance.randrange(20)))
    if kind == b"deep":
        return nested(chance.choice(DEPTHS), chance)
    inner: Sequence[bytes] = [value(chance, depth + 1) for _ in range(chance.randrange(3))]
    return array(*inner) if kind == b"A" else b"F" + table(*(item("n", one) for one in inner[:1]))


def nested(depth: int, chance: random.Random) -> bytes:
    """Return a value within so many tables or arrays."""
    encoded, in_table = b"V", chance.random() < 0.5
    for _ in range(depth):
        encoded = b"F" + table(item("a", encoded)) if in_table else array(encoded)
    return encoded


def check_values(scene: Scene) -> None:
    """What a copy carries is what came; what could not be sent on is missing, and nothing else is."""
    request = {"count": 10_000, "ackmode": "ack_requeue_true", "encoding": "auto", "truncate": 100}
    path = f"/queues/{scene.name}/{ERROR_QUEUE}/get"
    letters = [row["properties"].get("headers", {}) for row in scene.broker.api.request("POST", path, request)]
    wanted = {name: shown for name, (_, shown) in EXACT.items()}
    kept = [{name: letter.get(name) for name in wanted} for letter in letters if "half" in letter]
    if kept != [wanted, wanted] or any("deep" in letter for letter in letters):
        scene.figures.problems.append(f"headers were altered or lost: {kept}")
