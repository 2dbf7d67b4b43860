"""Everything that is bent in pika, and why; checked with CHECKED_VERSIONS.

Each bend stands on names that pika keeps to itself. `tests/unit/test_bent_pika.py` fails where their code is not
the one that was read, so that a new version is looked at before it is taken.

- Headers (`bend`): pika decodes a table value by value. A timestamp in milliseconds (beyond the year 9999), a
  double that is no number, or some hundred nested tables raise an error in the middle of a frame; the connection
  is given up, and the broker delivers the same message on the next one. pika also reads floats as whole numbers,
  and cannot write them.
- Reading (`LineConnection`): pika reads 4 kB at a time, and on until a call fails: two system calls for one.
- Writing (`publish`, `acknowledge`): pika makes a system call for each frame, and a message has three; for a write
  its loop turns once more. `frames.py` encodes what is written.
- Bodies (`bound_bodies`): pika keeps each body whole, and RabbitMQ counts messages, not bytes, so that a sender of
  64 MB bodies would take 6 GB of us with a prefetch of 100. Of one that is too large only the beginning is kept.
- Giving up (`abort`, `DeadlineConnection`): a broker that is frozen answers no orderly close, and a blocking call
  waits for ever for what it asked.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from pika import data
from pika.adapters.blocking_connection import BlockingConnection
from pika.adapters.select_connection import SelectConnection
from pika.adapters.utils.io_services_utils import _AsyncPlaintextTransport
from pika.channel import Channel, ContentFrameAssembler
from pika.exceptions import AMQPConnectionError, BodyTooLongError
from pika.spec import BasicProperties

from bridge.broker import headers
from bridge.broker.frames import ack_of, frames_of
from bridge.contract import Publication

CHECKED_VERSIONS = ("1.4.4",)
# Heartbeats alone notice a frozen broker after a minute, and such of 2 s are too nervous.
ANSWER_SECONDS = 10.0
LONGEST_WRITE_BYTES = 65_536  # pika copies what the socket did not take of one write
READ_BYTES = 65_536


class LineConnection(SelectConnection):
    """A connection that reads and writes many frames at once; it can be given up while the broker is frozen."""

    def _proto_connection_made(self, transport: Any) -> None:
        """Read once whenever there is something; pika reads 4 kB at a time, and on until a call fails.

        Over TLS it has to: what is decrypted already wakes no loop.
        """
        transport._MAX_RECV_BYTES = READ_BYTES
        if isinstance(transport, _AsyncPlaintextTransport):
            transport._MAX_CONSUME_BYTES = 1  # type: ignore[attr-defined]
        super()._proto_connection_made(transport)  # type: ignore[misc]

    def publish(self, channel: int, publications: Sequence[Publication]) -> None:
        """Send mandatory messages, many of them at once; on the connection's thread, while the channel is open."""
        held, size = [], 0
        for publication in publications:
            held.append(frames_of(publication, channel, self._body_max_length))  # type: ignore[attr-defined]
            size += len(held[-1])
            if size > LONGEST_WRITE_BYTES:
                self._write(b"".join(held))
                held, size = [], 0
        self._write(b"".join(held))

    def acknowledge(self, channel: int, tags: Iterable[int]) -> None:
        """Acknowledge deliveries; on the connection's thread, while the channel is open."""
        self._write(b"".join(ack_of(tag, channel) for tag in tags))

    def _write(self, data: bytes) -> None:
        """Write what there is: of nothing TLS makes an error, or a record for nothing."""
        if data and (unsent := self._send_now(data)):
            self._adapter_emit_data(unsent)  # type: ignore[attr-defined]  # not in the stubs

    def _send_now(self, data: bytes) -> bytes:
        """Send what the socket takes, unless earlier data waits; return the rest, and all after an error."""
        if not self.unsent_bytes:
            with suppress(OSError):  # pika meets it again, and ends the connection unless the socket is just full
                return data[self._transport._sock.send(data) :]  # type: ignore[attr-defined]
        return data

    def abort(self, reason: str) -> None:
        """Give the connection up, where no orderly end is possible."""
        self._terminate_stream(AMQPConnectionError(reason))  # type: ignore[attr-defined]  # not in the stubs

    @property
    def socket(self) -> object:
        """The socket below it, which knows the certificate of the other side."""
        return self._transport._sock  # type: ignore[attr-defined]

    @property
    def unsent_bytes(self) -> int:
        """How many bytes the broker has not taken yet."""
        return int(self._get_write_buffer_size())  # type: ignore[attr-defined]


