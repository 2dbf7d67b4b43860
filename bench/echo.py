"""The systems: one cheap process that takes tasks from their queues and answers each at once, or holds them."""

import json
import os
import re
import signal
import struct
import threading
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pika
from pika.adapters.select_connection import SelectConnection
from pika.channel import Channel
from pika.exceptions import ChannelClosedByBroker
from pika.spec import Basic, BasicProperties

READY = "echo: ready"  # what it prints once it consumes from all its queues
_PREFETCH = 200
_UNLIMITED = 0
_POLL_SECONDS = 0.1
_MARK = re.compile(rb"BK([0-9a-f]{8})-(\d{7})\|")
_VARIABLES = b'{"result":{"value":"ok","type":"String"},"handled":{"value":true,"type":"Boolean"}}'
_ANSWER = b'{"task_id":%s,"worker_id":%s,"response_type":"complete","variables":' + _VARIABLES + b"}"
_PROPERTIES = BasicProperties(content_type="application/json", delivery_mode=2)


def mark(run: str, number: int) -> str:
    """Returns the text by which the echo knows the instance behind a message; `run` is 8 hexadecimal digits."""
    return f"BK{run}-{number:07d}|"


class Had(NamedTuple):
    """A message that the echo had: when (Unix time), of which task, and of which instance of the run."""

    at: float
    task_id: str | None  # None: the message is no task
    number: int | None  # None: no mark in it, or that of another run
    redelivered: bool


def read_had(file: Path) -> list[Had]:
    """Returns what an echo that has ended wrote down."""
    return [Had(*row) for row in json.loads(file.read_text())]


class Frames:
    """Writes answers as the broker reads them: all but the lengths and the body is made once.

    Pika would make the same bytes anew for each message, and write each of its three frames by itself.
    """

    def __init__(self, exchange: str, key: str, *, channel: int = 1) -> None:
        """Takes where the answers go."""
        publish = pika.frame.Method(channel, Basic.Publish(exchange=exchange, routing_key=key))
        header = pika.frame.Header(channel, 0, _PROPERTIES).marshal()
        # Of a header frame, bytes 11 to 18 say how long the body is: AMQP 0-9-1, 4.2.6.1.
        self._begin = publish.marshal() + header[:11]
        self._middle = header[19:] + struct.pack(">BH", pika.spec.FRAME_BODY, channel)

    def of(self, body: bytes) -> bytes:
        """Returns the frames of one message; the body must fit into one frame (128 kB)."""
        length = len(body)
        return b"%b%b%b%b%b\xce" % (
            self._begin,
            length.to_bytes(8, "big"),
            self._middle,
            length.to_bytes(4, "big"),
            body,
        )


