"""The background process that owns a sandbox between two commands, and the commands that talk about it."""

import fcntl
import json
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from sandbox.children import ProcessMark
from sandbox.engine_build import engine_jar
from sandbox.errors import SandboxError
from sandbox.runs import STATE_FOLDER, clean_abandoned_runs, read_json, write_private
from sandbox.sandbox import Sandbox

ENVIRONMENT_FILE = STATE_FOLDER / "env"
STATE_FILE = STATE_FOLDER / "state.json"
_LOG = STATE_FOLDER / "keeper.log"
_UP_SECONDS = 300.0


@dataclass(frozen=True)
class KeptSandbox:
    """What the keeper tells the others about its sandbox."""

    keeper: ProcessMark
    engine: ProcessMark
    broker: ProcessMark
    urls: dict[str, str]

    @classmethod
    def of(cls, fields: dict[str, Any]) -> Self:
        """Reads the record that the keeper wrote."""
        marks = {name: ProcessMark(**fields[name]) for name in ("keeper", "engine", "broker")}
        return cls(urls=fields["urls"], **marks)


def up() -> int:
    """Starts a keeper unless one runs, waits until its sandbox is ready, prints where to find it."""
    kept = _kept()
    if kept is None:
        engine_jar()  # here, where its progress is seen
        kept = _wait_ready(_start_keeper())
    _print(kept)
    return 0


def down() -> int:
    """Ends the keeper and what a killed one left."""
    kept = _kept()
    if kept is not None:
        kept.keeper.send(signal.SIGTERM)
        if not kept.keeper.wait_gone(30):
            kept.keeper.send(signal.SIGKILL)
            kept.keeper.wait_gone(5)
    clean_abandoned_runs()
    _forget()
    print("sandbox: down" if kept else "sandbox: was not up")
    return 0


def status() -> int:
    """Says what runs; exit code 0 only if all of it does."""
    kept = _kept()
    if kept is None:
        print("sandbox: down")
        return 1
    _print(kept)
    for name, mark in (("engine", kept.engine), ("broker", kept.broker)):
        print(f"  {name:<10} {'runs' if mark.alive() else 'ended'}, pid {mark.pid}")
    return 0 if kept.engine.alive() and kept.broker.alive() else 1


def keep() -> int:
    """Owns a sandbox until SIGTERM."""
    with _only_keeper():
        try:
            with Sandbox() as sandbox:
                _publish(sandbox)
                threading.Event().wait()
        except KeyboardInterrupt:
            return 0
        finally:
            _forget()
    return 0


@contextmanager
def _only_keeper() -> Iterator[None]:
    """Holds a lock that goes with the process: of two `up` at the same time one gives way."""
    with (STATE_FOLDER / "keeper.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise SandboxError("another keeper is starting") from error
        yield


def _kept() -> KeptSandbox | None:
    fields = read_json(STATE_FILE)
    kept = KeptSandbox.of(fields) if fields else None
    return kept if kept and kept.keeper.alive() else None


def _start_keeper() -> subprocess.Popen[bytes]:
    STATE_FOLDER.mkdir(mode=0o700, exist_ok=True)
    with _LOG.open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "sandbox", "keep"],
            cwd=Path(__file__).resolve().parent.parent,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # the keeper stays when the terminal goes
        )


def _wait_ready(keeper: subprocess.Popen[bytes]) -> KeptSandbox:
    print("sandbox: starting an engine and a broker", flush=True)
    try:
        return _wait_published(keeper)
    except BaseException:
        keeper.terminate()
        keeper.wait()
        raise


def _wait_published(keeper: subprocess.Popen[bytes]) -> KeptSandbox:
    deadline = time.monotonic() + _UP_SECONDS
    pause = threading.Event()
    while (kept := _kept()) is None:
        if keeper.poll() is not None or time.monotonic() > deadline:
            raise SandboxError(f"not ready:\n{_LOG.read_text(errors='replace').strip()}")
        pause.wait(0.1)
    return kept


def _publish(sandbox: Sandbox) -> None:
    settings = sandbox.environment()
    del settings["STATUS_PORT"]  # who tries the worker by hand wants its page
    lines = [f"export {name}={shlex.quote(value)}\n" for name, value in settings.items()]
    write_private(ENVIRONMENT_FILE, "".join(lines))
    kept = KeptSandbox(
        keeper=ProcessMark.of(os.getpid()),
        engine=ProcessMark.of(sandbox.engine.pid),
        broker=ProcessMark.of(sandbox.broker.pid),
        urls={
            "engine": sandbox.engine.url,
            "Cockpit": f"{sandbox.engine.cockpit_url} (login demo, demo)",
            "broker": f"amqp://{sandbox.broker.host}:{sandbox.broker.port}",
            "management": f"{sandbox.broker.management_url} (login sandbox, password in the settings)",
        },
    )
    # Written last: it says that the rest is there.
    write_private(STATE_FILE, json.dumps(asdict(kept), indent=2))


def _forget() -> None:
    STATE_FILE.unlink(missing_ok=True)
    ENVIRONMENT_FILE.unlink(missing_ok=True)


def _print(kept: KeptSandbox) -> None:
    print("sandbox: up")
    for name, url in kept.urls.items():
        print(f"  {name:<10} {url}")
    print(f"  settings   . {ENVIRONMENT_FILE}")
