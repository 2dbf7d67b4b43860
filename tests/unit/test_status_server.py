"""The server of metrics and health: what it answers, and that it comes and goes in good order."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import requests

from bridge.observe import StatusServer
from bridge.observe.status.snapshot import Snapshot
from sandbox.ports import free_ports
from tests.sandbox.processes import eventually
from tests.unit.status_views import app_of, connection, queue, system, working


class Served:
    """A server that shows what a test lays out."""

    def __init__(self, port: int) -> None:
        self.snapshot = working()
        self.stuck: list[str] = []
        self.server = StatusServer("127.0.0.1", port, app_of(self._now, stuck=lambda: self.stuck))
        self.url = f"http://127.0.0.1:{port}"
        self.session = requests.Session()
        self.session.trust_env = False  # a proxy has no business on the loopback interface

    def _now(self) -> Snapshot:
        return self.snapshot

    def get(self, path: str, **headers: str) -> requests.Response:
        return self.session.get(self.url + path, headers=headers, timeout=5)

    def answers(self) -> bool:
        try:
            return self.get("/livez").status_code == 200
        except requests.ConnectionError:
            return False


@contextmanager
def serving(port: int) -> Iterator[Served]:
    served = Served(port)
    thread = threading.Thread(target=served.server.run)
    thread.start()
    try:
        assert eventually(served.answers)
        yield served
    finally:
        served.server.stop()
        thread.join()


@pytest.fixture
def port() -> int:
    return free_ports(1)[0]


@pytest.fixture
def served(port: int) -> Iterator[Served]:
    with serving(port) as served:
        yield served


def test_a_worker_whose_loops_turn_lives(served: Served) -> None:
    answer = served.get("/livez")

    assert (answer.status_code, answer.text) == (200, "ok\n")


def test_a_worker_with_a_stuck_loop_does_not_live(served: Served) -> None:
    served.stuck = ["leases has not turned: 7 s overdue"]

    answer = served.get("/livez")

    assert (answer.status_code, answer.text) == (503, "leases has not turned: 7 s overdue\n")


def test_a_worker_lives_though_neither_engine_nor_broker_is_there(served: Served) -> None:
    served.snapshot = working(connections=(connection("tasks", "refused"),), engine_trouble="refused")

    assert served.get("/livez").status_code == 200
    assert served.get("/readyz").status_code == 503


def test_the_page_speaks_the_readers_language_and_health_speaks_english(served: Served) -> None:
    served.snapshot = working(engine_trouble="refused")
    russian = {"Accept-Language": "ru-RU,ru;q=0.9,en;q=0.8"}

    for path in ("/", "/fragment"):
        answer = served.get(path, **russian)
        assert "Движок: refused" in answer.text
        assert (answer.headers["Content-Language"], answer.headers["Vary"]) == ("ru", "Accept-Language")
    for _ in range(8):  # whichever thread answers
        assert served.get("/readyz", **russian).text == "engine: refused\n"
    assert "Engine: refused" in served.get("/", **{"Accept-Language": "de"}).text


def test_a_reader_whose_language_is_no_text_reads_english(served: Served) -> None:
    answer = served.get("/", **{"Accept-Language": "\xff, ru-\xe9;q=nan"})

    assert (answer.status_code, answer.headers["Content-Language"]) == (200, "en")


def test_a_worker_whose_work_flows_is_ready(served: Served) -> None:
    answer = served.get("/readyz")

    assert (answer.status_code, answer.text) == (200, "ok\n")


def test_each_reason_not_to_be_ready_is_a_line(served: Served) -> None:
    served.snapshot = working(
        connections=(connection("tasks", "RabbitMQ is short of memory", blocked=True), connection("answers")),
        subscribed=False,
        engine_trouble="no engine at http://engine: refused",
    )

    answer = served.get("/readyz")

    assert answer.status_code == 503
    assert answer.text.splitlines() == [
        "connection for tasks: RabbitMQ is short of memory",
        "engine: no engine at http://engine: refused",
    ]


def test_a_consumer_that_is_not_subscribed_is_a_reason_of_its_own(served: Served) -> None:
    served.snapshot = working(subscribed=False)

    assert served.get("/readyz").text == "answers are not read: the consumer is not subscribed\n"


def test_one_reason_for_several_connections_is_told_once(served: Served) -> None:
    served.snapshot = working(connections=(connection("tasks", "refused"), connection("answers", "refused")))

    assert served.get("/readyz").text == "connection for tasks, answers: refused\n"


def test_a_consumer_without_a_connection_is_told_once(served: Served) -> None:
    served.snapshot = working(connections=(connection("answers", "gone"),), subscribed=False)

    assert served.get("/readyz").text == "connection for answers: gone\n"


def test_a_process_that_reads_no_answers_is_ready_without_a_consumer(served: Served) -> None:
    served.snapshot = working(connections=(connection("tasks"),), subscribed=None)

    assert served.get("/readyz").status_code == 200


def test_metrics_show_what_is_counted_and_how_things_stand(served: Served) -> None:
    served.snapshot = working(
        systems=(system("bitrix24", ready=7, consumers=0, in_flight=9, oldest_seconds=61.5, paused="it is full"),)
    )

    lines = served.get("/metrics").text.splitlines()

    assert 'camunda_worker_tasks_in_flight{system="bitrix24"} 9.0' in lines
    assert 'camunda_worker_oldest_task_age_seconds{system="bitrix24"} 61.5' in lines
    assert 'camunda_worker_system_paused{system="bitrix24"} 1.0' in lines
    assert 'camunda_worker_queue_ready_messages{queue="bitrix24.queue"} 7.0' in lines
    assert 'camunda_worker_queue_consumers{queue="bitrix24.queue"} 0.0' in lines
    assert 'camunda_worker_broker_connected{connection="answers"} 1.0' in lines
    assert "camunda_worker_engine_reachable 1.0" in lines
    assert any(line.startswith("camunda_worker_confirm_seconds_bucket") for line in lines)
    assert any(line.startswith("process_resident_memory_bytes") for line in lines)


@pytest.mark.parametrize("seen_seconds_ago", [None, 31.0])
def test_a_queue_that_was_not_seen_lately_has_no_figures(served: Served, seen_seconds_ago: float | None) -> None:
    served.snapshot = working(answers=queue("camunda.responses.queue", seen_seconds_ago=seen_seconds_ago))

    text = served.get("/metrics").text

    assert 'queue_ready_messages{queue="camunda.responses.queue"}' not in text
    assert 'queue_ready_messages{queue="1c.queue"}' in text


def test_a_process_that_takes_no_tasks_shows_no_tasks(served: Served) -> None:
    served.snapshot = working(fetches=False)

    assert "camunda_worker_tasks_in_flight{" not in served.get("/metrics").text


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_it_only_shows(served: Served, method: str) -> None:
    assert served.session.request(method, f"{served.url}/readyz", timeout=5).status_code == 405


def test_after_its_end_another_takes_its_place_though_a_visitor_had_stayed(port: int) -> None:
    with serving(port) as first:
        first.get("/livez")  # its session keeps the connection

    with serving(port) as second:
        assert second.get("/readyz").status_code == 200


def test_a_port_that_is_taken_is_a_warning(port: int, logged: list[str]) -> None:
    with socket.create_server(("127.0.0.1", port)):
        served = Served(port)
        served.server.run()
        served.server.stop()

    [warning] = [line for line in logged if line.startswith("WARNING")]
    assert f"STATUS_PORT {port}" in warning
    assert "in use" in warning


def test_one_that_is_stopped_before_it_began_does_not_begin(port: int, logged: list[str]) -> None:
    served = Served(port)
    served.server.stop()

    served.server.run()

    assert not served.answers()
    assert logged == []


def test_an_address_that_is_none_is_a_warning(port: int, logged: list[str]) -> None:
    StatusServer("192.0.2.1", port, app_of(working)).run()

    assert any("STATUS_HOST 192.0.2.1" in line for line in logged)