class Echo:
    """Consumes until it is told to stop and remembers what it had."""

    def __init__(self, options: Namespace) -> None:
        """Takes the options of the command line; connects in `work`."""
        self._options = options
        self._frames = Frames(options.exchange, options.key)
        self._run = options.run.encode()
        self._answers: list[bytes] = []
        self._last_tag = 0
        self._flush_is_due = False
        self._stopping = False
        self.had: list[Had] = []

    def work(self) -> None:
        """Consumes until SIGTERM."""
        signal.signal(signal.SIGTERM, lambda *_: self._stop())
        _wait_for_queues(self._options.queues)
        self._connection = SelectConnection(
            parameters(),
            on_open_callback=lambda connection: connection.channel(on_open_callback=self._on_channel),
            on_close_callback=lambda connection, _: connection.ioloop.stop(),
        )
        self._look_for_stop()
        self._connection.ioloop.start()

    def _stop(self) -> None:
        self._stopping = True

    def _look_for_stop(self) -> None:
        if self._stopping and self._connection.is_open:
            self._connection.close()
        elif not self._connection.is_closed:
            self._connection.ioloop.call_later(_POLL_SECONDS, self._look_for_stop)

    def _on_channel(self, channel: Channel) -> None:
        self._channel = channel
        prefetch = _UNLIMITED if self._options.hold else _PREFETCH
        channel.basic_qos(prefetch_count=prefetch, callback=lambda _: self._subscribe())

    def _subscribe(self) -> None:
        last = self._options.queues[-1]  # the broker answers in the order of the questions
        for queue in self._options.queues:
            self._channel.basic_consume(queue, self._take, callback=partial(_tell_ready, is_last=queue == last))

    def _take(self, _channel: Channel, delivery: Basic.Deliver, _properties: BasicProperties, body: bytes) -> None:
        had_at = time.time()
        ids = ids_of(body)
        self.had.append(Had(had_at, ids[0] if ids else None, number_of(body, self._run), delivery.redelivered))
        if self._options.hold:
            return
        if ids:
            self._answers.append(self._frames.of(_ANSWER % (_quoted(ids[0]), _quoted(ids[1]))))
        self._last_tag = int(delivery.delivery_tag or 0)
        if not self._flush_is_due:  # once for all that one read from the socket brings
            self._flush_is_due = True
            self._connection.ioloop.call_later(0, self._flush)

    def _flush(self) -> None:
        """Sends the answers, and acknowledges their tasks after them."""
        self._flush_is_due = False
        if not self._channel.is_open:
            return
        if self._answers:
            frames = b"".join(self._answers)
            self._answers.clear()
            self._connection._output_marshaled_frames([frames])  # type: ignore[attr-defined]  # not in the stubs
        self._channel.basic_ack(self._last_tag, multiple=True)


def _tell_ready(_consumed: object, *, is_last: bool) -> None:
    if is_last:
        print(READY, flush=True)


def ids_of(body: bytes) -> tuple[str, str] | None:
    """Returns the task's id and the worker's; None for a message that has none."""
    try:
        message = json.loads(body)
        return message["task_id"], message["worker_id"]
    except (ValueError, KeyError, TypeError):
        return None


def number_of(body: bytes, run: bytes) -> int | None:
    """Returns the number in the mark of a run, or of whatever run where `run` is empty; None without one."""
    found = _MARK.search(body)
    if found is None or (run and found[1] != run):
        return None
    return int(found[2])


def parameters() -> pika.ConnectionParameters:
    """Returns where the environment says that the broker is."""
    return pika.ConnectionParameters(
        host=os.environ["RABBITMQ_HOST"],
        port=int(os.environ["RABBITMQ_PORT"]),
        virtual_host=os.environ.get("RABBITMQ_VIRTUAL_HOST", "/"),
        credentials=pika.PlainCredentials(os.environ["RABBITMQ_USERNAME"], os.environ["RABBITMQ_PASSWORD"]),
    )


def _quoted(text: str) -> bytes:
    return json.dumps(text).encode()


def _wait_for_queues(names: Iterable[str]) -> None:
    pause = threading.Event()
    with pika.BlockingConnection(parameters()) as connection:
        for name in names:
            while not _exists(name, connection):
                pause.wait(_POLL_SECONDS)


def _exists(queue: str, connection: pika.BlockingConnection) -> bool:
    channel = connection.channel()
    try:
        channel.queue_declare(queue, passive=True)
    except ChannelClosedByBroker:
        return False
    channel.close()
    return True


def _options() -> Namespace:
    parser = ArgumentParser(prog="python -m bench.echo", description=__doc__)
    parser.add_argument("queues", nargs="+", metavar="QUEUE", help="where tasks come from; each is waited for")
    parser.add_argument("--exchange", default="", help="where answers go (default: the default exchange)")
    parser.add_argument("--key", default="", help="the routing key of the answers")
    parser.add_argument("--file", required=True, type=Path, help="takes at the end what the echo had, as JSON")
    parser.add_argument("--run", default="", help="numbers only messages marked with this run (default: all)")
    parser.add_argument("--hold", action="store_true", help="neither answer nor acknowledge; take without limit")
    return parser.parse_args()


def main() -> None:
    """Works until SIGTERM, then writes the file."""
    options = _options()
    echo = Echo(options)
    echo.work()
    options.file.write_text(json.dumps(echo.had))


if __name__ == "__main__":
    main()
