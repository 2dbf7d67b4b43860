"""A worker whose engine is behind TLS with a private CA and a gateway that wants a certificate and a token."""

import re
import shutil
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from bridge.leases.extension import THREADS
from response_handler import ANSWER_THREADS
from sandbox.engine_api import EngineApi
from sandbox.sandbox import Sandbox
from tests.authority import Authority
from tests.identity_provider import CLIENT_ID, SECRET, IdentityProvider
from tests.system.conftest import StartSystem, StartWorker
from tests.system.engine import finishers, start_many, wait_for_state
from tests.system.partner import completing

INSTANCES, ROUNDS = 60, 3
CALLS_AT_ONCE = 1 + ANSWER_THREADS + THREADS  # the poll, the answers, the leases
BEARER = re.compile(rb"Authorization: Bearer (\S+)")
TOKEN_SECONDS = 5  # less than what a token is taken to last: the engine says that it has ended
TOKENS = ("token-0", "token-1", "token-2", "token-3")


class Gateway:
    """Terminates TLS before the engine; lets in who has a certificate of the CA and a token that it `knows`."""

    def __init__(self, ca: Authority, engine_port: int, knows: Callable[[str], bool]) -> None:
        self.refused: Counter[str] = Counter()  # calls by the token that they came with
        self._knows = knows
        self._ca = ca
        self._engine_port = engine_port
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.renew()

    def renew(self) -> None:
        """Take a new certificate, and end all connections: the next ones meet it."""
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(self._ca.file))
        self._context.load_cert_chain(*self._ca.give("localhost"))
        self._context.verify_mode = ssl.CERT_REQUIRED
        for connection in self._open:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._open.clear()

    @contextmanager
    def running(self) -> Iterator[None]:
        threading.Thread(target=self._accept, daemon=True).start()
        try:
            yield
        finally:
            self._listener.close()
            self.renew()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                plain, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(plain,), daemon=True).start()

    def _serve(self, plain: socket.socket) -> None:
        with (
            suppress(OSError),
            plain,
            self._context.wrap_socket(plain, server_side=True) as client,
            socket.create_connection(("127.0.0.1", self._engine_port)) as engine,
        ):
            self._open += [client, engine]
            threading.Thread(target=relay, args=(engine, client), daemon=True).start()
            while request := client.recv(65_536):
                token = BEARER.search(request)
                if token and not self._knows(token[1].decode()):
                    self.refused[token[1].decode()] += 1
                    client.sendall(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")
                else:
                    engine.sendall(request)


def relay(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)
        target.shutdown(socket.SHUT_RDWR)


@pytest.mark.usefixtures("samples")
def test_certificates_and_tokens_are_exchanged_under_load_without_a_restart(
    sandbox: Sandbox,
    start_worker: StartWorker,
    start_system: StartSystem,
    engine_api: EngineApi,
    tmp_path: Path,
) -> None:
    ca = Authority(tmp_path, "ca")
    engine = urlsplit(sandbox.engine.url)
    current = {TOKENS[0]}
    gateway = Gateway(ca, int(engine.port or 0), current.__contains__)
    certificate, key, token = (tmp_path / name for name in ("own.crt", "own.key", "token"))

    def renew(number: int) -> None:
        for new, name in zip(ca.give(f"own-{number}"), (certificate, key), strict=True):
            shutil.copy(new, name)
        token.write_text(TOKENS[number])
        current.clear()
        current.add(TOKENS[number])
        gateway.renew()

    renew(0)
    settings = {
        "CAMUNDA_BASE_URL": f"https://localhost:{gateway.port}{engine.path}",
        "CAMUNDA_CA_FILE": str(ca.file),
        "CAMUNDA_CLIENT_CERT_FILE": str(certificate),
        "CAMUNDA_CLIENT_KEY_FILE": str(key),
        "CAMUNDA_AUTH_TOKEN_FILE": str(token),
    }
    instances: list[str] = []
    with gateway.running():
        worker = start_worker(**settings).wait_connected()
        start_system(["python-services.queue"], completing)
        for number in range(1, ROUNDS + 1):
            instances += start_many(engine_api, ["email"] * INSTANCES)
            renew(number)
        for instance in instances:
            wait_for_state(engine_api, instance)
        worker.stop()

    assert len(finishers(engine_api, instances)) == ROUNDS * INSTANCES
    assert worker.lines("CRITICAL") == []
    assert not any(secret in worker.output for secret in TOKENS)


@pytest.mark.usefixtures("samples")
def test_tokens_of_a_provider_that_fails_now_and_then_end_under_load(
    sandbox: Sandbox,
    start_worker: StartWorker,
    start_system: StartSystem,
    engine_api: EngineApi,
    tmp_path: Path,
) -> None:
    ca = Authority(tmp_path, "ca")
    certificate, key = ca.give("own")
    engine = urlsplit(sandbox.engine.url)
    provider = IdentityProvider(tmp_path, seconds=TOKEN_SECONDS)
    gateway = Gateway(ca, int(engine.port or 0), provider.is_good)
    secret = tmp_path / "secret"
    secret.write_text(SECRET)
    settings = {
        "CAMUNDA_BASE_URL": f"https://localhost:{gateway.port}{engine.path}",
        "CAMUNDA_CA_FILE": str(ca.file),
        "CAMUNDA_CLIENT_CERT_FILE": str(certificate),
        "CAMUNDA_CLIENT_KEY_FILE": str(key),
        "CAMUNDA_OAUTH_TOKEN_URL": provider.url,
        "CAMUNDA_OAUTH_CLIENT_ID": CLIENT_ID,
        "CAMUNDA_OAUTH_CLIENT_SECRET_FILE": str(secret),
    }
    instances: list[str] = []
    with gateway.running(), provider.running():
        worker = start_worker(**settings).wait_connected()
        start_system(["python-services.queue"], completing)
        provider.fails_each = 2
        for _ in range(ROUNDS):
            instances += start_many(engine_api, ["email"] * INSTANCES)
            time.sleep(TOKEN_SECONDS)
        for instance in instances:
            wait_for_state(engine_api, instance)
        worker.stop()

    assert len(finishers(engine_api, instances)) == ROUNDS * INSTANCES
    assert provider.issued >= ROUNDS
    # Calls on their way may meet the end of their token, and are repeated; no call takes a token that was refused.
    assert max(gateway.refused.values(), default=0) <= CALLS_AT_ONCE, gateway.refused
    assert worker.lines("CRITICAL") == []
    assert not any(secret in worker.output for secret in (SECRET, *provider.tokens))
