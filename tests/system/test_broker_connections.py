"""A worker whose broker speaks TLS and knows it by its certificate, or has an address of IPv6 alone."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sandbox.broker import Broker, TlsFiles
from sandbox.engine_api import EngineApi
from sandbox.ports import free_ports
from sandbox.runs import Run
from tests.authority import Authority
from tests.system.conftest import StartWorker
from tests.system.engine import finishers, start_many, wait_for_state
from tests.system.partner import completing, echo_system

USER = "bridge-worker"
INSTANCES, ROUNDS = 100, 3


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"), "ca")


@pytest.fixture(scope="module")
def node(ca: Authority) -> Iterator[Broker]:
    with Run() as run, Broker(run, tls=TlsFiles(ca.file, *ca.give("localhost"))) as node:
        node.ctl("add_user", USER, "unused")
        node.ctl("clear_password", USER)
        node.ctl("set_permissions", USER, ".*", ".*", ".*")
        yield node


def secured(node: Broker, ca: Authority, certificate: Path, key: Path) -> dict[str, str]:
    return {
        "RABBITMQ_HOST": "localhost",
        "RABBITMQ_PORT": str(node.tls_port),
        "RABBITMQ_TLS": "true",
        "RABBITMQ_CA_FILE": str(ca.file),
        "RABBITMQ_CLIENT_CERT_FILE": str(certificate),
        "RABBITMQ_CLIENT_KEY_FILE": str(key),
        "RABBITMQ_AUTH": "external",
        "RABBITMQ_USERNAME": USER,
        "RABBITMQ_VIRTUAL_HOST": "/",
    }


@pytest.mark.usefixtures("samples")
def test_certificates_are_exchanged_under_load_without_a_restart(
    start_worker: StartWorker, engine_api: EngineApi, node: Broker, ca: Authority, tmp_path: Path
) -> None:
    certificate, key = tmp_path / "own.crt", tmp_path / "own.key"

    def renew(number: int) -> None:
        for new, name in zip(ca.give(f"own-{number}", common_name=USER), (certificate, key), strict=True):
            shutil.copy(new, name)

    renew(0)
    environment = secured(node, ca, certificate, key)
    worker = start_worker(**environment, RABBITMQ_PASSWORD=None).wait_connected()
    instances: list[str] = []
    there: Any = SimpleNamespace(broker=node)
    with echo_system(there, "/", ["python-services.queue"], completing):
        for number in range(1, ROUNDS + 1):
            instances += start_many(engine_api, ["email"] * INSTANCES)
            renew(number)
            node.ctl("close_all_user_connections", USER, "certificates are exchanged")
            worker.wait_for("connected to RabbitMQ", count=3 * (number + 1))
        for instance in instances:
            wait_for_state(engine_api, instance)

    assert worker.running()
    assert len(finishers(engine_api, instances)) == ROUNDS * INSTANCES
    assert worker.lines("CRITICAL") == []


@pytest.mark.usefixtures("samples")
def test_a_broker_with_an_address_of_ipv6_alone_is_found_behind_a_host_that_is_down(
    start_worker: StartWorker, engine_api: EngineApi
) -> None:
    with Run() as run, Broker(run, host="::1") as node:
        (unused,) = free_ports(1)
        worker = start_worker(
            RABBITMQ_HOST=f"127.0.0.1:{unused},[::1]",
            RABBITMQ_PORT=str(node.port),
            RABBITMQ_VIRTUAL_HOST="/",
            RABBITMQ_USERNAME=node.username,
            RABBITMQ_PASSWORD=node.password,
        ).wait_connected()
        there: Any = SimpleNamespace(broker=node)
        with echo_system(there, "/", ["python-services.queue"], completing):
            instances = start_many(engine_api, ["email"] * INSTANCES)
            for instance in instances:
                wait_for_state(engine_api, instance)

    assert len(finishers(engine_api, instances)) == INSTANCES
    assert worker.lines(f"connected to RabbitMQ at [::1]:{node.port}")
