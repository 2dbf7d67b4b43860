"""A worker whose login at the broker is a token that ends while messages flow."""

import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sandbox.broker import Broker
from sandbox.engine_api import EngineApi
from sandbox.runs import Run
from tests.identity_provider import CLIENT_ID, SECRET, IdentityProvider
from tests.sandbox.processes import eventually
from tests.system.conftest import StartWorker
from tests.system.engine import finishers, start_many, wait_for_state
from tests.system.partner import ANSWERS, ANSWERS_EXCHANGE, ERRORS, SECONDS, completing, connect, echo_system
from tests.system.worker_process import WorkerProcess

TOKEN_SECONDS, INSTANCES = 15, 40


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IdentityProvider]:
    provider = IdentityProvider(tmp_path_factory.mktemp("provider"), seconds=TOKEN_SECONDS)
    with provider.running():
        yield provider


@pytest.fixture(scope="module")
def node(provider: IdentityProvider) -> Iterator[Broker]:
    with Run() as run, Broker(run, token_key=provider.public_key) as node:
        yield node


@pytest.fixture
def environment(node: Broker, provider: IdentityProvider, tmp_path: Path) -> dict[str, Any]:
    secret = tmp_path / "secret"
    secret.write_text(SECRET)
    return {
        "RABBITMQ_HOST": node.host,
        "RABBITMQ_PORT": str(node.port),
        "RABBITMQ_VIRTUAL_HOST": "/",
        "RABBITMQ_AUTH": "oauth",
        "RABBITMQ_USERNAME": None,
        "RABBITMQ_PASSWORD": None,
        "RABBITMQ_OAUTH_TOKEN_URL": provider.url,
        "RABBITMQ_OAUTH_CLIENT_ID": CLIENT_ID,
        "RABBITMQ_OAUTH_CLIENT_SECRET_FILE": str(secret),
    }


def connections_made(worker: WorkerProcess) -> int:
    return len(worker.lines("connected to RabbitMQ"))


def wait_for_renewal(provider: IdentityProvider) -> None:
    issued = provider.issued
    assert eventually(lambda: provider.issued > issued, seconds=2.0 * TOKEN_SECONDS)


@pytest.mark.usefixtures("samples")
def test_tokens_end_under_load_and_no_connection_is_lost(
    start_worker: StartWorker,
    engine_api: EngineApi,
    node: Broker,
    provider: IdentityProvider,
    environment: dict[str, Any],
) -> None:
    worker = start_worker(**environment).wait_connected()
    made = connections_made(worker)
    provider.fails_each = 2
    there: Any = SimpleNamespace(broker=node)
    with echo_system(there, "/", ["python-services.queue"], completing):
        instances = [*start_many(engine_api, ["email"] * INSTANCES)]
        wait_for_renewal(provider)
        time.sleep(TOKEN_SECONDS / 3)  # until the token that the connections were made with has ended
        instances += start_many(engine_api, ["email"] * INSTANCES)
        for instance in instances:
            wait_for_state(engine_api, instance)
    provider.fails_each = 0

    assert worker.running()
    assert connections_made(worker) == made, worker.output
    assert len(finishers(engine_api, instances)) == 2 * INSTANCES
    assert (
        len(worker.lines("WARNING")) == len(worker.lines("WARNING", "no token from RABBITMQ_OAUTH_TOKEN_URL")) > 0
    )
    assert not any(SECRET in line for line in worker.lines(""))


@pytest.mark.usefixtures("samples")
def test_a_provider_that_is_unavailable_for_longer_than_a_token_lives_costs_nothing(
    start_worker: StartWorker,
    engine_api: EngineApi,
    node: Broker,
    provider: IdentityProvider,
    environment: dict[str, Any],
) -> None:
    worker = start_worker(**environment).wait_connected()
    there: Any = SimpleNamespace(broker=node)
    with echo_system(there, "/", ["python-services.queue"], completing):
        provider.fails_each = 1
        instances = [*start_many(engine_api, ["email"] * INSTANCES)]
        time.sleep(1.5 * TOKEN_SECONDS)
        instances += start_many(engine_api, ["email"] * INSTANCES)
        time.sleep(TOKEN_SECONDS / 3)
        provider.fails_each = 0
        for instance in instances:
            wait_for_state(engine_api, instance)

    assert worker.running()
    assert len(finishers(engine_api, instances)) == 2 * INSTANCES
    assert worker.lines("lacks the") == []


def test_a_user_whose_name_the_settings_do_not_know_sets_answers_aside(
    start_worker: StartWorker, node: Broker, environment: dict[str, Any]
) -> None:
    there: Any = SimpleNamespace(broker=node)
    start_worker(**environment | {"RABBITMQ_USERNAME": "another-name"}).wait_connected()

    with connect(there, "/") as connection:
        channel = connection.channel()
        channel.basic_publish(ANSWERS_EXCHANGE, ANSWERS, b"no answer")
        dead_letter = next(channel.consume(ERRORS, inactivity_timeout=SECONDS))

    assert dead_letter[2] == b"no answer"
    assert dead_letter[1].user_id == CLIENT_ID
