"""From 0.1.0 to this version under load: what the old one left in queues and in flight is brought to its end.

Only `./run installation` collects it: it needs the history of the repository.
"""

import subprocess
import threading
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from sandbox.engine_api import EngineApi
from sandbox.sandbox import Sandbox
from tests.sandbox.processes import REPOSITORY, eventually
from tests.system.conftest import StartSystem, StartWorker
from tests.system.engine import finishers, start_many
from tests.system.partner import (
    ANSWERS,
    ANSWERS_EXCHANGE,
    ERRORS,
    Reply,
    TaskMessage,
    complete,
    completing,
    connect,
)
from tests.system.tools import Tools

VERSION_0_1_0 = "4aa3f1a54a8a9ee026103e74ba690c68f1ef9bb5"
SUSPENDED, HELD, LOAD = 5, 40, 200
UNUSABLE = b"no answer at all"
SECONDS = 120.0
FIRST_LOCK_SECONDS = 60
LONGEST_TIER_SECONDS = 400.0  # that of 0.1.0 lasts five minutes


class Slow:
    """A system that keeps its answers back until it is told to give them."""

    def __init__(self) -> None:
        self.gives = threading.Event()

    def __call__(self, task: TaskMessage) -> Sequence[Reply]:
        self.gives.wait(SECONDS)
        return (complete(task, attempt=task.attempt),)


def old_version(folder: Path) -> str:
    """Return where the main program of 0.1.0 lies."""
    archive = subprocess.run(["git", "archive", VERSION_0_1_0], cwd=REPOSITORY, check=True, capture_output=True)
    folder.mkdir()
    subprocess.run(["tar", "-x", "-C", str(folder)], check=True, input=archive.stdout)
    return str(folder / "main.py")


def suspend(engine_api: EngineApi, instances: Sequence[str], *, is_suspended: bool) -> None:
    for instance in instances:
        engine_api.request("PUT", f"/process-instance/{instance}/suspended", json={"suspended": is_suspended})


def locked_for_long(engine_api: EngineApi) -> int:
    """Count the tasks that are locked for longer than a first lock lasts."""
    later = datetime.now().astimezone() + timedelta(seconds=FIRST_LOCK_SECONDS)
    ends = (row["lockExpirationTime"] for row in engine_api.external_tasks(locked="true"))
    return sum(datetime.fromisoformat(end) > later for end in ends)


def ended(engine_api: EngineApi, instances: Sequence[str]) -> bool:
    return all(engine_api.instance(instance)["state"] == "COMPLETED" for instance in instances)


@pytest.mark.usefixtures("samples")
def test_what_the_old_version_left_is_brought_to_its_end_and_nothing_is_done_twice(
    sandbox: Sandbox,
    vhost: str,
    engine_api: EngineApi,
    start_worker: StartWorker,
    start_system: StartSystem,
    tmp_path: Path,
) -> None:
    def in_delay_tiers() -> int:
        states = sandbox.broker.api.queues(vhost)
        return sum(state.ready for name, state in states.items() if name.startswith("camunda.responses.retry."))

    old = start_worker(script=old_version(tmp_path / "0.1.0")).wait_connected()
    begins, goes_on = Slow(), Slow()
    systems = [
        start_system(["1c.queue"], begins),
        start_system(["bitrix24.queue"], goes_on),
        start_system(["python-services.queue"], completing),
    ]
    suspended = start_many(engine_api, ["one_c_sync"] * SUSPENDED)
    held = start_many(engine_api, ["bitrix24_task"] * HELD)
    # The full lock: the engine extends none of a suspended instance.
    assert eventually(lambda: locked_for_long(engine_api) == SUSPENDED + HELD, seconds=SECONDS)
    suspend(engine_api, suspended, is_suspended=True)
    begins.gives.set()
    with connect(sandbox, vhost) as connection:
        connection.channel().basic_publish(ANSWERS_EXCHANGE, ANSWERS, UNUSABLE)
    assert eventually(lambda: in_delay_tiers() == SUSPENDED, seconds=SECONDS)
    assert eventually(lambda: sandbox.broker.api.queue(vhost, ERRORS).ready == 1, seconds=SECONDS)

    under_load: list[str] = []
    load = threading.Thread(target=lambda: under_load.extend(start_many(engine_api, ["email"] * LOAD)))
    load.start()
    systems[2].receive(LOAD // 10)
    old.terminate()
    code = old.exit_code()
    new = start_worker().wait_connected()
    suspend(engine_api, suspended, is_suspended=False)
    goes_on.gives.set()
    load.join(SECONDS)

    instances = [*held, *suspended, *under_load]
    assert eventually(lambda: ended(engine_api, instances), seconds=LONGEST_TIER_SECONDS)
    assert code == 0
    assert new.running()
    assert len(finishers(engine_api, instances)) == HELD + SUSPENDED + LOAD
    given = Counter((task.id, task.attempt) for system in systems for task in system.tasks)
    assert max(given.values()) == 1
    assert in_delay_tiers() == 0
    (letter,) = Tools(sandbox.environment(vhost)).run("dead_letters", "list", "--json").rows
    assert letter["reason"] == "invalid"
