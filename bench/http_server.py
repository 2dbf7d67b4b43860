"""A stand-in for the engine: answers every request with 204, as cheaply as Python can."""

import asyncio
import re
import sys
from functools import partial

_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
_ANSWER = b"HTTP/1.1 204 No Content\r\n\r\n"


class Answering(asyncio.Protocol):
    """One connection, kept alive."""

    def __init__(self) -> None:
        """Waits for the first request."""
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keeps the way back."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answers each request that is complete."""
        self._received += data
        while (end := _end_of_request(self._received)) is not None:
            self._received = self._received[end:]
            self._transport.write(_ANSWER)


def _end_of_request(received: bytes) -> int | None:
    """Returns where the first request ends, None if that has not come yet."""
    head = received.find(b"\r\n\r\n")
    if head < 0:
        return None
    length = _LENGTH.search(received, 0, head)
    end = head + 4 + (int(length[1]) if length else 0)
    return end if len(received) >= end else None


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Answering, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    # Its starter holds the other end: the server ends with it, whatever ends that one.
    await loop.run_in_executor(None, partial(sys.stdin.read))


if __name__ == "__main__":
    asyncio.run(_serve())
