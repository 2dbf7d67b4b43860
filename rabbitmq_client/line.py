"""pika's connection, with what it lacks: many frames in one write, and an end while the broker is frozen."""

from collections.abc import Iterator
from contextlib import contextmanager

from pika.adapters.select_connection import SelectConnection
from pika.exceptions import AMQPConnectionError

LONGEST_WRITE_BYTES = 65_536  # pika copies what the socket did not take of one write


class LineConnection(SelectConnection):
    """A connection that writes many frames at once, and that can be given up while the broker is frozen."""

    _held: list[bytes] | None = None
    _held_bytes = 0

    @contextmanager
    def one_write(self) -> Iterator[None]:
        """Let what is sent in the block leave together."""
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
        if self._held:
            super()._adapter_emit_data(b"".join(self._held))  # type: ignore[misc]
        self._held, self._held_bytes = [], 0

    def abort(self, reason: str) -> None:
        """Give the connection up, where no orderly end is possible."""
        self._terminate_stream(AMQPConnectionError(reason))  # type: ignore[attr-defined]  # not in the stubs

    @property
    def unsent_bytes(self) -> int:
        """How many bytes the broker has not taken yet."""
        return int(self._get_write_buffer_size())  # type: ignore[attr-defined]
