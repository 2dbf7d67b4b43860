"""An example as its reader starts it: by the command of its README, with settings in the environment."""

import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Self

from tests.sandbox.processes import REPOSITORY, eventually

EXAMPLES = REPOSITORY / "examples"
STOP_SECONDS, BUILD_SECONDS = 30.0, 600.0


def commands_of(example: str) -> list[str]:
    """Returns the lines of the README's one code block; the last one starts the system."""
    readme = (EXAMPLES / example / "README.md").read_text(encoding="utf-8")
    [block] = re.findall(r"```bash\n(.*?)```", readme, flags=re.DOTALL)
    return str(block).strip().splitlines()


def build_example(example: str, checkout: Path) -> None:
    """Runs all lines but the last in a copy; what installs packages of the distribution was `./run` for."""
    steps = [step for step in commands_of(example)[:-1] if not step.startswith("sudo ")]
    subprocess.run(["sh", "-euc", "\n".join(steps)], cwd=checkout, check=True, timeout=BUILD_SECONDS)


class ExampleProcess:
    """One example at work, killed by the kernel when the tests end."""

    def __init__(
        self, example: str, folder: Path, settings: Mapping[str, str], *, checkout: Path = REPOSITORY
    ) -> None:
        """Starts it in a checkout; `folder` takes what it prints and what it remembers."""
        *before, last = commands_of(example)
        into = [step for step in before if step.startswith("cd ")]
        folder.mkdir(parents=True, exist_ok=True)
        self._output = folder / "output"
        python = Path(sys.executable).parent  # its packages are those that the README installs
        surroundings = {"PATH": f"{python}:/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": str(folder)}
        with self._output.open("ab") as output:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "sh", "-c", "\n".join([*into, f"exec {last}"])],
                cwd=checkout,
                env=surroundings | {"ANSWERS_FILE": str(folder / "answers.sqlite3")} | dict(settings),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(subprocess.TimeoutExpired):
            self.stop()
        self.kill()

    @property
    def output(self) -> str:
        """All that was printed so far."""
        return self._output.read_text(encoding="utf-8")

    def wait_for(self, words: str, *, seconds: float = 60.0) -> None:
        """Waits until the words were printed."""
        assert eventually(lambda: words in self.output, seconds=seconds), self.output

    def stop(self) -> int:
        """Ends it by SIGTERM; returns the exit code."""
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(timeout=STOP_SECONDS)

    def kill(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
