"""The worker installed, upgraded, put back and removed on a fresh Debian by one command each: ./run installation.

Engine and broker are real. systemd checks the unit; a stand-in starts it, since in a folder no systemd runs.
"""

from urllib.request import urlopen

import pytest

from sandbox.ports import free_ports
from tests.installation.debian import SOURCE
from tests.installation.machine import ENV_FILE, Machine

PROGRAM = "/opt/camunda-worker"
VERSION_FILE = f"{SOURCE}/bridge/metrics.py"


@pytest.fixture
def installed(machine: Machine) -> Machine:
    """A machine on which the worker is installed and runs."""
    if not machine.is_active():
        code, said = machine.install()
        assert code == 0, said
    return machine


def test_one_command_installs_it_after_a_diagnosis_and_it_runs(machine: Machine) -> None:
    code, said = machine.install()

    assert code == 0, said
    assert "the unit is accepted by systemd" in said
    assert "a diagnosis before the start" in said
    assert "runs, and work flows" in said
    assert machine.is_active()
    modes = machine.debian.run("stat -c %a /etc/camunda-worker/env /etc/camunda-worker/rabbitmq_password").stdout
    assert modes.split() == ["600", "600"]
    assert machine.settings["RABBITMQ_PASSWORD"] not in said + machine.debian.file(ENV_FILE).read_text()


def test_a_python_on_the_path_is_found_wherever_the_checkout_lies(machine: Machine) -> None:
    check_python = "$(sed -n '/^check_python/,/^}/p' packaging/install.sh); check_python"

    found = machine.debian.run(f'bash -c "{check_python}"', PYTHON="python3")

    assert found.returncode == 0, found.stderr


def test_without_a_terminal_it_says_what_it_must_be_told(machine: Machine) -> None:
    machine.debian.run("./run uninstall; mv /etc/camunda-worker /etc/before")

    code, said = machine.timed("./run install")

    machine.debian.run("rm -rf /etc/camunda-worker; mv /etc/before /etc/camunda-worker")
    assert code == 1
    assert said.endswith("please set CAMUNDA_BASE_URL RABBITMQ_USERNAME RABBITMQ_PASSWORD\n")
    assert not machine.debian.file(PROGRAM).exists()


def test_an_engine_that_is_not_reachable_is_found_before_the_start(machine: Machine) -> None:
    machine.debian.run("./run uninstall; mv /etc/camunda-worker /etc/before")
    (unused,) = free_ports(1)
    wrong = machine.settings | {"CAMUNDA_BASE_URL": f"http://127.0.0.1:{unused}/engine-rest"}

    code, said = machine.timed("./run install", **wrong)

    machine.debian.run("rm -rf /etc/camunda-worker; mv /etc/before /etc/camunda-worker")
    assert code == 1
    assert f"http://127.0.0.1:{unused}" in said
    assert "not started: mend what the diagnosis has found" in said
    assert not machine.is_active()


def test_the_tools_run_from_anywhere_with_the_services_settings(installed: Machine) -> None:
    queues = installed.debian.run("cd / && camunda-worker-tool check_queues --json")
    refused = installed.debian.run("camunda-worker-tool check_queues", user="nobody")
    unknown = installed.debian.run("camunda-worker-tool no_such_tool")

    assert '"queue": "camunda.responses.queue"' in queues.stdout, queues.stderr
    assert "put sudo before it" in refused.stderr
    assert unknown.returncode == 2
    assert "worker_diagnostics" in unknown.stdout


def test_page_tools_and_docs_name_commands_that_work_there(installed: Machine) -> None:
    texts = installed.debian.run(
        f"grep -rhoE 'python tools/[a-z_]+|sudo camunda-worker-tool [a-z_]+' {PROGRAM}"
    ).stdout
    help_text = installed.debian.run("camunda-worker-tool dead_letters --help").stdout

    named = set(texts.splitlines())
    assert len(named) > 5
    assert all(name.startswith("sudo camunda-worker-tool ") for name in named)
    assert "sudo camunda-worker-tool dead_letters list" in help_text
    for name in named:
        assert installed.debian.run(f"{name.removeprefix('sudo ')} --help").returncode == 0, name
    with urlopen("http://127.0.0.1:8090/") as page:
        assert "python tools/" not in page.read().decode()


def test_run_again_it_upgrades_keeps_settings_and_what_was_added_for_traces_and_names_new_settings(
    installed: Machine,
) -> None:
    added = installed.debian.run(
        f"cd {PROGRAM} && .venv/bin/python -m pip install --require-hashes -r requirements-tracing.lock"
    )
    assert added.returncode == 0, added.stderr
    installed.edit(ENV_FILE, r"^#CAMUNDA_MAX_IN_FLIGHT=.*\n", "")
    before = installed.debian.file(ENV_FILE).read_text()
    installed.edit(VERSION_FILE, r'^VERSION = ".*"', 'VERSION = "98.0.0"')

    code, said = installed.install()

    assert code == 0, said
    assert installed.version(PROGRAM).endswith("98.0.0")
    assert installed.is_active()
    assert installed.debian.file(ENV_FILE).read_text() == before
    assert installed.debian.run(f"{PROGRAM}/.venv/bin/python -c 'import opentelemetry.sdk'").returncode == 0
    assert "new settings, each explained in /opt/camunda-worker/config.env.example: CAMUNDA_MAX_IN_FLIGHT" in said


def test_a_version_that_does_not_get_ready_is_taken_back(installed: Machine) -> None:
    version = installed.version(PROGRAM)
    installed.edit(VERSION_FILE, r'^VERSION = ".*"', 'VERSION = "99.0.0"')
    installed.edit(
        f"{SOURCE}/camunda_worker.py",
        r"^def worker_services\(shared: Shared\).*$",
        r"\g<0>\n    raise KeyError(shared)",
    )

    code, said = installed.install()

    assert code == 1, said
    assert "99.0.0 was not ready within 60 s; the version before runs again" in said
    assert installed.version(PROGRAM) == version
    assert installed.is_active()


def test_it_leaves_nothing_but_the_settings(installed: Machine) -> None:
    code, said = installed.timed("./run uninstall")

    left = installed.debian.run(
        "find / -xdev -path /root -prune -o -path /proc -prune -o -name '*camunda*worker*' -print"
    ).stdout
    assert code == 0, said
    assert not installed.is_active()
    assert left.split() == ["/etc/camunda-worker"]
