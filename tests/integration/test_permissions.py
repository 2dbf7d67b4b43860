"""The least rights: with them all works, and without any one of them something does not."""

import json
import subprocess
import sys
from dataclasses import replace

import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import ChannelClosedByBroker

from bridge.broker import ERROR_QUEUE, Broker, Outcome, Topology, retry_queue
from bridge.broker.topology import RESPONSE_EXCHANGE
from bridge.contract import ERROR_EXCHANGE, ERROR_KEY, REJECTED_QUEUE, RESPONSE_QUEUE, Publication
from bridge.errors import RightMissing, WrongQueue
from config import RoutingConfig
from sandbox.sandbox import Sandbox
from tests.integration.services import SECONDS, message, outcomes_of, publisher_of, running
from tests.sandbox.processes import REPOSITORY
from tools.lib.permissions import Rights, rights_of_systems, rights_of_worker

PASSWORD = "secret-of-the-least"
KINDS = ("configure", "write", "read")


@pytest.fixture
def user(sandbox: Sandbox, vhost: str) -> str:
    sandbox.broker.api.add_user(f"least-{vhost}", PASSWORD)
    return f"least-{vhost}"


def as_user(broker: Broker, user: str) -> Broker:
    return replace(broker, username=user, read_password=lambda: PASSWORD)


def give(sandbox: Sandbox, vhost: str, rights: Rights) -> None:
    sandbox.broker.api.set_permissions(rights.user, vhost, **rights.patterns)


def copies() -> list[Publication]:
    """What the worker publishes: a task, a copy for a delay tier, a dead letter."""
    properties = {"delivery_mode": 2}
    return [
        message("t1", key="1c.1c_x"),
        Publication("", retry_queue("5s"), b"{}", {}, properties),
        Publication(ERROR_EXCHANGE, ERROR_KEY, b"{}", {}, properties),
    ]


def all_works(broker: Broker, topology: Topology) -> bool:
    """Whether the worker's user can declare, publish all that the worker publishes, and read answers."""
    try:
        broker.declare(topology, name="tests")
    except (RightMissing, WrongQueue):
        return False
    return publishes(broker, topology) and reads(broker)


def publishes(broker: Broker, topology: Topology) -> bool:
    with pika.BlockingConnection(broker.parameters("tests")) as connection:
        for copy in copies():
            channel = connection.channel()
            channel.confirm_delivery()
            try:
                channel.basic_publish(copy.exchange, copy.routing_key, copy.body)
            except ChannelClosedByBroker:
                return False
    return True


def reads(broker: Broker) -> bool:
    """Whether it can read answers, and what systems rejected; without the latter it works too, and says so."""
    with pika.BlockingConnection(broker.parameters("tests")) as connection:
        for queue in (RESPONSE_QUEUE, REJECTED_QUEUE):
            try:
                connection.channel().basic_get(queue)
            except ChannelClosedByBroker:
                return False
    return True


def without(rights: Rights, kind: str, name: str) -> Rights:
    left = {kind: tuple(one for one in getattr(rights, kind) if one != name)}
    return replace(rights, **left)  # type: ignore[arg-type]


@pytest.mark.parametrize("passive", [False, True])
def test_the_worker_needs_each_of_its_rights_and_no_other(
    sandbox: Sandbox, vhost: str, broker: Broker, topology: Topology, user: str, passive: bool
) -> None:
    wanted = replace(topology, passive=passive)
    if passive:
        topology.declare(broker.parameters("administrator"))
    rights, weak = rights_of_worker(user, wanted), as_user(broker, user)
    give(sandbox, vhost, rights)
    assert all_works(weak, wanted)
    needless = []

    for kind in KINDS:
        for name in getattr(rights, kind):
            sandbox.broker.delete_vhost(vhost) if not passive else None
            sandbox.broker.add_vhost(vhost) if not passive else None
            give(sandbox, vhost, without(rights, kind, name))
            if all_works(weak, wanted):
                needless.append((kind, name))

    assert needless == []


def test_a_worker_with_the_least_rights_publishes_and_is_ready(
    sandbox: Sandbox, vhost: str, broker: Broker, topology: Topology, user: str
) -> None:
    give(sandbox, vhost, rights_of_worker(user, topology))
    publisher = publisher_of(as_user(broker, user), topology, name="tasks")

    with running(publisher):
        assert publisher.wait_until_ready(SECONDS)
        assert outcomes_of(publisher, copies()) == [Outcome.CONFIRMED] * 3


def test_a_system_reads_its_own_queue_and_answers_and_may_do_nothing_else(
    sandbox: Sandbox, vhost: str, broker: Broker, topology: Topology, user: str
) -> None:
    topology.declare(broker.parameters("administrator"))
    (rights,) = [one for one in rights_of_systems(RoutingConfig.built_in(600_000)) if one.user == "bitrix24"]
    give(sandbox, vhost, replace(rights, user=user))

    with pika.BlockingConnection(as_user(broker, user).parameters("system")) as connection:

        def may(act: str, *arguments: object) -> bool:
            channel: BlockingChannel = connection.channel()
            channel.confirm_delivery()
            try:
                getattr(channel, act)(*arguments)
            except ChannelClosedByBroker:
                return False
            return True

        assert may("basic_get", "bitrix24.queue")
        assert may("basic_publish", RESPONSE_EXCHANGE, RESPONSE_QUEUE, b"{}")
        assert not any(may("basic_get", queue) for queue in ("1c.queue", RESPONSE_QUEUE, ERROR_QUEUE))
        assert not may("basic_publish", "camunda.external.tasks", "1c.x", b"{}")
        assert not may("basic_publish", "", "1c.queue", b"{}")
        assert not may("queue_delete", "bitrix24.queue")
        assert not may("queue_purge", "1c.queue")


def test_the_tool_prints_commands_and_applies_them(sandbox: Sandbox, vhost: str, user: str) -> None:
    environment = {"PATH": "/usr/bin:/bin", **sandbox.environment(vhost), "RABBITMQ_USERNAME": user}

    def tool(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "tools/broker_permissions.py", *arguments]
        return subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True)

    password = sandbox.folder / f"{vhost}.password"
    password.write_text(sandbox.broker.password)
    admin = ("--admin", sandbox.broker.username, "--admin-password-file", str(password))

    printed = tool().stdout.splitlines()
    rows = [json.loads(line) for line in tool("--json").stdout.splitlines()]
    applied = tool("--apply", sandbox.broker.management_url, *admin)
    refused = tool("--apply", sandbox.broker.management_url)

    assert printed[0].startswith(f"rabbitmqctl set_permissions -p {vhost} {user} '^(camunda")
    assert [row["user"] for row in rows] == [user, "bitrix24", "openproject", "1c", "python-services", "default"]
    assert f"{user}: has its rights" in applied.stdout
    assert (applied.returncode, "rabbitmqctl add_user bitrix24" in applied.stdout) == (1, True)
    assert (refused.returncode, "tag administrator" in refused.stderr) == (1, True)
    assert PASSWORD not in applied.stdout + refused.stderr + applied.stderr
