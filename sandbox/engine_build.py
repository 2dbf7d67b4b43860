"""The engine's jar: built once with Maven and kept in the user's cache folder."""

import hashlib
import shutil
import subprocess
import tempfile
from pathlib import Path

from sandbox import choice
from sandbox.cache import cache_folder, only_builder
from sandbox.errors import SandboxError

_SOURCES = choice.ENGINES / choice.ENGINE


def engine_jar() -> Path:
    """Returns the jar of the present engine sources; the first call takes as long as Maven's downloads."""
    folder = cache_folder() / f"engine-{_sources_hash()}"
    jar = folder / "engine.jar"
    if not jar.exists():
        with only_builder(folder):
            if not jar.exists():
                _build(jar)
    return jar


def _source_files() -> list[Path]:
    return sorted([_SOURCES / "pom.xml", *(path for path in _SOURCES.glob("src/**/*") if path.is_file())])


def _sources_hash() -> str:
    digest = hashlib.sha256()
    for path in _source_files():
        digest.update(str(path.relative_to(_SOURCES)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


def _build(jar: Path) -> None:
    print("sandbox: building the engine with Maven, once (half a minute, and the downloads)", flush=True)
    # In the cache folder: the move of the finished jar must stay within one file system to be one step.
    with tempfile.TemporaryDirectory(dir=jar.parent) as folder:
        copy = Path(folder) / "engine"
        shutil.copytree(_SOURCES, copy, ignore=shutil.ignore_patterns("target"))
        _run_maven(copy)
        (copy / "target" / "engine.jar").replace(jar)


def _run_maven(folder: Path) -> None:
    if shutil.which("mvn") is None:
        raise SandboxError("Maven (mvn) is not installed; ./run installs it")
    done = subprocess.run(
        # setpriv: Maven ends with its starter, whatever ends that one.
        ["setpriv", "--pdeathsig", "KILL", "mvn", "-q", "-B", "-Dstyle.color=never", "package"],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode != 0:
        raise SandboxError("Maven could not build the engine:\n" + "\n".join(done.stdout.splitlines()[-30:]))
