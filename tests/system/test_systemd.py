"""As a service of systemd: what it is told, and what the unit allows."""

import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sandbox.processes import REPOSITORY
from tests.system.conftest import StartWorker

UNIT = REPOSITORY / "camunda-worker.service"
MOST_EXPOSURE = 2.0

HANGING = """
import sys, threading
sys.path.insert(0, sys.argv[1])
from bridge import heartbeats
from bridge.leases import LeaseKeeper
from main import main

heartbeats.PATIENCE_SECONDS = heartbeats.beat.__kwdefaults__["within"] = 3.0
LeaseKeeper.tick = lambda _: threading.Event().wait()
sys.exit(main([]))
"""


class Systemd:
    """The socket that a service tells how it is."""

    def __init__(self, place: Path) -> None:
        self.address = str(place)
        self.heard: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.address)
        self._socket.settimeout(0.1)

    def close(self) -> None:
        self._socket.close()

    def listen(self, seconds: float) -> list[str]:
        """Returns what is said in that time."""
        heard, until = [], time.monotonic() + seconds
        while time.monotonic() < until:
            try:
                heard.append(self._socket.recv(4096).decode())
            except TimeoutError:
                continue
        self.heard += heard
        return heard

    def wait_for(self, wanted: str, *, seconds: float = 30) -> None:
        """Waits until a message begins with the wanted text."""
        until = time.monotonic() + seconds
        while not any(message.startswith(wanted) for message in self.listen(0.2)):
            assert time.monotonic() < until, f"no {wanted}, but {self.heard}"


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Systemd]:
    manager = Systemd(tmp_path / "notify")
    yield manager
    manager.close()


def test_it_is_told_ready_alive_reloading_and_stopping(start_worker: StartWorker, systemd: Systemd) -> None:
    worker = start_worker(NOTIFY_SOCKET=systemd.address)

    systemd.wait_for("READY=1")
    assert "STATUS=work flows" in systemd.heard + systemd.listen(2)
    assert systemd.listen(3).count("WATCHDOG=1") >= 2

    worker.reload()
    systemd.wait_for("RELOADING=1\nMONOTONIC_USEC=")
    systemd.wait_for("READY=1")

    worker.terminate()
    systemd.wait_for("STOPPING=1")
    assert worker.exit_code() == 0


def test_without_a_broker_it_is_alive_but_not_ready(
    start_worker: StartWorker, systemd: Systemd, unused_port: int
) -> None:
    start_worker(NOTIFY_SOCKET=systemd.address, RABBITMQ_PORT=str(unused_port))

    systemd.wait_for("WATCHDOG=1")
    systemd.listen(3)

    assert "READY=1" not in systemd.heard
    assert any("STATUS=" in message and str(unused_port) in message for message in systemd.heard), systemd.heard


def test_a_loop_that_hangs_starves_the_watchdog(
    start_worker: StartWorker, systemd: Systemd, tmp_path: Path
) -> None:
    script = tmp_path / "hanging.py"
    script.write_text(HANGING.replace("sys.argv[1]", repr(str(REPOSITORY))), encoding="utf-8")
    worker = start_worker(script=str(script), NOTIFY_SOCKET=systemd.address)

    systemd.wait_for("WATCHDOG=1")
    systemd.wait_for("STATUS=leases has not turned")

    assert "WATCHDOG=1" not in systemd.listen(3)
    worker.kill()


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit as it would be installed, with a program that is there."""
    file = tmp_path / UNIT.name
    file.write_text(re.sub(r"(?m)^ExecStart=.*$", "ExecStart=/bin/true", UNIT.read_text()), encoding="utf-8")
    return file


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    assert shutil.which("systemd-analyze"), "systemd-analyze is missing: it comes with the package systemd"
    return subprocess.run(
        ["systemd-analyze", *arguments], capture_output=True, text=True, env={**os.environ, "LANG": "C.UTF-8"}
    )


def test_the_unit_has_no_mistakes(unit: Path) -> None:
    done = analyze("verify", "--recursive-errors=no", str(unit))

    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_unit_exposes_little(unit: Path) -> None:
    done = analyze("security", "--offline=true", f"--threshold={MOST_EXPOSURE * 10:.0f}", str(unit))

    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
    assert found, done.stdout + done.stderr
    print(f"exposure {found[1]}")
    assert float(found[1]) <= MOST_EXPOSURE
    assert done.returncode == 0
