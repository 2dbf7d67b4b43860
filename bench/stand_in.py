"""The fast stand-in for the engine (`stand_in/`, Go): built once, started, filled and read."""

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import requests

from sandbox.cache import cache_folder, only_builder
from sandbox.children import Child
from sandbox.errors import SandboxError
from sandbox.ports import LOOPBACK, accepts_connections, free_ports
from sandbox.runs import Run

_SOURCES = Path(__file__).resolve().parent / "stand_in"
_BOOT_SECONDS = 10.0
_TIMEOUT_SECONDS = 30


@dataclass(frozen=True)
class Batch:
    """What became of the tasks that one `fill` asked for; `fetched` counts lockings, times are Unix times."""

    created: int
    fetched: int
    completed: int
    completed_twice: int
    first_lock: float
    last_completion: float

    @property
    def seconds(self) -> float:
        """From the first locking to the last completion so far."""
        return self.last_completion - self.first_lock


class StandIn:
    """The stand-in's process; its tasks are gone with it."""

    def __init__(self, run: Run) -> None:
        """Prepares a port; starts nothing."""
        self._run = run
        self.port = free_ports(1)[0]
        self._session = requests.Session()
        self._session.trust_env = False  # a proxy has no business on the loopback interface

    @property
    def url(self) -> str:
        """The REST API, as CAMUNDA_BASE_URL wants it."""
        return f"http://{LOOPBACK}:{self.port}/engine-rest"

    @property
    def pid(self) -> int:
        """The pid of the process."""
        return self._child.pid

    def start(self) -> Self:
        """Starts it, built if need be, and returns when it takes connections. Only from the main thread."""
        command = [str(_program()), "-port", str(self.port)]
        self._child: Child = self._run.start("stand-in", command, {})
        self._child.wait_until(lambda: accepts_connections(self.port), seconds=_BOOT_SECONDS)
        return self

    def fill(self, count: int, topics: Sequence[str], *, size: int = 1024, at_once: int | None = None) -> int:
        """Makes tasks, the topics in turn, each with a String of `size` characters; returns the batch's number.

        At most `at_once` of them are open at a time, by default all: as one is done, the next follows.
        """
        wanted = {"count": count, "topics": list(topics), "size": size, "at_once": at_once or count}
        return int(self._request("POST", "/stand-in/tasks", wanted)["batch"])

    def batch(self, number: int) -> Batch:
        """Returns what became of a batch so far."""
        return Batch(**self._request("GET", "/stand-in/figures")["batches"][number])

    def calls(self) -> dict[str, int]:
        """Returns how often each kind of call came since the start or the last reset."""
        calls: dict[str, int] = self._request("GET", "/stand-in/figures")["calls"]
        return calls

    def reset(self) -> None:
        """Forgets all tasks and counts; polls that wait end without a task. Ids are never given again."""
        self._request("POST", "/stand-in/reset")

    def _request(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        url = f"http://{LOOPBACK}:{self.port}{path}"
        try:
            response = self._session.request(method, url, json=body, timeout=_TIMEOUT_SECONDS)
        except requests.RequestException as error:
            raise SandboxError(f"the stand-in does not answer: {error}") from error
        if not response.ok:
            raise SandboxError(f"{method} {path}: {response.status_code} {response.text[:500]}")
        answer: dict[str, Any] = response.json()
        return answer


def _program() -> Path:
    """Returns the program of the present sources; the first call builds it."""
    program = cache_folder() / f"stand-in-{_sources_hash()}" / "stand-in"
    if not program.exists():
        with only_builder(program.parent):
            if not program.exists():
                _build(program)
    return program


def _sources_hash() -> str:
    digest = hashlib.sha256()
    for path in sorted(_SOURCES.iterdir()):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


def _build(program: Path) -> None:
    if shutil.which("go") is None:
        raise SandboxError("Go is not installed; ./run bench ceiling installs it")
    print("bench: building the stand-in for the engine with Go, once", flush=True)
    # In the cache folder: the move of the finished program must stay within one file system to be one step.
    with tempfile.TemporaryDirectory(dir=program.parent) as folder:
        built = Path(folder) / "stand-in"
        done = subprocess.run(
            ["setpriv", "--pdeathsig", "KILL", "go", "build", "-buildvcs=false", "-o", str(built), "."],
            cwd=_SOURCES,
            env={**os.environ, "CGO_ENABLED": "0"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if done.returncode != 0:
            raise SandboxError("Go could not build the stand-in:\n" + "\n".join(done.stdout.splitlines()[-30:]))
        built.replace(program)
