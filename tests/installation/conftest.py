"""What the tests of an installation share."""

from collections.abc import Iterator

import pytest

from sandbox.sandbox import Sandbox
from tests.installation.debian import Debian
from tests.installation.machine import Machine


@pytest.fixture(scope="module")
def machine(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    debian = Debian(tmp_path_factory.mktemp("fresh") / "debian")
    yield Machine(debian, sandbox)
    debian.run("systemctl stop camunda-worker")
