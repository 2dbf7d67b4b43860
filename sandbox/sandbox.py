"""The sandbox as one thing: engine and broker, started together and gone together."""

from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from sandbox import choice
from sandbox.broker import Broker, TlsFiles
from sandbox.cluster import Cluster
from sandbox.engine import Engine
from sandbox.engine_api import EngineApi
from sandbox.postgres import Postgres
from sandbox.runs import Run, clean_abandoned_runs

PROCESS_FILES = sorted((Path(__file__).resolve().parent / "processes").glob("*.bpmn"))


class Sandbox:
    """An engine and a broker that belong together; leaving it kills both and removes their data."""

    def __init__(
        self,
        *,
        auth: bool = False,
        durable_engine: bool = False,
        clustered: bool = False,
        tls: TlsFiles | None = None,
    ) -> None:
        """Describes the sandbox: `auth` asks for a login, `durable_engine` survives a kill of the engine.

        `clustered`: the broker is three nodes, the engine two on one PostgreSQL. `tls`, with that: a worker comes
        over TLS, and shows the nodes' own certificate, which is for `localhost`.
        """
        self._auth = auth
        self._clustered = clustered
        self._tls = tls
        self._durable_engine = durable_engine
        self._exit_stack = ExitStack()

    def __enter__(self) -> Self:
        """Starts both side by side. Only from the main thread."""
        clean_abandoned_runs()
        with ExitStack() as exit_stack:
            run = exit_stack.enter_context(Run())
            self._start(run, exit_stack)
            self._exit_stack = exit_stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exit_stack.close()

    def _start(self, run: Run, exit_stack: ExitStack) -> None:
        self.folder = run.folder
        has_postgres = self._clustered or choice.HAS_POSTGRES
        postgres = exit_stack.enter_context(Postgres(run)) if has_postgres else None
        database = run.folder if self._durable_engine else None
        self.engine = Engine(run, database=database, postgres=postgres, auth=self._auth)
        self.cluster = Cluster(run, self._tls) if self._clustered else None
        self.broker = self.cluster.nodes[0] if self.cluster else Broker(run)
        self.engine.launch()
        (self.cluster or self.broker).launch()
        (self.cluster or self.broker).wait_ready()
        self.engine.wait_ready()
        self.engines = [self.engine]
        if self._clustered:  # only now: the first one made the tables
            self.engines.append(Engine(run, postgres=postgres, auth=self._auth))
            self.engines[1].start()

    def engine_api(self) -> EngineApi:
        """Returns a client that looks at the engine from outside."""
        return EngineApi(self.engine.url, login=(self.engine.username, self.engine.password))

    def environment(self, vhost: str = "/") -> dict[str, str]:
        """Returns the settings with which a worker or a sample system finds the sandbox."""
        settings = {
            "CAMUNDA_BASE_URL": ",".join(engine.url for engine in self.engines),
            "RABBITMQ_HOST": self.broker.host,
            "RABBITMQ_PORT": str(self.broker.port),
            "RABBITMQ_USERNAME": self.broker.username,
            "RABBITMQ_PASSWORD": self.broker.password,
            "RABBITMQ_VIRTUAL_HOST": vhost,
            "RABBITMQ_QUEUE_TYPE": "quorum" if self._clustered else choice.QUEUE_TYPE,
            "STATUS_PORT": "0",  # several workers may run side by side
        }
        if self.cluster:
            settings["RABBITMQ_HOST"] = self.cluster.hosts
        if self.cluster and self._tls:
            settings |= {
                "RABBITMQ_HOST": self.cluster.tls_hosts,
                "RABBITMQ_TLS": "true",
                "RABBITMQ_CA_FILE": str(self._tls.ca),
                "RABBITMQ_CLIENT_CERT_FILE": str(self._tls.certificate),
                "RABBITMQ_CLIENT_KEY_FILE": str(self._tls.key),
            }
        if self._auth:
            settings["CAMUNDA_AUTH_USERNAME"] = self.engine.username
            settings["CAMUNDA_AUTH_PASSWORD"] = self.engine.password
        return settings
