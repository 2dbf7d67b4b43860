"""The bench's closed circuit: stand-in, broker, worker and echo carry every task there and back once."""

import json
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import ceiling
from bench.circuit import QUEUES, TOPICS, Circuit, Servers
from bench.drain import Drain
from bench.growth import drain_case
from bench.growth_cases import Case
from bridge.engine import CamundaClient, Http, Login
from bridge.routing import Subscription
from sandbox.runs import Run


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    with Run() as run:
        yield Servers(run).start()


def send(servers: Servers, body: object) -> None:
    """Puts a message into a queue that the echo reads."""
    message = {
        "properties": {},
        "routing_key": QUEUES[0],
        "payload": json.dumps(body),
        "payload_encoding": "string",
    }
    servers.broker.api.request("POST", "/exchanges/%2F/amq.default/publish", message)


def test_the_ceiling_is_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "ceiling.json"
    options = Namespace(tasks=300, rounds=1, max_tasks=100, json=file)

    exit_code = ceiling.measure(options)

    (result,) = json.loads(file.read_text())["rounds"]
    assert exit_code == 0, capsys.readouterr().out
    assert (result["lost"], result["doubled"], result["calls"]["complete"]) == (0, 0, 300)
    assert 0 < result["worker_us"] < result["worker_with_start_us"]


def test_what_is_held_and_what_leads_in_is_not_counted(servers: Servers) -> None:
    result = drain_case(servers, Case(tasks=200, at_once=20, workers=2, held=30))

    assert (result.lost, result.doubled) == (0, 0)
    assert result.calls["complete"] == 200
    assert "default.queue" not in servers.broker.api.queues("/")


def test_a_task_that_is_never_done_is_lost(servers: Servers) -> None:
    batch = servers.stand_in.fill(10, TOPICS)
    stranger = CamundaClient(Http(servers.stand_in.url, Login(None)), "a stranger")
    stranger.fetch_and_lock([Subscription(TOPICS[0], 60_000)], max_tasks=1, wait_ms=0)

    with Circuit(servers, {}, stall_seconds=2) as circuit:
        circuit.wait_ready()
        result = Drain(circuit).result(batch, 10)

    assert (result.lost, result.doubled) == (1, 0)


def test_a_message_that_comes_again_is_doubled(servers: Servers) -> None:
    with Circuit(servers, {}) as circuit:
        circuit.wait_ready()
        for _ in range(2):
            send(servers, {"task_id": "1", "worker_id": "universal-worker"})

        assert circuit.came_again() == 1
