"""The contract in other languages, built and started as each README says; only `./run examples` collects this."""

import re
import shutil
from collections import Counter
from pathlib import Path

import pytest
from pika.adapters.blocking_connection import BlockingChannel
from pika.spec import BasicProperties

from sandbox.engine_api import EngineApi
from sandbox.sandbox import Sandbox
from tests.sandbox.processes import REPOSITORY, eventually
from tests.system.conftest import Deploy, StartWorker
from tests.system.engine import process_file, start_many, wait_for_state
from tests.system.example_process import ExampleProcess, build_example
from tests.system.partner import Watcher

LANGUAGES = ["node", "go", "java", "php"]
TASK_COUNT = 100
SECONDS = 240.0
KEY = "foreign"
QUICK_LOCK = {"CAMUNDA_LOCK_DURATION": "20000"}  # what a killed worker had in hand comes again after that


@pytest.fixture(scope="module", params=LANGUAGES)
def language(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def built(language: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the sources in which the README's commands have built the system."""
    checkout = tmp_path_factory.mktemp(language)
    sources = f"examples/languages/{language}"
    shutil.copytree(REPOSITORY / sources, checkout / sources)
    build_example(f"languages/{language}", checkout)
    return checkout


@pytest.fixture
def process(deploy: Deploy, tmp_path: Path) -> None:
    """A process whose one task nobody claims, so that it goes to `default.queue`."""
    deploy(process_file(tmp_path, KEY, "foreign_work"))


def done(example: ExampleProcess) -> Counter[str]:
    """Counts by task how often the system has done its work."""
    return Counter(re.findall(r"done (\S+)", example.output))


@pytest.mark.usefixtures("process")
def test_a_hundred_tasks_are_done_once_each_though_worker_and_connections_are_killed_half_way(
    sandbox: Sandbox,
    vhost: str,
    engine_api: EngineApi,
    start_worker: StartWorker,
    language: str,
    built: Path,
    tmp_path: Path,
) -> None:
    worker = start_worker(**QUICK_LOCK).wait_connected()
    settings = sandbox.environment(vhost)
    with ExampleProcess(f"languages/{language}", tmp_path / "system", settings, checkout=built) as example:
        instances = start_many(engine_api, [KEY] * TASK_COUNT)
        assert eventually(lambda: len(done(example)) >= TASK_COUNT // 2, seconds=SECONDS), example.output

        worker.kill()
        sandbox.broker.ctl("close_all_connections", "--vhost", vhost, "the test wants it")
        start_worker(**QUICK_LOCK)

        ended = eventually(lambda: engine_api.finished_count(KEY) == TASK_COUNT, seconds=SECONDS)
        assert ended, example.output
    assert set(done(example).values()) == {1}
    assert len(done(example)) == TASK_COUNT
    assert {engine_api.variables(instance)["done_by"] for instance in instances} == {language}
    assert engine_api.incidents() == []


@pytest.mark.usefixtures("process")
def test_it_waits_for_its_queue_and_answers_a_repeat_and_forgets_what_is_late(
    sandbox: Sandbox,
    vhost: str,
    engine_api: EngineApi,
    start_worker: StartWorker,
    channel: BlockingChannel,
    language: str,
    built: Path,
    tmp_path: Path,
) -> None:
    watcher = Watcher(channel)
    settings = sandbox.environment(vhost)
    with ExampleProcess(f"languages/{language}", tmp_path / "system", settings, checkout=built) as example:
        example.wait_for("no queue 'default.queue'")
        start_worker().wait_connected()
        wait_for_state(engine_api, engine_api.start_instance(KEY))
        _, properties, body = channel.basic_get(watcher.QUEUE, auto_ack=True)
        assert properties is not None
        assert body is not None
        again = BasicProperties(delivery_mode=2, message_id=properties.message_id)

        late = re.sub(rb'"lock_expires_at": ?"\d{4}', b'"lock_expires_at":"2020', body)
        channel.basic_publish("", "default.queue", late, again)
        channel.basic_publish("", "default.queue", body, again)
        wait_for_state(engine_api, engine_api.start_instance(KEY))

    assert sorted(done(example).values()) == [1, 1]
