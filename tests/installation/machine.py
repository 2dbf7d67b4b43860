"""A fresh Debian beside an engine and a broker: what an operator does there."""

import re
import time

from sandbox.sandbox import Sandbox
from tests.installation.debian import Debian

ENV_FILE = "/etc/camunda-worker/env"


class Machine:
    """A fresh Debian beside an engine and a broker."""

    def __init__(self, debian: Debian, sandbox: Sandbox) -> None:
        self.debian = debian
        self.settings = {
            "CAMUNDA_BASE_URL": sandbox.engine.url,
            "RABBITMQ_HOST": sandbox.broker.host,
            "RABBITMQ_PORT": str(sandbox.broker.port),
            "RABBITMQ_USERNAME": sandbox.broker.username,
            "RABBITMQ_PASSWORD": sandbox.broker.password,
        }

    def install(self, option: str = "") -> tuple[int, str]:
        """Return the exit code of `./run install` and what it said; print how long it took."""
        return self.timed(f"./run install {option}", **self.settings)

    def timed(self, command: str, **settings: str) -> tuple[int, str]:
        begun = time.monotonic()
        done = self.debian.run(command, **settings)
        print(f"\n{command}: exit {done.returncode} in {time.monotonic() - begun:.0f} s")
        return done.returncode, done.stdout + done.stderr

    def typed(self, command: str, answer: str) -> tuple[int, str]:
        """Run a command on a terminal, with what a person answers; return its exit code and what stood there."""
        done = self.debian.run(
            'printf \'%s\' "$ANSWER" | script -qec "$TYPED" /dev/null', TYPED=command, ANSWER=answer
        )
        return done.returncode, done.stdout + done.stderr

    def is_active(self) -> bool:
        return self.debian.run("systemctl is-active --quiet camunda-worker").returncode == 0

    def version(self, program: str) -> str:
        return self.debian.run(f"{program}/.venv/bin/python {program}/main.py --version").stdout.strip()

    def edit(self, name: str, pattern: str, replacement: str) -> None:
        file = self.debian.file(name)
        changed, count = re.subn(pattern, replacement, file.read_text(), flags=re.MULTILINE)
        assert count, f"{name} holds no {pattern}"
        file.write_text(changed)
