"""What the system tests share: workers, systems and deployments that are gone after each test."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import pytest
from pika.adapters.blocking_connection import BlockingChannel

from sandbox.engine_api import EngineApi
from sandbox.sandbox import PROCESS_FILES, Sandbox
from tests.system.example_process import ExampleProcess
from tests.system.partner import EchoSystem, Work, connect, echo_system
from tests.system.worker_process import WorkerProcess

StartWorker = Callable[..., WorkerProcess]
StartSystem = Callable[[Sequence[str], Work], EchoSystem]
StartExample = Callable[[str, Mapping[str, str]], ExampleProcess]
Deploy = Callable[..., str]

# Short polls: a stopping worker waits for the poll that is out.
QUICK = {"CAMUNDA_ASYNC_RESPONSE_TIMEOUT": "500"}


@pytest.fixture(autouse=True)
def deploy(engine_api: EngineApi) -> Iterator[Deploy]:
    """Deploys files; after the test the engine forgets every deployment, the test's other ones too."""
    yield lambda *files: engine_api.deploy(files)
    for deployment in engine_api.request("GET", "/deployment"):
        engine_api.delete_deployment(deployment["id"])


@pytest.fixture
def samples(deploy: Deploy) -> None:
    """Deploys the sample processes."""
    deploy(*PROCESS_FILES)


@pytest.fixture
def start_worker(sandbox: Sandbox, vhost: str, tmp_path: Path) -> Iterator[StartWorker]:
    """Starts a worker of the sandbox; settings given by name win, None takes one away."""
    numbers = count(1)
    with ExitStack() as workers:

        def start(*, script: str = "main.py", **changes: str | None) -> WorkerProcess:
            settings = {**sandbox.environment(vhost), **QUICK, **changes}
            given = {name: value for name, value in settings.items() if value is not None}
            folder = tmp_path / f"worker-{next(numbers)}"
            return workers.enter_context(WorkerProcess(folder, given, script))

        yield start


@pytest.fixture
def worker(start_worker: StartWorker) -> WorkerProcess:
    """A worker that is connected."""
    return start_worker().wait_connected()


@pytest.fixture
def start_system(sandbox: Sandbox, vhost: str) -> Iterator[StartSystem]:
    with ExitStack() as systems:
        yield lambda queues, work: systems.enter_context(echo_system(sandbox, vhost, queues, work))


@pytest.fixture
def start_example(sandbox: Sandbox, vhost: str, tmp_path: Path) -> Iterator[StartExample]:
    with ExitStack() as examples:

        def start(example: str, settings: Mapping[str, str]) -> ExampleProcess:
            given = {**sandbox.environment(vhost), **settings}
            return examples.enter_context(ExampleProcess(example, tmp_path / example, given))

        yield start


@pytest.fixture
def channel(sandbox: Sandbox, vhost: str) -> Iterator[BlockingChannel]:
    """A partner's channel."""
    with connect(sandbox, vhost) as connection:
        yield connection.channel()
