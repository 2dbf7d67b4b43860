"""A bad network: a TCP proxy (Toxiproxy) that delays, loses or resets what goes through it."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import requests

from sandbox.cache import cache_folder, only_builder
from sandbox.children import Child
from sandbox.errors import SandboxError
from sandbox.ports import LOOPBACK, accepts_connections, free_ports

VERSION = "2.5.0"  # the last one that the Go of Debian 12 builds
_SOURCE = f"github.com/Shopify/toxiproxy/v2/cmd/server@v{VERSION}"
DIRECTIONS = ("upstream", "downstream")
_TIMEOUT_SECONDS = 30


class Proxy:
    """Stands before one port of the loopback interface, in a process of its own."""

    def __init__(self, folder: Path, target_port: int) -> None:
        """Starts nothing; the process keeps its log in `folder`."""
        self._folder = folder
        self._target = f"{LOOPBACK}:{target_port}"
        self.port, self._api_port = free_ports(2)
        self._session = requests.Session()
        self._session.trust_env = False  # a proxy has no business on the loopback interface

    def __enter__(self) -> Self:
        """Starts the proxy and lets everything through. Only from the main thread."""
        command = [str(_program()), "-host", LOOPBACK, "-port", str(self._api_port)]
        self._child = Child("toxiproxy", command, environment={}, log=self._folder / "toxiproxy.log")
        self._child.wait_until(lambda: accepts_connections(self._api_port), seconds=10)
        listen = f"{LOOPBACK}:{self.port}"
        self._request("POST", "/proxies", {"name": "proxy", "listen": listen, "upstream": self._target})
        self._let_closing_reset()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._session.close()
        self._child.kill()

    def reset(self) -> None:
        """Resets every connection (RST), and takes new ones at once."""
        for enabled in (False, True):
            self._request("POST", "/proxies/proxy", {"enabled": enabled})

    @contextmanager
    def poisoned(self, toxic: str, directions: Sequence[str] = DIRECTIONS, /, **attributes: int) -> Iterator[None]:
        """Lets a toxic, such as `latency`, work on both directions of every connection while the block runs."""
        names = [f"{toxic}-{direction}" for direction in directions]
        for name, direction in zip(names, directions, strict=True):
            body = {"name": name, "type": toxic, "stream": direction, "attributes": attributes}
            self._request("POST", "/proxies/proxy/toxics", body)
        try:
            yield
        finally:
            for name in names:
                self._request("DELETE", f"/proxies/proxy/toxics/{name}")

    def _let_closing_reset(self) -> None:
        # A toxic that never works still makes every new connection end with a RST instead of a FIN.
        body = {"name": "rst", "type": "reset_peer", "toxicity": 0, "attributes": {"timeout": 0}}
        self._request("POST", "/proxies/proxy/toxics", body)

    def _request(self, method: str, path: str, body: object = None) -> None:
        url = f"http://{LOOPBACK}:{self._api_port}{path}"
        try:
            response = self._session.request(method, url, json=body, timeout=_TIMEOUT_SECONDS)
        except requests.RequestException as error:
            raise SandboxError(f"the proxy does not answer: {error}") from error
        if not response.ok:
            raise SandboxError(f"{method} {path}: {response.status_code} {response.text[:500]}")


def _program() -> Path:
    """Returns the proxy's program; the first call builds it."""
    program = cache_folder() / f"toxiproxy-{VERSION}" / "toxiproxy"
    if not program.exists():
        with only_builder(program.parent):
            if not program.exists():
                _build(program)
    return program


def _build(program: Path) -> None:
    if shutil.which("go") is None:
        raise SandboxError("Go is not installed; ./run faults installs it")
    print("sandbox: building Toxiproxy with Go, once", flush=True)
    with tempfile.TemporaryDirectory(dir=program.parent) as folder:
        done = subprocess.run(
            ["setpriv", "--pdeathsig", "KILL", "go", "install", _SOURCE],
            env={**os.environ, "GOBIN": folder},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if done.returncode != 0:
            raise SandboxError("Go could not build Toxiproxy:\n" + "\n".join(done.stdout.splitlines()[-30:]))
        (Path(folder) / "server").replace(program)
