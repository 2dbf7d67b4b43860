"""The topology on the broker: as the contract's table says, open to partners, strict where it differs."""

from dataclasses import replace
from typing import Any
from urllib.parse import quote

import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import ChannelClosedByBroker

from bridge.broker import RETRY_TIERS, Broker, Topology
from bridge.broker.bent_pika import DeadlineConnection
from bridge.errors import RightMissing, SettingsError, WrongQueue
from bridge.routing import Routing, System
from sandbox.sandbox import Sandbox
from tests.integration.conftest import ROUTING, SYSTEMS
from tests.integration.services import message, outcomes_of, publisher_of, running

PUBLIC_QUEUES = (*(f"{name}.queue" for name in SYSTEMS), "camunda.responses.queue", "errors.camunda_tasks.queue")
EXCHANGES = {
    "camunda.external.tasks": ("topic", {"alternate-exchange": "camunda.unrouted.tasks"}),
    "camunda.unrouted.tasks": ("fanout", {}),
    "camunda.task.responses": ("direct", {}),
    "camunda.errors": ("direct", {}),
    "camunda.claimed.tasks": ("fanout", {}),
}
BINDINGS = {
    ("camunda.external.tasks", "bitrix24.#", "bitrix24.queue"),
    ("camunda.external.tasks", "openproject.#", "openproject.queue"),
    ("camunda.external.tasks", "1c.#", "1c.queue"),
    ("camunda.external.tasks", "python-services.#", "python-services.queue"),
    ("camunda.external.tasks", "default.#", "default.queue"),
    ("camunda.unrouted.tasks", "", "default.queue"),
    ("camunda.task.responses", "camunda.responses.queue", "camunda.responses.queue"),
    ("camunda.errors", "errors.camunda_tasks", "errors.camunda_tasks.queue"),
}


@pytest.fixture
def declared(broker: Broker, topology: Topology) -> Topology:
    topology.declare(broker.parameters("topology"))
    return topology


