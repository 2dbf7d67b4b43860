"""TLS, client certificates and several hosts, on a real broker that lets in only who has a certificate."""

import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bridge import certificates
from bridge.broker import Broker, Consumer, Inbox, Outcome, Tls, Topology
from bridge.contract import RESPONSE_QUEUE, Publication
from bridge.errors import LoginRefused, Unavailable
from sandbox.broker import Broker as Node
from sandbox.broker import TlsFiles
from sandbox.ports import free_ports
from sandbox.runs import Run
from tests.authority import Authority
from tests.integration.services import SECONDS, eventual, outcomes_of, publisher_of, running

USER = "worker"
YESTERDAY = datetime.now(UTC) - timedelta(days=1)


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"), "ours")


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"), "theirs")


@pytest.fixture(scope="module")
def node(ca: Authority) -> Iterator[Node]:
    certificate, key = ca.give("localhost", "127.0.0.1")
    with Run() as run, Node(run, tls=TlsFiles(ca.file, certificate, key)) as node:
        node.ctl("add_user", USER, "unused")
        node.ctl("set_permissions", USER, ".*", ".*", ".*")
        yield node


@pytest.fixture
def secured(node: Node, ca: Authority) -> Broker:
    """A broker that is reached over TLS, by user name and password."""
    certificate, key = ca.give(USER, common_name=USER)
    tls = Tls(ca.file, certificate, key)
    return Broker("localhost", node.tls_port, "/", node.username, lambda: node.password, tls=tls)


def trouble_with(broker: Broker, topology: Topology) -> str:
    """Return the line that an operator reads."""
    with pytest.raises(Unavailable) as caught:
        broker.declare(topology, name="tests")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_messages_large_and_small_go_and_come_over_tls(secured: Broker, topology: Topology) -> None:
    sizes = [1, 400_000, 16_384, 65_536, 7, 1_000_000] * 5
    batch = [Publication("", RESPONSE_QUEUE, b"x" * size, {}, {"delivery_mode": 2}) for size in sizes]
    inbox = Inbox(is_read=True, prefetch=100)
    consumer = Consumer(secured, topology, RESPONSE_QUEUE, inbox, name="answers")
    publisher = publisher_of(secured, topology, name="tasks")

    with running(publisher), running(consumer):
        assert publisher.wait_until_ready(SECONDS)
        outcomes = outcomes_of(publisher, batch)
        arrived = [inbox.take() for _ in sizes]
        for delivery in arrived:
            assert delivery is not None
            consumer.ack(delivery)
        assert eventual(lambda: inbox.is_empty)

    assert outcomes == [Outcome.CONFIRMED] * len(sizes)
    assert [len(delivery.body) for delivery in arrived if delivery] == sizes


def test_a_certificate_is_a_login(secured: Broker, topology: Topology) -> None:
    by_certificate = replace(secured, username=USER, read_password=str, has_certificate_login=True)

    by_certificate.declare(topology, name="tests")


def test_a_certificate_of_nobody_is_refused_by_name(secured: Broker, topology: Topology, ca: Authority) -> None:
    tls = Tls(ca.file, *ca.give("nobody", common_name="nobody"))

    with pytest.raises(LoginRefused) as caught:
        replace(secured, tls=tls, has_certificate_login=True).declare(topology, name="tests")

    assert "RABBITMQ_CLIENT_CERT_FILE" in str(caught.value)


