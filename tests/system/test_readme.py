"""The documents for a newcomer: their examples of a system really are systems, and both READMEs show the same."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from sandbox.engine_api import EngineApi
from sandbox.sandbox import Sandbox
from tests.sandbox.processes import REPOSITORY
from tests.system.engine import stored_variables, wait_for_state

URL = "amqp://user:password@localhost/%2F"


def example_of(document: str) -> str:
    text = (REPOSITORY / document).read_text(encoding="utf-8")
    [example] = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    return str(example)


@pytest.mark.usefixtures("worker", "samples")
@pytest.mark.parametrize(
    ("document", "variables"),
    [
        ("README.md", {"result": "success"}),
        ("docs/partners.md", {"bitrix_id": 42, "title": "CALL BACK"}),
    ],
)
def test_the_example_is_a_whole_system(
    sandbox: Sandbox,
    vhost: str,
    engine_api: EngineApi,
    tmp_path: Path,
    document: str,
    variables: dict[str, object],
) -> None:
    broker = sandbox.broker
    script = tmp_path / "system.py"
    url = f"amqp://{broker.username}:{broker.password}@{broker.host}:{broker.port}/{vhost}"
    script.write_text(example_of(document).replace(URL, url), encoding="utf-8")

    system = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.DEVNULL)
    try:
        instance = engine_api.start_instance("bitrix24_task", {"title": "Call back"})
        wait_for_state(engine_api, instance)
    finally:
        system.terminate()
        system.wait()

    stored = stored_variables(engine_api, instance)
    assert {name: stored[name]["value"] for name in variables} == variables


def commands_of(readme: str) -> set[str]:
    return set(re.findall(r"`((?:\./run|python) [^`]+)`", (REPOSITORY / readme).read_text(encoding="utf-8")))


def test_both_readmes_show_the_same_example_and_the_same_commands() -> None:
    assert example_of("README.md") == example_of("README.ru.md")
    assert commands_of("README.md") == commands_of("README.ru.md")
