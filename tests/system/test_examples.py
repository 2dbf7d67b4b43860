"""The examples as their readers start them, against the real engine and broker and stand-ins of what they call."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pika.adapters.blocking_connection import BlockingChannel
from pika.spec import BasicProperties

from sandbox.engine_api import EngineApi
from sandbox.sandbox import Sandbox
from tests.sandbox.processes import eventually
from tests.system.conftest import Deploy, StartExample, StartWorker
from tests.system.engine import process_file, wait_for_state
from tests.system.example_process import ExampleProcess
from tests.system.mail_server import BUSY, UNKNOWN, MailServer, mail_server
from tests.system.partner import ANSWERS, ANSWERS_EXCHANGE, Watcher, take_all

TASK_COUNT = 100
SECONDS = 240.0
# What a killed worker had in hand comes again after that lock, and what failed after that pause.
QUICK_LOCK = {"CAMUNDA_LOCK_DURATION": "15000", "CAMUNDA_RETRY_TIMEOUT": "1000"}


@pytest.fixture
def mails() -> Iterator[MailServer]:
    with mail_server() as server:
        yield server


@pytest.fixture
def start_email(start_example: StartExample, mails: MailServer) -> Callable[[], ExampleProcess]:
    settings = {"SMTP_HOST": "127.0.0.1", "SMTP_PORT": str(mails.port)}
    return lambda: start_example("email", settings)


def start_mail(engine_api: EngineApi, recipient: str) -> str:
    variables = {"recipient": recipient, "subject": "Привет", "text": "Hello"}
    return engine_api.start_instance("email", variables)


def ended(engine_api: EngineApi, key: str, count: int) -> bool:
    return eventually(lambda: engine_api.finished_count(key) >= count, seconds=SECONDS)


@pytest.mark.usefixtures("worker", "samples")
def test_a_mail_is_sent_as_the_variables_say(
    engine_api: EngineApi, start_email: Callable[[], ExampleProcess], mails: MailServer
) -> None:
    example = start_email()

    instance = start_mail(engine_api, "anna@example.com")
    wait_for_state(engine_api, instance)

    [mail] = mails.mails
    assert (mail["To"], mail["Subject"], mail.get_content().strip()) == ("anna@example.com", "Привет", "Hello")
    assert engine_api.variables(instance)["email_id"] == mail["Message-ID"]
    assert example.stop() == 0


@pytest.mark.usefixtures("samples")
def test_a_hundred_mails_are_sent_once_each_though_the_worker_is_killed_half_way(
    engine_api: EngineApi,
    start_worker: StartWorker,
    start_email: Callable[[], ExampleProcess],
    mails: MailServer,
) -> None:
    worker = start_worker(**QUICK_LOCK).wait_connected()
    start_email()
    for number in range(TASK_COUNT):
        start_mail(engine_api, f"{number}@example.com")
    assert eventually(lambda: len(mails.mails) >= TASK_COUNT // 2, seconds=SECONDS)

    worker.kill()
    start_worker(**QUICK_LOCK)

    assert ended(engine_api, "email", TASK_COUNT), engine_api.external_tasks()
    assert sorted(mail["To"] for mail in mails.mails) == sorted(f"{n}@example.com" for n in range(TASK_COUNT))
    assert len({mail["Message-ID"] for mail in mails.mails}) == TASK_COUNT
    assert engine_api.incidents() == []


@pytest.mark.usefixtures("worker", "samples")
def test_a_mail_for_nobody_is_an_incident_and_a_busy_server_is_tried_again(
    engine_api: EngineApi, start_email: Callable[[], ExampleProcess], mails: MailServer
) -> None:
    start_email()

    start_mail(engine_api, UNKNOWN)
    start_mail(engine_api, BUSY)

    def failures() -> dict[str, int]:
        return {
            task["errorMessage"]: task["retries"] for task in engine_api.external_tasks() if task["errorMessage"]
        }

    assert eventually(lambda: len(failures()) == 2, seconds=SECONDS)
    retries = {("550" in message, "450" in message): left for message, left in failures().items()}
    assert retries == {(True, False): 0, (False, True): 3}
    assert mails.mails == []


@pytest.mark.usefixtures("worker", "samples")
def test_a_topic_that_an_example_does_not_know_is_an_incident(
    engine_api: EngineApi, start_email: Callable[[], ExampleProcess], deploy: Deploy, tmp_path: Path
) -> None:
    deploy(process_file(tmp_path, "report", "generate_report"))
    start_email()

    engine_api.start_instance("report", {"recipient": "anna@example.com"})

    assert eventually(lambda: bool(engine_api.incidents("report")), seconds=SECONDS)
    [incident] = engine_api.incidents("report")
    assert incident["incidentMessage"] == "no work is known here for the topic generate_report"


@pytest.mark.usefixtures("worker", "samples")
def test_a_mail_to_many_asks_for_more_time_before_it_is_sent(
    engine_api: EngineApi,
    start_email: Callable[[], ExampleProcess],
    mails: MailServer,
    channel: BlockingChannel,
) -> None:
    channel.queue_declare("copies")
    channel.queue_bind("copies", ANSWERS_EXCHANGE, ANSWERS)
    start_email()

    wait_for_state(engine_api, start_mail(engine_api, ", ".join(f"{n}@example.com" for n in range(60))))

    answers = [json.loads(body) for _, body in take_all(channel, "copies", 2)]
    assert [answer["response_type"] for answer in answers] == ["extend_lock", "complete"]
    assert [answer["attempt"] for answer in answers] == ["first", "first"]
    assert len(mails.mails) == 1


@pytest.mark.usefixtures("samples")
def test_a_repeated_message_is_answered_again_after_a_restart_and_not_done_again(
    engine_api: EngineApi,
    start_worker: StartWorker,
    start_email: Callable[[], ExampleProcess],
    mails: MailServer,
    channel: BlockingChannel,
) -> None:
    watcher = Watcher(channel)
    start_worker().wait_connected()
    first = start_email()
    wait_for_state(engine_api, start_mail(engine_api, "anna@example.com"))
    first.stop()
    _, properties, body = channel.basic_get(watcher.QUEUE, auto_ack=True)
    assert properties is not None
    assert body is not None

    again = BasicProperties(delivery_mode=2, message_id=properties.message_id)
    channel.basic_publish("", "python-services.queue", body, again)
    second = start_email()

    second.wait_for("complete again")
    assert len(mails.mails) == 1


@pytest.mark.usefixtures("samples")
def test_a_message_whose_lock_is_over_is_forgotten(
    engine_api: EngineApi,
    start_worker: StartWorker,
    start_email: Callable[[], ExampleProcess],
    mails: MailServer,
    channel: BlockingChannel,
) -> None:
    watcher = Watcher(channel)
    start_worker().wait_connected()
    start_mail(engine_api, "anna@example.com")
    assert eventually(lambda: bool(watcher.look()), seconds=SECONDS)
    _, _, body = channel.basic_get("python-services.queue", auto_ack=True)
    assert body is not None
    late = re.sub(rb'"lock_expires_at": ?"\d{4}', b'"lock_expires_at":"2020', body)
    assert late != body

    channel.basic_publish("", "python-services.queue", late)
    example = start_email()
    wait_for_state(engine_api, start_mail(engine_api, "boris@example.com"))

    assert [mail["To"] for mail in mails.mails] == ["boris@example.com"]
    assert example.output.count("complete") == 1


@pytest.mark.usefixtures("samples")
def test_an_example_that_starts_before_the_worker_and_loses_its_connection_goes_on(
    sandbox: Sandbox,
    vhost: str,
    engine_api: EngineApi,
    start_worker: StartWorker,
    start_email: Callable[[], ExampleProcess],
) -> None:
    example = start_email()
    example.wait_for("again in 1 s")
    start_worker().wait_connected()
    wait_for_state(engine_api, start_mail(engine_api, "anna@example.com"))

    sandbox.broker.ctl("close_all_connections", "--vhost", vhost, "the test wants it")

    wait_for_state(engine_api, start_mail(engine_api, "boris@example.com"))
    assert example.output.count("again in 1 s") >= 2
