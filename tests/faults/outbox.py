"""Where the observer's answers wait until each is safe in a queue."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import pika
from pika.adapters.select_connection import IOLoop
from pika.channel import Channel
from pika.frame import Method
from pika.spec import Basic, BasicProperties

from tests.faults.amqp import Link

AGAIN_SECONDS = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class Letter:
    """An answer on its way; `on_safe` is called once a queue has it."""

    queue: str
    body: bytes
    task_id: str
    on_safe: Callable[[], None]


class Outbox:
    """Publishes mandatory, under confirms, and again until it succeeds; all on the loop's thread."""

    def __init__(self, loop: IOLoop, parameters: pika.ConnectionParameters, user: str) -> None:
        self.exchange = ""  # or another one that the queue is bound to by its own name
        self.may_leave: Callable[[str], bool] = lambda _: True  # by task id
        self.link = Link(loop, parameters, self._on_channel)
        self._loop = loop
        self._user = user  # says who answers; the broker checks it
        self._channel: Channel | None = None
        self._waiting: list[Letter] = []
        self._unconfirmed: dict[int, Letter] = {}
        self._tags = itertools.count(1)
        self._returned: set[int] = set()

    def post(self, letter: Letter) -> None:
        """Take an answer; it leaves as soon as it can."""
        self._waiting.append(letter)
        self.flush()

    def flush(self) -> None:
        """Send what waits."""
        if self._channel is None or not self._channel.is_open:
            return
        waiting, self._waiting = self._waiting, []
        for letter in waiting:
            if self.may_leave(letter.task_id):
                self._publish(self._channel, letter)
            else:
                self._waiting.append(letter)

    def _publish(self, channel: Channel, letter: Letter) -> None:
        tag = next(self._tags)
        self._unconfirmed[tag] = letter
        properties = BasicProperties(
            content_type="application/json",
            delivery_mode=2,
            correlation_id=letter.task_id,
            user_id=self._user,
            message_id=str(tag),
        )
        channel.basic_publish(self.exchange, letter.queue, letter.body, properties, mandatory=True)

    def _on_channel(self, channel: Channel | None) -> None:
        lost, self._unconfirmed = self._unconfirmed, {}
        self._waiting += lost.values()
        self._channel, self._tags = None, itertools.count(1)
        self._returned.clear()
        if channel is not None:
            channel.add_on_return_callback(self._on_return)
            channel.confirm_delivery(self._on_confirm, callback=lambda _: self._begin(channel))

    def _begin(self, channel: Channel) -> None:
        self._channel = channel
        self.flush()

    def _on_return(
        self, _channel: Channel, _method: Basic.Return, properties: BasicProperties, _body: bytes
    ) -> None:
        self._returned.add(int(properties.message_id or 0))

    def _on_confirm(self, frame: Method[Basic.Ack | Basic.Nack]) -> None:
        """Settle what is confirmed; the broker sends a return before its confirm."""
        last = frame.method.delivery_tag
        tags = [tag for tag in self._unconfirmed if tag <= last] if frame.method.multiple else [last]
        for tag in tags:
            letter = self._unconfirmed.pop(tag)
            if isinstance(frame.method, Basic.Ack) and tag not in self._returned:
                letter.on_safe()
            else:
                self._returned.discard(tag)
                self._loop.call_later(AGAIN_SECONDS, partial(self.post, letter))
