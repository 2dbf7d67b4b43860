"""The daemon's own process, before anything of it runs."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

EndOf = Callable[..., subprocess.CompletedProcess[str]]
SOON_SECONDS = 5.0  # of which the interpreter's start and its imports take their part
ROOT = Path(__file__).resolve().parents[2]
SIGNAL_FOR_ANOTHER_THREAD = """
import signal, threading, main
def hit():
    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
threading.Timer(0.5, hit).start()
raise SystemExit(main.main([]))
"""
SIGNALLED_WHILE_BUILT = """
import os, signal, main
from bridge.process import run
run_module = __import__("sys").modules[run.__module__]
run_module.configure_logs = lambda *_, **__: os.kill(os.getpid(), signal.SIGTERM)
raise SystemExit(main.main([]))
"""


@pytest.fixture
def end_of(tmp_path: Path, clean_environment: pytest.MonkeyPatch) -> EndOf:
    """Runs a script that signals itself, and returns how it ended."""

    def run(script: str, broker_port: int = 9) -> subprocess.CompletedProcess[str]:
        settings = {
            "CAMUNDA_BASE_URL": "http://127.0.0.1:9/engine-rest",
            "RABBITMQ_HOST": "127.0.0.1",
            "RABBITMQ_PORT": str(broker_port),
            "RABBITMQ_USERNAME": "u",
            "RABBITMQ_PASSWORD": "p",
            "STATUS_PORT": "0",
            "PYTHONPATH": str(ROOT),
        }
        return subprocess.run(
            [sys.executable, "-c", script],
            cwd=tmp_path,
            env=os.environ | settings,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    return run


def test_a_stop_while_the_daemon_is_being_built_is_in_good_order(end_of: EndOf) -> None:
    ended = end_of(SIGNALLED_WHILE_BUILT)

    assert ended.returncode == 0, ended.stderr
    assert "stopping: SIGTERM" in ended.stderr


def test_a_signal_that_another_thread_gets_is_heard_soon(end_of: EndOf) -> None:
    began = time.monotonic()

    ended = end_of(SIGNAL_FOR_ANOTHER_THREAD)

    assert ended.returncode == 0, ended.stderr
    assert time.monotonic() - began < SOON_SECONDS


def test_a_stop_does_not_wait_for_a_broker_that_takes_the_connection_and_says_nothing(end_of: EndOf) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        began = time.monotonic()

        ended = end_of(SIGNAL_FOR_ANOTHER_THREAD, broker_port=deaf.getsockname()[1])

    assert ended.returncode == 0, ended.stderr
    assert time.monotonic() - began < SOON_SECONDS


@pytest.mark.parametrize("program", ["main.py", "camunda_worker.py", "response_handler.py"])
@pytest.mark.parametrize(
    ("argument", "code", "words"),
    [("--help", 0, "config.env.example"), ("--version", 0, "."), ("--port=1", 2, "usage")],
)
def test_a_program_tells_of_itself_and_does_not_start(program: str, argument: str, code: int, words: str) -> None:
    ended = subprocess.run(
        [sys.executable, str(ROOT / program), argument], capture_output=True, text=True, timeout=30, check=False
    )

    assert ended.returncode == code
    assert words in ended.stdout + ended.stderr
    assert "starts as" not in ended.stderr


def test_without_its_packages_the_worker_ends_with_one_line(tmp_path: Path) -> None:
    bare = [sys.executable, "-S", str(ROOT / "main.py")]

    ended = subprocess.run(bare, cwd=tmp_path, env={}, capture_output=True, text=True, timeout=30, check=False)

    assert ended.returncode == 78
    assert ended.stderr.count("\n") == 1
    assert "the package loguru is missing" in ended.stderr
    assert "requirements.lock" in ended.stderr
