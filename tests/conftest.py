"""What tests share: one sandbox for the whole run, one vhost for each test."""

import secrets
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest

from sandbox.engine_api import EngineApi
from sandbox.ports import free_ports
from sandbox.sandbox import Sandbox

MemoryAlarm = Callable[[], AbstractContextManager[None]]


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def vhost(sandbox: Sandbox) -> Iterator[str]:
    name = f"test-{secrets.token_hex(4)}"
    sandbox.broker.add_vhost(name)
    yield name
    sandbox.broker.delete_vhost(name)


@pytest.fixture(scope="session")
def engine_api(sandbox: Sandbox) -> EngineApi:
    return sandbox.engine_api()


@pytest.fixture
def memory_alarm(sandbox: Sandbox) -> MemoryAlarm:
    """Makes the broker block all that publish, in every vhost, for as long as the block lasts."""
    return sandbox.broker.memory_alarm


@pytest.fixture
def unused_port() -> int:
    """A port of the loopback interface that nothing listens on."""
    return free_ports(1)[0]