class CutBody(bytes):
    """The beginning of a body that was too large to be kept, with the size and the SHA-256 of the whole."""

    size: int
    sha256: str


class _BoundedAssembler(ContentFrameAssembler):
    """Puts messages together from their frames, and keeps no more than `kept_bytes` of one above `most_bytes`."""

    _header_frame: Any  # not in the stubs
    _seen_so_far: int

    def __init__(self, most_bytes: int, kept_bytes: int) -> None:
        super().__init__()
        self._most_bytes = most_bytes
        self._kept_bytes = kept_bytes
        self._digest = hashlib.sha256()
        self._kept = b""

    def _handle_body_frame(self, body_frame: Any) -> Any:
        size: int = self._header_frame.body_size
        if size <= self._most_bytes:
            return super()._handle_body_frame(body_frame)  # type: ignore[misc]  # not in the stubs
        fragment: bytes = body_frame.fragment
        self._digest.update(fragment)
        self._kept += fragment[: self._kept_bytes - len(self._kept)]
        self._seen_so_far += len(fragment)
        if self._seen_so_far > size:
            raise BodyTooLongError(self._seen_so_far, size)
        return self._finish() if self._seen_so_far == size else None

    def _finish(self) -> Any:
        size = self._header_frame.body_size
        method, header, body = super()._finish()  # type: ignore[misc]
        if size <= self._most_bytes:
            return method, header, body
        cut = CutBody(self._kept)
        cut.size, cut.sha256 = size, self._digest.hexdigest()
        self._kept, self._digest = b"", hashlib.sha256()
        return method, header, cut


def bound_bodies(channel: Channel, most_bytes: int, kept_bytes: int) -> None:
    """Keep of each body above `most_bytes` that comes on this channel only the beginning, as a CutBody."""
    channel._content_assembler = _BoundedAssembler(most_bytes, kept_bytes)  # type: ignore[attr-defined]


class DeadlineConnection(BlockingConnection):
    """A connection that is given up where the broker leaves us without an answer."""

    _deadline: Any = None

    def expect_answers(self) -> None:
        """Wait for the next answers no longer than ANSWER_SECONDS from now on."""
        connection: SelectConnection = self._impl  # type: ignore[attr-defined]  # not in the stubs
        if self._deadline is not None:
            connection.ioloop.remove_timeout(self._deadline)
        silence = AMQPConnectionError(f"the broker has not answered for {ANSWER_SECONDS:.0f} s")
        self._deadline = connection.ioloop.call_later(
            ANSWER_SECONDS,
            lambda: connection._terminate_stream(silence),  # type: ignore[attr-defined]  # not in the stubs
        )

    @property
    def socket(self) -> object:
        """The socket below it, which knows the certificate of the other side."""
        return self._impl._transport._sock  # type: ignore[attr-defined]

    @property
    def server_properties(self) -> Mapping[str, Any]:
        """What the broker says of itself."""
        return self._impl.server_properties or {}  # type: ignore[attr-defined]  # not in the stubs


def bend() -> None:
    """Let pika read and write headers as `headers.py` does, in this process; before the first connection."""
    data.decode_table = headers.decode_table  # type: ignore[assignment]  # the stubs know no headers but text
    data.encode_value = headers.encode_value
    BasicProperties.decode = headers.decode_properties  # type: ignore[method-assign, assignment]
