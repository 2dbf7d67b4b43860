"""The engine's history tells which failure was reported after a task was fetched."""

from datetime import timedelta
from pathlib import Path

from bridge.engine import CamundaClient, Http, Login
from bridge.routing import Subscription
from sandbox.engine_api import EngineApi
from sandbox.sandbox import Sandbox
from tests.system.conftest import Deploy
from tests.system.engine import process_file

LEASE_MS = 60_000
LEASE = timedelta(milliseconds=LEASE_MS)


def test_only_a_failure_of_this_attempt_comes_after_its_fetch(
    sandbox: Sandbox, engine_api: EngineApi, deploy: Deploy, tmp_path: Path
) -> None:
    deploy(process_file(tmp_path, "logged", "logged_topic"))
    engine_api.start_instance("logged")
    client = CamundaClient(Http(sandbox.engine.url, Login(None)), "logged-worker")
    topic = [Subscription("logged_topic", LEASE_MS)]
    (first,) = client.fetch_and_lock(topic, max_tasks=1, wait_ms=5_000)
    before = client.failed_after(first.id, first.lock_expires_at - LEASE)

    client.failure(first.id, client.worker_id, "no", retries=3, retry_timeout_ms=0)
    after = client.failed_after(first.id, first.lock_expires_at - LEASE)
    (second,) = client.fetch_and_lock(topic, max_tasks=1, wait_ms=5_000)

    assert (before, after) == (False, True)
    assert not client.failed_after(second.id, second.lock_expires_at - LEASE)
