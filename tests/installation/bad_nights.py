"""Five bad nights of an installed worker: when the page says it, and whether what the page names mends it.

The commands are taken out of the page as they stand and run as root on a fresh Debian; only `./run installation`
collects this. What no command can do (start a system, mend it, type the right password) the test does as a person
would. In the folder there is no sudo, so a stand-in of one line runs what follows it. Figures go to
docs/operations.md.
"""

import html
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import requests

from sandbox.engine_api import EngineApi
from sandbox.ports import free_ports
from sandbox.sandbox import Sandbox
from tests.installation.debian import Debian
from tests.installation.machine import ENV_FILE, Machine
from tests.sandbox.processes import REPOSITORY, eventually
from tests.system.engine import process_file, start_many, wait_for_state
from tests.system.partner import EchoSystem, Reply, TaskMessage, Work, complete, completing, echo_system

PASSWORD_FILE = "/etc/camunda-worker/rabbitmq_password"
VHOST = "/"
Name = tuple[str, str]
DOWN, RUBBISH, INCIDENT, FULL, PASSWORD = NIGHTS = (
    ("a system is down", "система не работает"),
    ("a system answers rubbish", "система отвечает бессмыслицей"),
    ("a process has an incident", "у процесса инцидент"),
    ("a queue is full", "очередь полна"),
    ("a wrong password after a restart", "неверный пароль после перезапуска"),
)
TASKS, HIGH_WATER = 3, 20
SECONDS = 180.0
# Each document, the head of its table, and which of a night's names it has.
DOCUMENTS = (
    ("operations.md", "| the night | on the page after, s | what the page says to run |", 0),
    ("operations.ru.md", "| ночь | на странице через, с | что предлагает страница |", 1),
)
BEGIN, END = "<!-- nights -->", "<!-- /nights -->"
Start = Callable[[str, Work], EchoSystem]


@dataclass(frozen=True)
class Shown:
    """A trouble as the page shows it: its text and its commands."""

    text: str
    commands: tuple[str, ...]


@dataclass
class Night:
    """An installed worker, what befalls it, and how it went."""

    machine: Machine
    engine_api: EngineApi
    page_url: str
    folder: Path
    begun: float = 0.0
    table: dict[Name, tuple[float, Sequence[str]]] = field(default_factory=dict)

    def begin(self, topic: str, count: int) -> list[str]:
        """Start instances of a process with one task of that topic."""
        key = f"night_{topic}"
        self.engine_api.deploy([process_file(self.folder, key, topic)])
        self.begun = time.monotonic()
        return start_many(self.engine_api, [key] * count)

    def told(self, night: Name, words: str) -> Shown:
        """Wait until the page shows a trouble with these words; note how long that took, and the commands."""
        assert eventually(lambda: self.find(words) is not None, seconds=SECONDS), self.shown()
        seconds = time.monotonic() - self.begun
        found = self.find(words)
        assert found
        print(f"\n{night[0]}: {seconds:.1f} s: {found.text}")
        first, commands = self.table.get(night, (seconds, ()))
        self.table[night] = (first, (*commands, *found.commands))
        return found

    def find(self, words: str) -> Shown | None:
        return next((one for one in self.shown() if words in one.text), None)

    def page(self) -> str:
        """Return the page, or nothing while none is served."""
        try:
            return requests.get(self.page_url, headers={"Accept-Language": "en"}, timeout=5).text
        except requests.RequestException:
            return ""

    def shown(self) -> list[Shown]:
        """Return the troubles on the page as an operator sees them."""
        section = self.page().partition('<section id="troubles"')[2].partition("</section>")[0]
        return [_shown(item) for item in re.findall(r"<li .*?</li>", section, re.DOTALL)]

    def run(self, command: str, *, answer: str = "") -> str:
        """Run a command of the page, as it stands, on a terminal where it may ask; return its words."""
        print(f"  # {command}")
        code, said = self.machine.typed(command, answer)
        assert code in (0, 1), said  # 1: there is a problem
        assert "Traceback" not in said
        return " ".join(said.split())

    def ends_calmly(self, instances: Sequence[str]) -> None:
        """Wait until every task is done, and nothing of this night is on the page."""
        for instance in instances:
            wait_for_state(self.engine_api, instance)
        assert eventually(lambda: "headline ok" in self.page(), seconds=SECONDS), self.shown()


def _shown(item: str) -> Shown:
    text = _plain(item.partition("<p>")[2].partition("</p>")[0])
    return Shown(text, tuple(_plain(code) for code in re.findall(r"<code>(.*?)</code>", item, re.DOTALL)))


def _plain(markup: str) -> str:
    return html.unescape(re.sub(r"<[^>]*>", "", markup)).strip()


