"""An engine whose server writes dates without their zone, in another order, three hours ahead of us."""

import re
from datetime import UTC, datetime, timedelta, timezone

import pytest

from sandbox.engine_api import EngineApi
from sandbox.sandbox import Sandbox
from tests.faults.odd_engine import OddEngine, odd_engine
from tests.system.conftest import StartSystem, StartWorker
from tests.system.engine import start_many, wait_for_state
from tests.system.partner import completing
from tests.system.tools import Tools

DATE = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+0000")
MOSCOW = timezone(timedelta(hours=3))
LOCK_SECONDS = 600


class Abroad(OddEngine):
    """Writes all dates of the engine behind it in its own way."""

    def spoilt(self, path: str, content: bytes) -> bytes:
        return DATE.sub(_as_there, content)


def _as_there(found: re.Match[bytes]) -> bytes:
    moment = datetime.fromisoformat(found[0].decode()).astimezone(MOSCOW)
    return f"{moment:%d.%m.%Y %H:%M:%S}".encode()


@pytest.mark.usefixtures("samples")
def test_tasks_flow_and_the_end_of_their_locks_is_told_right(
    sandbox: Sandbox,
    vhost: str,
    start_worker: StartWorker,
    start_system: StartSystem,
    engine_api: EngineApi,
) -> None:
    with odd_engine(sandbox.engine.url, Abroad) as abroad:
        settings = {"CAMUNDA_BASE_URL": abroad.url}
        worker = start_worker(**settings).wait_connected()
        waiting = start_many(engine_api, ["bitrix24_task"] * 5)
        worker.wait_for("published")
        shown = Tools({**sandbox.environment(vhost), **settings}).run("camunda_processes", "--tasks")
        worker.stop()
        worker = start_worker(**settings).wait_connected()
        system = start_system(["bitrix24.queue"], completing)
        for instance in waiting:
            wait_for_state(engine_api, instance)
        worker.stop()

    lock_ends = [datetime.fromisoformat(task.body["lock_expires_at"]) for task in system.tasks]
    assert len(system.tasks) == len({task.id for task in system.tasks}) == 5
    assert all(abs((end - datetime.now(UTC)).total_seconds() - LOCK_SECONDS) < 60 for end in lock_ends)
    assert len(worker.lines("WARNING", "the engine's dates have no zone", "UTC+03:00")) == 1
    assert shown.code == 0, shown.err
