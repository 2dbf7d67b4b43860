"""No secret is anywhere but in its file and on its connection: not in a log, a page, a command line or a child."""

import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from sandbox.engine_api import EngineApi
from sandbox.sandbox import Sandbox
from tests.identity_provider import CLIENT_ID, SECRET, IdentityProvider
from tests.system.conftest import StartWorker
from tests.system.engine import wait_for_state
from tests.system.partner import completing, echo_system
from tests.system.worker_process import WorkerProcess

API_KEY, VALUE, WRONG_PASSWORD = "key-of-the-gateway", "value-of-a-variable", "password-that-is-wrong"


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[IdentityProvider]:
    provider = IdentityProvider(tmp_path, seconds=12)
    with provider.running():
        yield provider


def pages(port: int) -> str:
    session = requests.Session()
    session.trust_env = False
    paths = ("/", "/metrics", "/livez", "/readyz", "/nowhere")
    return "".join(session.get(f"http://127.0.0.1:{port}{path}", timeout=5).text for path in paths)


def children_of(pid: int) -> list[str]:
    return [
        child for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()
    ]


@pytest.mark.usefixtures("samples")
def test_no_secret_is_told_whether_work_flows_or_logins_fail(
    sandbox: Sandbox,
    vhost: str,
    start_worker: StartWorker,
    engine_api: EngineApi,
    provider: IdentityProvider,
    tmp_path: Path,
    unused_port: int,
) -> None:
    password, client_secret = tmp_path / "password", tmp_path / "client-secret"
    password.write_text(sandbox.broker.password)
    client_secret.write_text(SECRET)
    worker: WorkerProcess = start_worker(
        LOG_LEVEL="DEBUG",
        STATUS_PORT=str(unused_port),
        RABBITMQ_PASSWORD=None,
        RABBITMQ_PASSWORD_FILE=str(password),
        CAMUNDA_OAUTH_TOKEN_URL=provider.url,
        CAMUNDA_OAUTH_CLIENT_ID=CLIENT_ID,
        CAMUNDA_OAUTH_CLIENT_SECRET_FILE=str(client_secret),
        CAMUNDA_HEADERS=f"X-Api-Key: {API_KEY}",
    ).wait_connected()
    with echo_system(sandbox, vhost, ["bitrix24.queue"], completing):
        wait_for_state(engine_api, engine_api.start_instance("bitrix24_task", {"pin": VALUE}))

    told = pages(unused_port)
    client_secret.write_text(WRONG_PASSWORD)
    worker.wait_for("no token from CAMUNDA_OAUTH_TOKEN_URL")
    told += pages(unused_port)
    password.write_text(WRONG_PASSWORD)
    sandbox.broker.ctl("close_all_connections", "--vhost", vhost, "the logins change")
    worker.wait_for("refuses the login")
    told += pages(unused_port)
    command_line = Path(f"/proc/{worker.pid}/cmdline").read_text()
    children = children_of(worker.pid)
    worker.stop()

    logs = [file for file in worker.log_folder.iterdir() if file.is_file()]
    told += worker.output + command_line + "".join(file.read_text(encoding="utf-8") for file in logs)
    secrets = [sandbox.broker.password, SECRET, API_KEY, VALUE, WRONG_PASSWORD, *provider.tokens]
    assert (len(logs), len(secrets) > 5) == (2, True)
    assert [secret for secret in secrets if secret in told] == []
    assert children == []
    assert {stat.S_IMODE(file.stat().st_mode) & 0o007 for file in [*logs, worker.log_folder]} == {0}
