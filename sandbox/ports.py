"""Free ports on the loopback interface."""

import random
import socket

LOOPBACK = "127.0.0.1"
# Below the range from which the system picks ports of outgoing connections. A client that retries a port of
# that range while its server is down can end up connected to itself, and then the server finds the port taken.
_PORTS = range(20_000, 32_000)


def free_ports(count: int) -> list[int]:
    """Returns `count` different ports that nothing listens on now."""
    ports: list[int] = []
    while len(ports) < count:
        port = random.choice(_PORTS)
        if port not in ports and _is_free(port):
            ports.append(port)
    return ports


def accepts_connections(port: int, host: str = LOOPBACK) -> bool:
    """Says whether something listens on the port."""
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True


def _is_free(port: int) -> bool:
    with socket.socket() as listener:
        try:
            listener.bind(("", port))
        except OSError:
            return False
    return True
