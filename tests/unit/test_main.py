"""The daemon's own process, before anything of it runs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SIGNALLED_WHILE_BUILT = """
import os, signal, main
main.configure_logs = lambda *_, **__: os.kill(os.getpid(), signal.SIGTERM)
raise SystemExit(main.main())
"""


@pytest.mark.usefixtures("clean_environment")
def test_a_stop_while_the_daemon_is_being_built_is_in_good_order(tmp_path: Path) -> None:
    settings = {
        "CAMUNDA_BASE_URL": "http://127.0.0.1:9/engine-rest",
        "RABBITMQ_HOST": "127.0.0.1",
        "RABBITMQ_PORT": "9",
        "RABBITMQ_USERNAME": "u",
        "RABBITMQ_PASSWORD": "p",
        "STATUS_PORT": "0",
        "PYTHONPATH": str(ROOT),
    }

    ended = subprocess.run(
        [sys.executable, "-c", SIGNALLED_WHILE_BUILT],
        cwd=tmp_path,
        env=os.environ | settings,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert ended.returncode == 0, ended.stderr
    assert "stopping: SIGTERM" in ended.stderr
