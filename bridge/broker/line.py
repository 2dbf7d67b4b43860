"""pika's connection with fewer system calls per message, and with an end while the broker is frozen."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from pika.adapters.select_connection import SelectConnection
from pika.exceptions import AMQPConnectionError

LONGEST_WRITE_BYTES = 65_536  # pika copies what the socket did not take of one write
READ_BYTES = 65_536


class LineConnection(SelectConnection):
    """A connection that reads and writes many frames at once; it can be given up while the broker is frozen."""

    _held: list[bytes] | None = None
    _held_bytes = 0

    def _proto_connection_made(self, transport: Any) -> None:
        """Read once whenever there is something; pika reads 4 kB at a time, and on until a call fails.

        Over TLS that would not do: what is decrypted already wakes no loop.
        """
        transport._MAX_RECV_BYTES, transport._MAX_CONSUME_BYTES = READ_BYTES, 1
        super()._proto_connection_made(transport)  # type: ignore[misc]

    @contextmanager
    def one_write(self) -> Iterator[None]:
        """Let what is sent in the block leave together, and now: pika has its loop turn once more for a write."""
        self._held = []
        try:
            yield
        finally:
            self._write_held()
            self._held = None

    def _adapter_emit_data(self, data: bytes) -> None:
        if self._held is None:
            super()._adapter_emit_data(data)  # type: ignore[misc]  # not in the stubs
            return
        self._held.append(data)
        self._held_bytes += len(data)
        if self._held_bytes > LONGEST_WRITE_BYTES:
            self._write_held()

    def _write_held(self) -> None:
        if self._held and (unsent := self._send_now(b"".join(self._held))):
            super()._adapter_emit_data(unsent)  # type: ignore[misc]
        self._held, self._held_bytes = [], 0

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
    def unsent_bytes(self) -> int:
        """How many bytes the broker has not taken yet."""
        return int(self._get_write_buffer_size())  # type: ignore[attr-defined]
