"""What the five files at the door are made of: a room per part of a task's way."""

import sys
from importlib.util import find_spec
from pathlib import Path

OLDEST_PYTHON = (3, 11)
PACKAGES = ("loguru", "pika", "pycurl", "pydantic")
WRONG_SETTINGS = 78  # as for wrong settings: a restart does not help


def _refuse(problem: str) -> None:
    requirements = Path(__file__).resolve().parent.parent / "requirements.lock"
    sys.stderr.write(f"{problem}; with the right Python: python -m pip install -r {requirements}\n")
    raise SystemExit(WRONG_SETTINGS)


if sys.version_info < OLDEST_PYTHON:
    _refuse(f"Python {'.'.join(map(str, OLDEST_PYTHON))} or newer is needed, and this is {sys.version.split()[0]}")
for _package in PACKAGES:
    if find_spec(_package) is None:
        _refuse(f"the package {_package} is missing in {sys.executable}: is it the virtual environment's?")
