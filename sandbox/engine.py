"""A Camunda engine of one's own: REST API and web apps on a free loopback port."""

import os
from pathlib import Path
from types import TracebackType
from typing import Self

import requests

from sandbox.children import Child
from sandbox.engine_build import engine_jar
from sandbox.errors import SandboxError
from sandbox.ports import LOOPBACK, free_ports
from sandbox.postgres import Postgres
from sandbox.runs import Run

_BOOT_SECONDS = 180.0


class Engine:
    """The engine's process. Its port and, where a folder is given for it, its database outlive a restart."""

    username = "demo"
    password = "demo"

    def __init__(
        self, run: Run, *, database: Path | None = None, postgres: Postgres | None = None, auth: bool = False
    ) -> None:
        """Prepares an engine in memory, or with its database in the folder `database`; starts nothing.

        Engines on the same PostgreSQL are nodes of one engine.
        """
        self._run = run
        self._postgres = postgres
        self._database = database
        self.auth = auth
        self.port = free_ports(1)[0]
        self._child: Child | None = None

    @property
    def url(self) -> str:
        """The REST API."""
        return f"http://{LOOPBACK}:{self.port}/engine-rest"

    @property
    def cockpit_url(self) -> str:
        """The web app to look at processes with; the login is `username` and `password`."""
        return f"http://{LOOPBACK}:{self.port}/camunda/app/cockpit/default/"

    @property
    def pid(self) -> int:
        """The pid of the engine's process."""
        return self._started().pid

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def start(self) -> None:
        """Starts the engine and returns when it answers. Only from the main thread."""
        self.launch()
        self.wait_ready()

    def launch(self) -> None:
        """Starts the process and returns at once. Only from the main thread."""
        temporary = self._run.folder / f"engine-tmp-{self.port}"
        temporary.mkdir(exist_ok=True)
        self._child = self._run.start("engine", self._command(temporary), os.environ)

    def wait_ready(self) -> None:
        """Waits until the engine answers; raises SandboxError with the end of its log if it does not."""
        self._started().wait_until(self._answers, seconds=_BOOT_SECONDS)

    def running(self) -> bool:
        """Says whether the process runs."""
        return self._child is not None and self._child.running()

    def stop(self) -> None:
        """Stops the engine in order."""
        self._started().stop()

    def kill(self) -> None:
        """Kills the engine as a power cut would; a database in a folder keeps all that was committed."""
        self._started().kill()

    def _started(self) -> Child:
        if self._child is None:
            raise SandboxError("the engine was not started")
        return self._child

    def _command(self, temporary: Path) -> list[str]:
        return [
            "java",
            "-Xmx768m",
            "-XX:+UseSerialGC",  # least memory and the fastest boot on a small machine
            "-XX:-UsePerfData",
            f"-Djava.io.tmpdir={temporary}",  # a killed engine leaves nothing outside the run's folder
            "-jar",
            str(engine_jar()),
            f"--server.port={self.port}",
            f"--engine.auth={str(self.auth).lower()}",
            *self._database_options(),
        ]

    def _database_options(self) -> list[str]:
        if self._postgres is not None:
            return [
                f"--spring.datasource.url={self._postgres.url}",
                "--spring.datasource.driver-class-name=org.postgresql.Driver",
                f"--spring.datasource.username={self._postgres.username}",
            ]
        if self._database is None:
            return []
        # By default H2 writes up to half a second later: a kill would take back what was already answered.
        return [f"--spring.datasource.url=jdbc:h2:file:{self._database / 'camunda'};WRITE_DELAY=0"]

    def _answers(self) -> bool:
        with requests.Session() as session:
            session.trust_env = False  # a proxy of the machine has no business on the loopback interface
            try:
                response = session.get(f"{self.url}/engine", auth=(self.username, self.password), timeout=5)
            except requests.RequestException:
                return False
            return response.ok
