"""The record of what a sandbox started, so that the next one can clean up after one that was killed."""

import json
import os
import secrets
import shutil
import signal
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sandbox.children import Child, ProcessMark

_REPOSITORY = Path(__file__).resolve().parent.parent
STATE_FOLDER = Path(os.environ.get("SANDBOX_STATE_FOLDER") or _REPOSITORY / ".sandbox")
_RECORDS = STATE_FOLDER / "runs"
_FOLDER_PREFIX = "camunda-sandbox-"


class Run:
    """One use of the sandbox: a temporary folder, and every process started for it, on record."""

    def __init__(self) -> None:
        """Puts the run on record first, so that no folder can be left without one."""
        name = f"{os.getpid()}-{secrets.token_hex(4)}"
        self.folder = Path(tempfile.gettempdir()) / f"{_FOLDER_PREFIX}{name}"
        self._record = _RECORDS / f"{name}.json"
        self._owner = ProcessMark.of(os.getpid())
        self._children: list[Child] = []
        self._write_record()
        self.folder.mkdir(mode=0o700)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def start(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> Child:
        """Starts a process that lives at most as long as this run; its log is `<folder>/<name>.log`."""
        child = Child(name, command, environment=environment, log=self.folder / f"{name}.log")
        self._children = [*(known for known in self._children if known.running()), child]
        self._write_record()
        return child

    def end(self) -> None:
        """Kills what still runs and removes the folder: nothing in it is worth an orderly stop."""
        for child in reversed(self._children):
            child.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
        self._record.unlink(missing_ok=True)

    def _write_record(self) -> None:
        record = {
            "owner": asdict(self._owner),
            "processes": [asdict(child.mark) for child in self._children],
            "folder": str(self.folder),
        }
        write_private(self._record, json.dumps(record))


def clean_abandoned_runs() -> None:
    """Ends and removes what the runs of dead owners left behind."""
    for path in _RECORDS.glob("*.json"):
        record = read_json(path)
        if record and not ProcessMark(**record["owner"]).alive():
            _remove_leftovers(record)
            path.unlink(missing_ok=True)


def _remove_leftovers(record: dict[str, Any]) -> None:
    for fields in record["processes"]:
        mark = ProcessMark(**fields)
        mark.send(signal.SIGKILL)
        mark.wait_gone(5)
    folder = Path(record["folder"])
    if folder.name.startswith(_FOLDER_PREFIX):
        shutil.rmtree(folder, ignore_errors=True)


def write_private(path: Path, text: str) -> None:
    """Writes a file that only its owner may read, in one step: a reader never sees half of it."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    part.replace(path)


def read_json(path: Path) -> dict[str, Any] | None:
    """Returns the object in a file; None if there is no such file."""
    try:
        content: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    return content