@pytest.fixture(scope="module")
def night(sandbox: Sandbox, engine_api: EngineApi, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Night]:
    machine = Machine(Debian(tmp_path_factory.mktemp("nights") / "debian"), sandbox)
    sudo = machine.debian.file("/usr/local/sbin/sudo")
    sudo.write_text('#!/bin/sh\nexec "$@"\n')
    sudo.chmod(0o755)
    code, said = machine.install()
    assert code == 0, said
    (port,) = free_ports(1)
    machine.edit(ENV_FILE, r"^#?STATUS_PORT=.*", f"STATUS_PORT={port}")
    machine.edit(ENV_FILE, r"^#?RABBITMQ_QUEUE_HIGH_WATER=.*", f"RABBITMQ_QUEUE_HIGH_WATER={HIGH_WATER}")
    machine.debian.run("systemctl restart camunda-worker")
    assert eventually(machine.is_active, seconds=SECONDS)
    night = Night(machine, engine_api, f"http://127.0.0.1:{port}/", tmp_path_factory.mktemp("processes"))
    yield night
    machine.debian.run("systemctl stop camunda-worker")
    if len(night.table) == len(NIGHTS):
        write_table(night.table)


@pytest.fixture
def start(sandbox: Sandbox) -> Iterator[Start]:
    """Starts a system of a queue with its work."""
    with ExitStack() as systems:
        yield lambda queue, work: systems.enter_context(echo_system(sandbox, VHOST, [queue], work))


def test_a_system_that_is_down_is_named_until_it_runs_again(night: Night, start: Start) -> None:
    instances = night.begin("bitrix_night", TASKS)

    shown = night.told(DOWN, "Nobody listens to bitrix24.queue")

    said = night.run(*shown.commands)
    assert "bitrix24.queue" in said
    assert "nobody listens" in said
    start("bitrix24.queue", completing)
    night.ends_calmly(instances)


def test_tasks_of_a_system_that_answered_rubbish_get_new_retries(night: Night, start: Start) -> None:
    is_mended = threading.Event()

    def work(task: TaskMessage) -> Sequence[Reply]:
        return (complete(task) if is_mended.is_set() else {"task_id": task.id, "response_type": "rubbish"},)

    start("openproject.queue", work)
    instances = night.begin("op_night", TASKS)

    dead_letters = night.told(RUBBISH, "unusable answer")
    failed = night.told(RUBBISH, "Tasks of openproject failed for good")

    is_mended.set()
    assert "op_night" in night.run(failed.commands[0])
    for command in (*failed.commands[1:], *dead_letters.commands):
        night.run(command, answer="y\n")
    night.ends_calmly(instances)


def test_a_process_with_an_incident_gets_new_retries(night: Night, start: Start) -> None:
    is_mended = threading.Event()

    def work(task: TaskMessage) -> Sequence[Reply]:
        failure = {"task_id": task.id, "response_type": "failure", "error_message": "no disk", "retries": 0}
        return (complete(task) if is_mended.is_set() else failure,)

    start("python-services.queue", work)
    instances = night.begin("py_night", TASKS)

    shown = night.told(INCIDENT, "Tasks of python-services failed for good")

    is_mended.set()
    assert "no disk" in night.run(shown.commands[0])
    for command in shown.commands[1:]:
        night.run(command, answer="y\n")
    night.ends_calmly(instances)


def test_a_full_queue_is_named_until_its_system_reads_on(night: Night, start: Start) -> None:
    goes_on = threading.Event()

    def work(task: TaskMessage) -> Sequence[Reply]:
        goes_on.wait(SECONDS)
        return (complete(task),)

    start("1c.queue", work)
    instances = night.begin("1c_night", 3 * HIGH_WATER)

    shown = night.told(FULL, "RABBITMQ_QUEUE_HIGH_WATER is reached")

    assert "1c.queue" in night.run(*shown.commands)
    goes_on.set()
    night.ends_calmly(instances)


def test_a_wrong_password_is_named_with_its_file_and_typed_anew(night: Night, start: Start) -> None:
    start("default.queue", completing)
    file = night.machine.debian.file(PASSWORD_FILE)
    right = file.read_text()
    file.write_text("not the password\n")
    instances = night.begin("unclaimed_night", TASKS)
    night.machine.debian.run("systemctl restart --no-block camunda-worker")

    shown = night.told(PASSWORD, "refuses the login")

    named = re.search(r"check RABBITMQ_USERNAME '\S+' and (/\S+), then run: (.+)", shown.text)
    assert named, shown.text
    assert named[1] in night.run(shown.commands[0])
    night.machine.debian.file(named[1]).write_text(right)
    night.run(named[2])
    seconds, commands = night.table[PASSWORD]
    night.table[PASSWORD] = (seconds, (*commands, named[2]))
    night.ends_calmly(instances)


def write_table(table: dict[Name, tuple[float, Sequence[str]]]) -> None:
    """Write what was measured into the docs of both languages, with the tools' names as in a checkout."""
    for document, head, language in DOCUMENTS:
        rows = [
            f"| {name[language]} | {seconds:.0f} | {'<br>'.join(f'`{command}`' for command in commands)} |"
            for name, (seconds, commands) in table.items()
        ]
        lines = [BEGIN, head, "|---|---|---|", *rows, END]
        text = re.sub(r"sudo camunda-worker-tool (\w+)", r"python tools/\1.py", "\n".join(lines))
        file = REPOSITORY / "docs" / document
        page = file.read_text(encoding="utf-8")
        written = re.sub(f"{BEGIN}.*{END}", text.replace("\\", r"\\"), page, flags=re.DOTALL)
        file.write_text(written, encoding="utf-8")
