"""The image built without a daemon, and the worker run from it beside a real engine and broker."""

import signal
import subprocess
import time
from collections.abc import Iterator
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from sandbox.ports import free_ports
from tests.installation.image import Image
from tests.installation.machine import Machine
from tests.sandbox.processes import eventually

SECONDS = 60.0


@pytest.fixture(scope="module")
def image(machine: Machine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    begun = time.monotonic()
    image = Image(machine.debian, tmp_path_factory.mktemp("image"))
    print(f"\nthe image, with its base: {time.monotonic() - begun:.0f} s")
    yield image
    image.close()


@pytest.fixture(scope="module")
def settings(machine: Machine) -> dict[str, str]:
    (port,) = free_ports(1)
    return machine.settings | {"STATUS_PORT": str(port)}


@pytest.fixture
def worker(image: Image, settings: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """A worker from the image that is ready."""
    begun = time.monotonic()
    process = image.start(settings)
    ready = eventually(lambda: is_ready(settings), seconds=SECONDS)
    print(f"\nfrom the start to ready: {time.monotonic() - begun:.1f} s")
    if not ready:
        process.kill()
        pytest.fail(process.communicate()[1])
    yield process
    process.kill()
    process.communicate()


def is_ready(settings: dict[str, str]) -> bool:
    try:
        with urlopen(f"http://127.0.0.1:{settings['STATUS_PORT']}/readyz"):
            return True
    except URLError:
        return False


def is_healthy(image: Image, settings: dict[str, str]) -> bool:
    kind, *words = image.config["Healthcheck"]["Test"]
    assert kind == "CMD"
    return image.run(settings, *words).returncode == 0


@pytest.mark.usefixtures("worker")
def test_it_runs_as_nobody_s_user_and_can_write_nothing(image: Image, settings: dict[str, str]) -> None:
    user = image.run(settings, "id", "-u").stdout.strip()
    written = image.run(settings, "sh", "-c", "touch /tmp/file /opt/camunda-worker/file")
    rights = image.run(settings, "grep", "CapBnd", "/proc/self/status").stdout.split()

    assert user == "65532"
    assert written.stderr.count("Read-only file system") == 2
    assert int(rights[1], 16) == 0


def test_its_health_check_follows_the_worker(
    image: Image, settings: dict[str, str], worker: subprocess.Popen[str]
) -> None:
    healthy = is_healthy(image, settings)
    worker.send_signal(signal.SIGTERM)
    code = worker.wait(SECONDS)

    assert healthy
    assert code == 0
    assert not is_healthy(image, settings)


@pytest.mark.usefixtures("worker")
def test_the_tools_run_inside_and_are_named_as_they_are_called_there(
    image: Image, settings: dict[str, str]
) -> None:
    queues = image.run(settings, "camunda-worker-tool", "check_queues", "--json")
    diagnosis = image.run(settings, "camunda-worker-tool", "worker_diagnostics")
    help_text = image.run(settings, "camunda-worker-tool", "dead_letters", "--help").stdout
    with urlopen(f"http://127.0.0.1:{settings['STATUS_PORT']}/") as answer:
        page = answer.read().decode()

    assert '"queue": "camunda.responses.queue"' in queues.stdout, queues.stderr
    assert diagnosis.returncode == 0, diagnosis.stdout
    assert " camunda-worker-tool dead_letters list" in help_text
    assert "sudo" not in help_text + page + diagnosis.stdout