def test_what_goes_wrong_is_one_line_that_names_the_setting(
    secured: Broker, topology: Topology, node: Node, ca: Authority, stranger: Authority, tmp_path: Path
) -> None:
    certificate, key = ca.give("again", common_name=USER)
    foreign = stranger.give("foreign", common_name=USER)
    broken = tmp_path / "broken.pem"
    broken.write_text("no certificate")
    cases = {
        "RABBITMQ_CA_FILE": replace(secured, tls=Tls(stranger.file, certificate, key)),
        "RABBITMQ_TLS_SERVER_NAME": replace(secured, tls=Tls(ca.file, certificate, key, "broker.example")),
        "set RABBITMQ_CLIENT_CERT_FILE": replace(secured, tls=Tls(ca.file)),
        "RABBITMQ_CLIENT_CERT_FILE": replace(secured, tls=Tls(ca.file, *foreign)),
        "speaks no TLS there: set RABBITMQ_TLS=false": replace(secured, port=node.port),
        "speaks TLS there: set RABBITMQ_TLS=true": replace(secured, tls=None),
        "RABBITMQ_CA_FILE " + str(broken): replace(secured, tls=Tls(broken, certificate, key)),
        "RABBITMQ_CLIENT_CERT_FILE, RABBITMQ_CLIENT_KEY_FILE": replace(secured, tls=Tls(ca.file, broken)),
    }

    said = {words: trouble_with(broker, topology) for words, broker in cases.items()}

    assert {words: line for words, line in said.items() if words not in line} == {}


def test_an_expired_certificate_is_named(ca: Authority, secured: Broker, topology: Topology) -> None:
    expired = ca.give("late", common_name=USER, not_after=YESTERDAY)

    line = trouble_with(replace(secured, tls=Tls(ca.file, *expired)), topology)

    assert "RABBITMQ_CLIENT_CERT_FILE" in line
    assert "expired" in line


def test_a_renewed_certificate_is_used_at_the_next_connection(
    secured: Broker, topology: Topology, ca: Authority, tmp_path: Path
) -> None:
    certificate, key = (tmp_path / name for name in ("c.pem", "k.pem"))
    broker = replace(secured, tls=Tls(ca.file, certificate, key))
    for given, wanted in ((ca.give("a", not_after=YESTERDAY), False), (ca.give("b"), True)):
        shutil.copy(given[0], certificate)
        shutil.copy(given[1], key)
        if wanted:
            broker.declare(topology, name="tests")
        else:
            trouble_with(broker, topology)


def test_the_next_host_is_tried_at_once_and_the_good_one_first_after_that(node: Node, topology: Topology) -> None:
    (dead,) = free_ports(1)
    hosts = ((node.host, node.port),)
    broker = Broker("127.0.0.1", dead, "/", node.username, lambda: node.password, more_hosts=hosts)
    began = time.monotonic()

    broker.declare(topology, name="tests")

    assert time.monotonic() - began < 3
    assert broker.place == f"{node.host}:{node.port}"
    publisher = publisher_of(broker, topology, name="tasks")
    with running(publisher):
        assert publisher.wait_until_ready(SECONDS)


def test_where_no_host_answers_all_are_named(topology: Topology) -> None:
    ports = free_ports(2)
    hosts = (("localhost", ports[1]),)
    broker = Broker("127.0.0.1", ports[0], "/", "u", lambda: "p", more_hosts=hosts)

    assert f"127.0.0.1:{ports[0]}, localhost:{ports[1]}" in trouble_with(broker, topology)
    assert "cannot be looked up" in trouble_with(Broker("nowhere.invalid", 5672, "/", "u", lambda: "p"), topology)


def test_certificates_that_end_soon_are_warned_of(
    secured: Broker, topology: Topology, ca: Authority, logged: list[str]
) -> None:
    certificates.forget()
    soon = datetime.now(UTC) + timedelta(days=13)
    broker = replace(secured, tls=Tls(ca.file, *ca.give("soon", not_after=soon)))
    publisher = publisher_of(broker, topology, name="tasks")

    with running(publisher):
        assert publisher.wait_until_ready(SECONDS)

    (line,) = [line for line in logged if "ends at" in line]
    assert line.startswith("WARNING the certificate in RABBITMQ_CLIENT_CERT_FILE ends at")
    ends = certificates.known()
    assert abs(ends["broker_client"] - soon) < timedelta(seconds=2)
    assert ends["broker"] > soon
