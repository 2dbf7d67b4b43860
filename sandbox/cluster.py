"""Three RabbitMQ nodes that are one broker, with queues that live on all of them."""

import secrets
from types import TracebackType
from typing import Self

from sandbox.broker import Broker, Membership, TlsFiles
from sandbox.ports import free_ports
from sandbox.runs import Run

NAMES = ("first", "second", "third")


class Cluster:
    """The nodes, to be started and killed one by one."""

    def __init__(self, run: Run, tls: TlsFiles | None = None) -> None:
        """Prepares the nodes, with `tls` each at a second port too; starts nothing."""
        cookie, password, (names_port,) = secrets.token_hex(16), secrets.token_urlsafe(18), free_ports(1)
        members = [Membership(name, NAMES, cookie, names_port) for name in NAMES]
        self.nodes = [Broker(run, member=member, password=password, tls=tls) for member in members]

    @property
    def hosts(self) -> str:
        """All nodes as RABBITMQ_HOST names them, the first one last."""
        return ",".join(f"{node.host}:{node.port}" for node in (*self.nodes[1:], self.nodes[0]))

    @property
    def tls_hosts(self) -> str:
        """The same with the ports that speak TLS, by the name in the nodes' certificate."""
        return ",".join(f"localhost:{node.tls_port}" for node in (*self.nodes[1:], self.nodes[0]))

    def __enter__(self) -> Self:
        self.launch()
        self.wait_ready()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for node in self.nodes:
            node.__exit__(kind, error, trace)

    def launch(self) -> None:
        """Starts the nodes side by side. Only from the main thread."""
        for node in self.nodes:
            node.launch()

    def wait_ready(self) -> None:
        """Waits until all take connections."""
        for node in self.nodes:
            node.wait_ready()

    def node_at(self, port: int) -> Broker:
        """Returns the node that listens there."""
        return next(node for node in self.nodes if port in (node.port, node.tls_port))
