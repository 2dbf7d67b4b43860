"""The sandbox itself: it starts, it can be used, and nothing of it stays."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pika
import pytest

from sandbox.broker_api import QueueState
from sandbox.engine_api import EngineApi
from sandbox.runs import clean_abandoned_runs
from sandbox.sandbox import PROCESS_FILES, Sandbox
from tests.sandbox.processes import eventually, processes_of, start_python

UNTIL_KILLED = """
import threading
from sandbox.broker import Broker
from sandbox.engine import Engine
from sandbox.runs import Run
run = Run()
Engine(run).launch()
Broker(run).launch()
print(run.folder, flush=True)
threading.Event().wait()
"""


@pytest.fixture
def deployed(engine_api: EngineApi) -> Iterator[EngineApi]:
    deployment = engine_api.deploy(PROCESS_FILES)
    yield engine_api
    engine_api.delete_deployment(deployment)


def connect(sandbox: Sandbox, vhost: str) -> pika.BlockingConnection:
    broker = sandbox.broker
    login = pika.PlainCredentials(broker.username, broker.password)
    return pika.BlockingConnection(pika.ConnectionParameters(broker.host, broker.port, vhost, login))


def test_the_sample_processes_deploy_and_start(deployed: EngineApi) -> None:
    keys = [path.stem for path in PROCESS_FILES]

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(deployed.start_instance, keys))

    assert [deployed.running_count(key) for key in keys] == [1] * len(keys)
    assert {task["topicName"] for task in deployed.external_tasks()} == {
        "bitrix_create_task",
        "op_create_project",
        "1c_sync_data",
        "send_email",
        "legacy_archive",
    }


def test_what_an_instance_went_through_is_seen_after_its_end(deployed: EngineApi) -> None:
    instance = deployed.start_instance("order_approval", {"amount": 7}, business_key="order-7")
    (task,) = deployed.external_tasks(processInstanceId=instance)
    deployed.request("POST", f"/external-task/{task['id']}/lock", json={"workerId": "t", "lockDuration": 9999})

    deployed.request(
        "POST",
        f"/external-task/{task['id']}/bpmnError",
        json={"workerId": "t", "errorCode": "CUSTOMER_BLOCKED", "variables": {"why": {"value": "debts"}}},
    )

    assert deployed.finished_count("order_approval") == 1
    assert deployed.end_events("order_approval") == {"refused": 1}
    assert deployed.variables(instance) == {"amount": 7, "why": "debts"}
    assert deployed.instance(instance)["businessKey"] == "order-7"


def test_a_vhost_can_be_used_and_its_queues_counted(sandbox: Sandbox, vhost: str) -> None:
    with connect(sandbox, vhost) as connection:
        channel = connection.channel()
        channel.queue_declare("q", durable=True)
        channel.confirm_delivery()
        channel.basic_publish("", "q", b"one")
        channel.basic_publish("", "q", b"two")

        channel.basic_get("q")

        assert sandbox.broker.api.queue(vhost, "q") == QueueState("q", ready=1, unacked=1)


def test_rabbitmqctl_reaches_the_node(sandbox: Sandbox) -> None:
    users = [line.split() for line in sandbox.broker.ctl("list_users", "--no-table-headers").splitlines()]

    assert ["sandbox", "[administrator]"] in users
    assert "guest" not in [name for name, *_ in users]


def test_a_killed_broker_comes_back_with_its_messages(sandbox: Sandbox, vhost: str) -> None:
    with connect(sandbox, vhost) as connection:
        channel = connection.channel()
        channel.queue_declare("q", durable=True)
        channel.confirm_delivery()
        channel.basic_publish("", "q", b"kept", pika.BasicProperties(delivery_mode=2))

    sandbox.broker.kill()
    sandbox.broker.start()

    assert sandbox.broker.api.queue(vhost, "q").ready == 1


def test_a_killed_owner_leaves_nothing() -> None:
    owner = start_python("-c", UNTIL_KILLED)
    assert owner.stdout is not None
    folder = owner.stdout.readline().strip()
    assert eventually(lambda: len(processes_of(folder)) >= 2)

    owner.kill()
    owner.communicate()

    assert eventually(lambda: processes_of(folder) == [])
    clean_abandoned_runs()
    assert not Path(folder).exists()


def test_up_keeps_a_sandbox_until_down(tmp_path: Path) -> None:
    own_state = {"SANDBOX_STATE_FOLDER": str(tmp_path)}  # one that the user keeps stays as it is
    up = start_python("-m", "sandbox", "up", environment=own_state)
    shown, _ = up.communicate()
    assert up.returncode == 0, shown
    state = json.loads((tmp_path / "state.json").read_text())
    settings = (tmp_path / "env").read_text()

    status, _ = (running := start_python("-m", "sandbox", "status", environment=own_state)).communicate()
    down, _ = (ending := start_python("-m", "sandbox", "down", environment=own_state)).communicate()

    assert f"export CAMUNDA_BASE_URL={state['urls']['engine']}\n" in settings
    assert (running.returncode, status.count("runs, pid")) == (0, 2)
    assert (ending.returncode, down) == (0, "sandbox: down\n")
    assert not any(Path(f"/proc/{state[name]['pid']}").exists() for name in ("engine", "broker"))
    assert list(tmp_path.glob("runs/*")) == []