def rows(sandbox: Sandbox, kind: str, vhost: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = sandbox.broker.api.request("GET", f"/{kind}/{quote(vhost)}?disable_stats=true")
    return found


@pytest.mark.usefixtures("declared")
def test_the_exchanges_are_those_of_the_contract(sandbox: Sandbox, vhost: str) -> None:
    ours = [row for row in rows(sandbox, "exchanges", vhost) if row["name"].startswith("camunda.")]

    assert {row["name"]: (row["type"], row["arguments"]) for row in ours} == EXCHANGES
    assert all(row["durable"] for row in ours)


@pytest.mark.usefixtures("declared")
def test_the_queues_are_durable_and_have_no_arguments(sandbox: Sandbox, vhost: str) -> None:
    queues = {row["name"]: row for row in rows(sandbox, "queues", vhost)}

    assert set(PUBLIC_QUEUES) <= queues.keys()
    public = [queues[name] for name in PUBLIC_QUEUES]
    assert all(row["durable"] and row["type"] == "classic" for row in public)
    assert all(row["arguments"] in ({}, {"x-queue-type": "classic"}) for row in public)


@pytest.mark.usefixtures("declared")
def test_the_bindings_are_those_of_the_contract(sandbox: Sandbox, vhost: str) -> None:
    bindings = {
        (row["source"], row["routing_key"], row["destination"])
        for row in rows(sandbox, "bindings", vhost)
        if row["source"] and row["destination"] in PUBLIC_QUEUES
    }

    assert bindings == BINDINGS


@pytest.mark.usefixtures("declared")
@pytest.mark.parametrize("queue", PUBLIC_QUEUES)
def test_a_partner_may_declare_a_public_queue_plainly(channel: BlockingChannel, queue: str) -> None:
    assert channel.queue_declare(queue, durable=True).method.queue == queue


@pytest.mark.parametrize("queue", PUBLIC_QUEUES)
def test_a_queue_that_a_partner_declared_first_is_taken_as_it_is(
    broker: Broker, topology: Topology, channel: BlockingChannel, queue: str
) -> None:
    channel.queue_declare(queue, durable=True)

    topology.declare(broker.parameters("topology"))


@pytest.mark.usefixtures("declared")
def test_declaring_again_changes_nothing(sandbox: Sandbox, vhost: str, broker: Broker, declared: Topology) -> None:
    before = rows(sandbox, "bindings", vhost)

    declared.declare(broker.parameters("topology"))

    assert rows(sandbox, "bindings", vhost) == before


@pytest.mark.usefixtures("declared")
def test_what_is_claimed_is_caught_before_the_alternate_exchange(sandbox: Sandbox, vhost: str) -> None:
    caught = {
        (row["source"], row["routing_key"])
        for row in rows(sandbox, "bindings", vhost)
        if row["destination"] == "camunda.claimed.tasks"
    }

    assert caught == {("camunda.external.tasks", f"{name}.#") for name in SYSTEMS}


def test_a_message_that_is_of_no_system_lands_in_the_default_queue(
    broker: Broker, topology: Topology, channel: BlockingChannel
) -> None:
    publisher = publisher_of(broker, topology, name="tasks")

    with running(publisher):
        assert publisher.wait_until_ready(10)
        outcomes_of(publisher, [message("a", key="nobody.knows_it", body=b"1")])
        outcomes_of(publisher, [message("b", key="default.legacy_archive", body=b"2")])

    assert [channel.basic_get("default.queue", auto_ack=True)[2] for _ in range(3)] == [b"1", b"2", None]


@pytest.mark.parametrize("queue", ["1c.queue", "camunda.responses.queue", "errors.camunda_tasks.queue"])
def test_a_queue_with_other_arguments_is_named(
    broker: Broker, topology: Topology, channel: BlockingChannel, queue: str
) -> None:
    channel.queue_declare(queue, durable=True, arguments={"x-max-length": 7})

    with pytest.raises(SettingsError) as raised:
        topology.declare(broker.parameters("topology"))

    assert repr(queue) in str(raised.value)
    assert "x-max-length" in str(raised.value)


def test_all_wrong_queues_are_named_and_the_others_declared(
    sandbox: Sandbox, vhost: str, broker: Broker, topology: Topology, channel: BlockingChannel
) -> None:
    for queue in ("bitrix24.queue", "1c.queue"):
        channel.queue_declare(queue, durable=True, arguments={"x-max-length": 7})

    with pytest.raises(WrongQueue, match=r"bitrix24\.queue.*; .*1c\.queue") as raised:
        topology.declare(broker.parameters("topology"))

    assert not raised.value.ours
    assert "x-max-length is the value '7' of type 'signedint', wanted is none" in raised.value.troubles["1c.queue"]
    assert set(PUBLIC_QUEUES) <= {row["name"] for row in rows(sandbox, "queues", vhost)}


def test_an_exchange_of_another_kind_is_named(
    broker: Broker, topology: Topology, channel: BlockingChannel
) -> None:
    channel.exchange_declare("camunda.task.responses", "fanout", durable=True)

    with pytest.raises(SettingsError, match=r"exchange 'camunda\.task\.responses'.*fanout"):
        topology.declare(broker.parameters("topology"))


def test_a_system_more_is_a_queue_and_a_binding_more(sandbox: Sandbox, vhost: str, broker: Broker) -> None:
    topology = Topology.of(
        Routing([*ROUTING.systems[:-1], System("sap", 60_000)], ROUTING.default),
        queue_type="classic",
        passive=False,
    )

    topology.declare(broker.parameters("topology"))

    found = {(row["source"], row["routing_key"], row["destination"]) for row in rows(sandbox, "bindings", vhost)}
    assert ("camunda.external.tasks", "sap.#", "sap.queue") in found


def test_an_adopted_queue_is_bound_and_its_arguments_are_not_compared(
    sandbox: Sandbox, vhost: str, broker: Broker, channel: BlockingChannel
) -> None:
    channel.queue_declare("crm.in", durable=True, arguments={"x-max-priority": 3, "x-max-length": 9})
    crm = System("crm", 60_000, own_queue="crm.in", declares_queue=False)
    topology = Topology.of(Routing([crm], ROUTING.default), queue_type="classic", passive=False)

    topology.declare(broker.parameters("topology"))

    found = {(row["source"], row["routing_key"], row["destination"]) for row in rows(sandbox, "bindings", vhost)}
    assert ("camunda.external.tasks", "crm.#", "crm.in") in found


def test_an_adopted_queue_that_is_missing_is_its_system_s_trouble(broker: Broker) -> None:
    crm = System("crm", 60_000, own_queue="crm.in", declares_queue=False)
    topology = Topology.of(Routing([crm], ROUTING.default), queue_type="classic", passive=False)

    with pytest.raises(WrongQueue, match=r"no queue 'crm\.in'.*declare = false"):
        topology.declare(broker.parameters("topology"))


def test_a_queue_has_the_arguments_that_its_system_wants(sandbox: Sandbox, vhost: str, broker: Broker) -> None:
    crm = System("crm", 60_000, queue_arguments={"x-max-priority": 10})
    topology = Topology.of(Routing([crm], ROUTING.default), queue_type="classic", passive=False)

    topology.declare(broker.parameters("topology"))

    found = {row["name"]: row["arguments"] for row in rows(sandbox, "queues", vhost)}
    assert found["crm.queue"] == {"x-max-priority": 10}


def test_quorum_is_for_every_queue(sandbox: Sandbox, vhost: str, broker: Broker) -> None:
    topology = Topology.of(ROUTING, queue_type="quorum", passive=False)

    topology.declare(broker.parameters("topology"))

    kinds = {row["name"]: row["type"] for row in rows(sandbox, "queues", vhost)}
    assert {*PUBLIC_QUEUES} < kinds.keys()
    assert set(kinds.values()) == {"quorum"}


def test_delay_tiers_that_an_older_version_made_are_used_as_they_are(
    sandbox: Sandbox, vhost: str, broker: Broker, logged: list[str]
) -> None:
    Topology.of(ROUTING, queue_type="classic", passive=False).declare(broker.parameters("older"))
    for queue in PUBLIC_QUEUES:
        with broker.connect("tests", DeadlineConnection) as connection:
            connection.channel().queue_delete(queue)

    Topology.of(ROUTING, queue_type="quorum", passive=False).declare(broker.parameters("newer"))

    kinds = {row["name"]: row["type"] for row in rows(sandbox, "queues", vhost)}
    assert {kind for name, kind in kinds.items() if ".retry." in name} == {"classic"}
    assert {kinds[name] for name in PUBLIC_QUEUES} == {"quorum"}
    told = [line for line in logged if "differs from what we declare" in line]
    assert len(told) == len(RETRY_TIERS) + 1  # the queue of rejected messages was made by that version too


def test_passive_is_content_with_what_is_there(broker: Broker, declared: Topology) -> None:
    replace(declared, passive=True).declare(broker.parameters("topology"))


def test_passive_names_the_exchange_that_is_missing(broker: Broker, topology: Topology) -> None:
    with pytest.raises(SettingsError, match=r"no exchange 'camunda\.[a-z.]+'.*RABBITMQ_TOPOLOGY"):
        replace(topology, passive=True).declare(broker.parameters("topology"))


def test_passive_names_the_queue_that_is_missing_and_declares_nothing(
    broker: Broker, declared: Topology, channel: BlockingChannel
) -> None:
    channel.queue_delete("openproject.queue")

    with pytest.raises(SettingsError, match=r"no queue 'openproject\.queue'.*RABBITMQ_TOPOLOGY"):
        replace(declared, passive=True).declare(broker.parameters("topology"))
    with pytest.raises(ChannelClosedByBroker, match="NOT_FOUND"):
        channel.queue_declare("openproject.queue", passive=True)


@pytest.mark.parametrize("queue", ["camunda.responses.queue", "errors.camunda_tasks.queue"])
def test_a_wrong_queue_of_ours_is_told_from_one_of_a_system(
    broker: Broker, topology: Topology, channel: BlockingChannel, queue: str
) -> None:
    channel.queue_declare(queue, durable=True, arguments={"x-max-length": 7})

    with pytest.raises(WrongQueue) as raised:
        topology.declare(broker.parameters("topology"))

    assert raised.value.ours


@pytest.mark.parametrize(
    ("rights", "lacks"),
    [
        ({"configure": "^$"}, "configure permission on exchange 'camunda.unrouted.tasks'"),
        ({"read": r"^(?!camunda\.external)"}, "configure or read permission on exchange 'camunda.external.tasks'"),
        ({"write": r"^(?!camunda\.responses\.queue)"}, "write permission on queue 'camunda.responses.queue'"),
        ({"read": r"^(?!camunda\.errors)"}, "read permission on exchange 'camunda.errors'"),
        ({"read": r"^(?!camunda\.task\.)"}, "read permission on exchange 'camunda.task.responses'"),
        ({"write": r"^(?!camunda\.claimed)"}, "write permission on exchange 'camunda.claimed.tasks'"),
        ({"write": r"^(?!amq\.default)"}, "write permission on exchange 'amq.default'"),
    ],
)
def test_a_right_that_is_missing_is_named(
    sandbox: Sandbox, vhost: str, broker: Broker, topology: Topology, rights: dict[str, str], lacks: str
) -> None:
    weak = weak_login(sandbox, vhost, broker, **rights)

    with pytest.raises(RightMissing) as raised:
        topology.declare(weak.parameters("topology"))

    assert f"RABBITMQ_USERNAME '{weak.username}' lacks the {lacks}" in str(raised.value)
    assert "RABBITMQ_TOPOLOGY=passive" in str(raised.value)
    assert "secret-of-weak" not in str(raised.value)


@pytest.mark.parametrize(
    ("rights", "lacks"),
    [
        ({"write": r"^(?!1c\.queue)"}, "write permission on queue '1c.queue'"),
        ({"configure": r"^(?!1c\.queue)"}, "configure permission on queue '1c.queue'"),
    ],
)
def test_a_right_that_is_missing_on_a_systems_queue_concerns_that_system_alone(
    sandbox: Sandbox, vhost: str, broker: Broker, topology: Topology, rights: dict[str, str], lacks: str
) -> None:
    weak = weak_login(sandbox, vhost, broker, **rights)

    with pytest.raises(WrongQueue) as raised:
        topology.declare(weak.parameters("topology"))

    assert not raised.value.ours
    assert raised.value.troubles.keys() == {"1c.queue"}
    assert lacks in raised.value.troubles["1c.queue"]


@pytest.mark.usefixtures("declared")
def test_the_right_to_bind_to_the_tasks_is_named_once_their_exchange_is_there(
    sandbox: Sandbox, vhost: str, broker: Broker, topology: Topology
) -> None:
    weak = weak_login(sandbox, vhost, broker, read=r"^(?!camunda\.external)")

    with pytest.raises(RightMissing, match=r"lacks the read permission on exchange 'camunda\.external\.tasks'"):
        topology.declare(weak.parameters("topology"))


def test_a_queue_that_its_system_keeps_to_itself_concerns_that_system_alone(
    broker: Broker, topology: Topology, channel: BlockingChannel
) -> None:
    channel.queue_declare("1c.queue", exclusive=True)

    with pytest.raises(WrongQueue) as raised:
        topology.declare(broker.parameters("topology"))

    assert raised.value.troubles.keys() == {"1c.queue"}


def weak_login(sandbox: Sandbox, vhost: str, broker: Broker, **rights: str) -> Broker:
    sandbox.broker.api.add_user(f"weak-{vhost}", "secret-of-weak")
    sandbox.broker.api.set_permissions(f"weak-{vhost}", vhost, **rights)
    return replace(broker, username=f"weak-{vhost}", read_password=lambda: "secret-of-weak")


@pytest.mark.usefixtures("declared")
def test_a_login_that_may_not_configure_checks_passively(
    sandbox: Sandbox, vhost: str, broker: Broker, declared: Topology
) -> None:
    reader = weak_login(sandbox, vhost, broker, configure="^$")

    replace(declared, passive=True).declare(reader.parameters("topology"))


def test_a_message_survives_in_its_queue_with_all_properties(
    broker: Broker, declared: Topology, channel: BlockingChannel
) -> None:
    publisher = publisher_of(broker, declared, name="tasks")
    sent = message("a", body="Перезвонить".encode())
    sent.properties.update(correlation_id="task-1", content_type="application/json", expiration="600000")

    with running(publisher):
        assert publisher.wait_until_ready(10)
        outcomes_of(publisher, [sent])

    method, properties, body = channel.basic_get("1c.queue")
    assert method is not None
    assert isinstance(properties, pika.BasicProperties)
    assert (method.exchange, method.routing_key) == ("camunda.external.tasks", "1c.1c_sync_data")
    assert body == "Перезвонить".encode()
    assert (properties.message_id, properties.correlation_id) == ("a", "task-1")
    assert (properties.content_type, properties.expiration) == ("application/json", "600000")
    assert properties.delivery_mode == 2
