"""Prometheus's own checker; `./run test` puts it into the cache folder."""

import shutil
import subprocess
from pathlib import Path

from sandbox.cache import cache_folder


def program() -> str | Path:
    """Returns where it is."""
    return shutil.which("promtool") or cache_folder() / "promtool"


def promtool(*arguments: str | Path, given: str | None = None) -> str:
    """Runs it and returns what it prints; it must find nothing wrong."""
    done = subprocess.run(
        [program(), *arguments],
        input=given,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout
