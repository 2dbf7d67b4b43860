"""SIGHUP: the routing and the settings are read again, without a restart and without a loss."""

from pathlib import Path

import pytest
from pika.adapters.blocking_connection import BlockingChannel

from sandbox.engine_api import EngineApi
from tests.system.conftest import StartSystem, StartWorker
from tests.system.engine import wait_for_state
from tests.system.partner import completing

pytestmark = pytest.mark.usefixtures("samples")

BITRIX_ONLY = '[systems.bitrix24]\npatterns = ["bitrix_*"]\n'
WITH_ARCHIVE = BITRIX_ONLY + '[systems.archive]\npatterns = ["legacy_*"]\n'


@pytest.fixture
def routing_file(tmp_path: Path) -> Path:
    file = tmp_path / "routing.toml"
    file.write_text(BITRIX_ONLY, encoding="utf-8")
    return file


def test_a_new_system_gets_its_tasks_after_a_reload(
    start_worker: StartWorker, start_system: StartSystem, engine_api: EngineApi, routing_file: Path
) -> None:
    worker = start_worker(ROUTING_FILE=str(routing_file)).wait_connected()

    routing_file.write_text(WITH_ARCHIVE, encoding="utf-8")
    worker.reload()
    worker.wait_for("routing: ", "archive.queue")
    worker.wait_for("connected to RabbitMQ", count=6)
    start_system(["archive.queue"], completing)
    instance = engine_api.start_instance("legacy_archive")

    wait_for_state(engine_api, instance)
    assert worker.stop()[0] == 0


def test_a_routing_with_an_error_changes_nothing(
    start_worker: StartWorker, start_system: StartSystem, engine_api: EngineApi, routing_file: Path
) -> None:
    worker = start_worker(ROUTING_FILE=str(routing_file)).wait_connected()

    routing_file.write_text(BITRIX_ONLY + "lock_duration = 1\n", encoding="utf-8")
    worker.reload()
    worker.wait_for("ERROR", "line 3: lock_duration", "all stays as it was")
    start_system(["bitrix24.queue"], completing)
    instance = engine_api.start_instance("bitrix24_task")

    wait_for_state(engine_api, instance)
    assert worker.stop()[0] == 0


def test_a_queue_that_is_otherwise_than_wanted_changes_nothing_either(
    start_worker: StartWorker,
    start_system: StartSystem,
    engine_api: EngineApi,
    routing_file: Path,
    channel: BlockingChannel,
) -> None:
    worker = start_worker(ROUTING_FILE=str(routing_file)).wait_connected()
    channel.queue_declare("archive.queue", durable=True, arguments={"x-max-length": 7})

    routing_file.write_text(WITH_ARCHIVE, encoding="utf-8")
    worker.reload()
    worker.wait_for("ERROR", "'archive.queue'", "all stays as it was")
    start_system(["bitrix24.queue"], completing)
    instance = engine_api.start_instance("bitrix24_task")

    wait_for_state(engine_api, instance)
    assert worker.stop()[0] == 0
