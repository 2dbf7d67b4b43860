"""Where RabbitMQ may be: several hosts, each with several addresses; the one that worked is tried first."""

import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bridge.errors import Unavailable
from bridge.texts import Said


@dataclass(frozen=True, slots=True)
class Address:
    """One address of a host, as a number; `host` is the name as the settings have it."""

    host: str
    number: str
    port: int

    def __str__(self) -> str:
        """Return it for a log."""
        return place_of(self.host, self.port)


class Addresses:
    """Finds the addresses of some hosts, anew each time; may be used from any thread.

    `good`: the one that worked last, and still seems to; `tried`: the one that was tried last; `has_worked`:
    whether any ever did.
    """

    def __init__(self, hosts: Sequence[tuple[str, int]]) -> None:
        self.hosts = tuple(hosts)
        self.good: Address | None = None
        self.tried: Address | None = None
        self.has_worked = False

    def __str__(self) -> str:
        """Return the hosts for a log."""
        return ", ".join(place_of(*host) for host in self.hosts)

    def note_good(self, address: Address) -> None:
        """Remember an address that works: it is tried first the next time."""
        self.good, self.has_worked = address, True

    def note_bad(self, address: Address) -> None:
        """Forget an address that does not answer any more."""
        if self.good == address:
            self.good = None

    def each(self) -> Iterator[Address]:
        """Yield all addresses, the one that worked last first. Raises Unavailable where no name is known."""
        good = self.good
        if good is not None:
            yield good
        unknown: list[str] = []
        for host, port in self.hosts:
            try:
                found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            except OSError as error:
                unknown.append(f"{host}: {error.strerror or error}")
                continue
            numbers = dict.fromkeys(str(entry[4][0]) for entry in found)
            yield from (one for number in numbers if (one := Address(host, number, port)) != good)
        if len(unknown) == len(self.hosts) and good is None:
            raise Unavailable(Said("RABBITMQ_HOST cannot be looked up: {hosts}", hosts="; ".join(unknown)))


def place_of(host: str, port: int) -> str:
    """Return host and port as one writes them."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
