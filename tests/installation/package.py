"""The Debian package: built by one command on a fresh Debian, installed, upgraded, removed and purged.

Engine and broker are real. systemd checks the unit; a stand-in starts it, since in a folder no systemd runs.
"""

import subprocess
from pathlib import Path

import pytest

from tests.installation.debian import SOURCE
from tests.installation.machine import ENV_FILE, Machine
from tests.sandbox.processes import eventually

PROGRAM = "/usr/lib/camunda-worker"
FIND_OURS = (
    "find / -xdev -path /root -prune -o -path /proc -prune -o -path /var/lib/dpkg -prune -o -path /run -prune "
    "-o -name '*camunda*worker*' -print -prune"
)
SECONDS = 60


@pytest.fixture(scope="module")
def package(machine: Machine) -> str:
    """Where the package lies in the fresh Debian."""
    code, said = machine.timed("./run deb")
    assert code == 0, said
    (file,) = machine.debian.file(f"{SOURCE}/build").glob("*.deb")
    print(f"{file.name}: {file.stat().st_size / 1e6:.1f} MB")
    return f"{SOURCE}/build/{file.name}"


@pytest.fixture
def installed(machine: Machine, package: str) -> Machine:
    """A machine on which the package is installed and its service runs."""
    if not machine.is_active():
        code, said = machine.timed(f"apt-get install -y {package}")
        assert code == 0, said
        code, said = machine.timed("camunda-worker-setup", **machine.settings)
        assert code == 0, said
    return machine


def newer(machine: Machine, package: str) -> str:
    """Pack the same again as version 98.0.0, which knows one setting more."""
    file = "/root/newer.deb"
    packed = machine.debian.run(
        f"rm -rf /root/newer && dpkg-deb -R {package} /root/newer && cd /root/newer && "
        "sed -i 's/^Version: .*/Version: 98.0.0/' DEBIAN/control && "
        f"""sed -i 's/^VERSION = ".*"/VERSION = "98.0.0"/' .{PROGRAM}/bridge/metrics.py && """
        f"echo '#CAMUNDA_NEW_SETTING=1' >>.{PROGRAM}/config.env.example && dpkg-deb -b . {file}"
    )
    assert packed.returncode == 0, packed.stderr
    return file


def test_lintian_finds_no_error_in_it(machine: Machine, package: str) -> None:
    done = subprocess.run(["lintian", str(machine.debian.file(package))], capture_output=True, text=True)

    print(done.stdout)
    assert done.returncode == 0, done.stdout
    assert not [line for line in done.stdout.splitlines() if line.startswith("E:")]


def test_it_waits_for_its_settings_and_runs_after_one_command(machine: Machine, package: str) -> None:
    code, said = machine.timed(f"apt-get install -y {package}")
    assert code == 0, said
    assert "sudo camunda-worker-setup" in said
    assert not machine.is_active()

    code, said = machine.timed("camunda-worker-setup", **machine.settings)

    assert code == 0, said
    assert "the unit is accepted by systemd" in said
    assert "a diagnosis before the start" in said
    assert "runs, and work flows" in said
    assert machine.is_active()
    modes = machine.debian.run("stat -c '%a %U' /etc/camunda-worker/env /etc/camunda-worker/rabbitmq_password")
    assert modes.stdout.split() == ["600", "root", "600", "root"]
    assert machine.settings["RABBITMQ_PASSWORD"] not in said + machine.debian.file(ENV_FILE).read_text()


def test_the_tools_run_from_anywhere_with_the_services_settings(installed: Machine) -> None:
    queues = installed.debian.run("cd / && camunda-worker-tool check_queues --json")
    help_text = installed.debian.run("camunda-worker-tool dead_letters --help").stdout

    assert '"queue": "camunda.responses.queue"' in queues.stdout, queues.stderr
    assert "sudo camunda-worker-tool dead_letters list" in help_text


def test_a_newer_package_restarts_it_keeps_the_settings_and_names_new_ones(
    installed: Machine, package: str
) -> None:
    before = installed.debian.file(ENV_FILE).read_text()

    code, said = installed.timed(f"apt-get install -y {newer(installed, package)}")

    assert code == 0, said
    assert eventually(installed.is_active, seconds=SECONDS)
    assert installed.version(PROGRAM).endswith("98.0.0")
    assert installed.debian.file(ENV_FILE).read_text() == before
    assert f"new settings, each explained in {PROGRAM}/config.env.example: CAMUNDA_NEW_SETTING" in said


def test_the_package_before_is_put_back_by_the_command_of_the_docs(installed: Machine, package: str) -> None:
    installed.timed(f"apt-get install -y {newer(installed, package)}")
    assert installed.version(PROGRAM).endswith("98.0.0")

    code, said = installed.timed(f"apt install -y --allow-downgrades {package}")

    assert code == 0, said
    assert not installed.version(PROGRAM).endswith("98.0.0")
    assert eventually(installed.is_active, seconds=SECONDS)


def test_removed_it_leaves_settings_and_logs_and_purged_nothing(installed: Machine) -> None:
    code, said = installed.timed("apt-get remove -y camunda-worker")
    assert code == 0, said
    assert not installed.is_active()
    assert set(installed.debian.run(FIND_OURS).stdout.split()) == {
        "/etc/camunda-worker",
        "/var/log/camunda-worker",
    }

    code, said = installed.timed("apt-get purge -y camunda-worker")

    assert code == 0, said
    assert installed.debian.run(FIND_OURS).stdout == ""


def test_it_does_not_install_beside_what_the_checkout_has_installed(machine: Machine, package: str) -> None:
    Path(machine.debian.file("/opt/camunda-worker")).mkdir()

    code, said = machine.timed(f"apt-get install -y {package}")

    machine.debian.run("rmdir /opt/camunda-worker")
    assert code != 0
    assert "please run sudo ./run uninstall there first" in said
    assert not machine.debian.file(PROGRAM).exists()
