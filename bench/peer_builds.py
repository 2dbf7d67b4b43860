"""The bridges that our worker is measured against: built once, and kept in the user's cache folder."""

import hashlib
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from sandbox.cache import cache_folder, only_builder
from sandbox.errors import SandboxError

_PEERS = Path(__file__).resolve().parent / "peers"
_RESPONSE_THREADS = 8  # of the peer in Python: its best form
_NO_SOURCES = {"node_modules", "target", "__pycache__"}  # what other tools leave among the sources


@dataclass(frozen=True)
class Recipe:
    """How a peer is built in a copy of its sources, if it needs that, and run; `{built}` stands for that copy."""

    sources: Path
    build: tuple[str, ...]
    run: tuple[str, ...]


_RECIPES = {
    "go": Recipe(_PEERS / "go", build=("go", "build", "-o", "peer", "."), run=("{built}/peer",)),
    "python": Recipe(
        _PEERS / "python",
        build=(),
        run=(
            "env",  # replaces itself: the pid is the peer's own
            f"RESPONSE_THREADS={_RESPONSE_THREADS}",
            sys.executable,
            "-u",
            str(_PEERS / "python" / "bridge.py"),
        ),
    ),
    "node": Recipe(
        _PEERS / "node",
        build=("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"),
        run=("node", "{built}/bridge.js"),
    ),
    "java": Recipe(
        _PEERS / "java",
        build=("mvn", "-q", "-B", "-Dstyle.color=never", "package"),
        run=(
            "java",
            "-Xmx256m",
            "-XX:+UseSerialGC",
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
            "-cp",
            "{built}/target/peer.jar:{built}/target/lib/*",
            "peer.Bridge",
        ),
    ),
}
NAMES = tuple(_RECIPES)


def build(name: str) -> tuple[str, ...]:
    """Returns the command that runs a peer in the foreground; the first call may have to build the peer."""
    return command_of(name, _RECIPES[name])


def command_of(name: str, recipe: Recipe) -> tuple[str, ...]:
    """Returns the command of a recipe, after its build if that was not done for the present sources."""
    if not recipe.build:
        return recipe.run
    built = cache_folder() / f"peer-{name}-{_hash(recipe.sources)}" / "built"
    if not built.exists():
        with only_builder(built.parent):
            if not built.exists():
                _build(name, recipe, built)
    return tuple(part.format(built=built) for part in recipe.run)


def _hash(sources: Path) -> str:
    digest = hashlib.sha256()
    for path in _files(sources):
        digest.update(f"{path.relative_to(sources)}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def _files(sources: Path) -> list[Path]:
    files = (path for path in sources.rglob("*") if path.is_file())
    return sorted(path for path in files if not _NO_SOURCES & set(path.relative_to(sources).parts))


def _build(name: str, recipe: Recipe, built: Path) -> None:
    if shutil.which(recipe.build[0]) is None:
        raise SandboxError(f"the peer {name} needs {recipe.build[0]} to be built; ./run bench compare installs it")
    print(f"bench: building the peer {name}, once (and what it downloads)", flush=True)
    # Beside its place: the move of what was built is one step, so what is in its place is complete.
    with tempfile.TemporaryDirectory(dir=built.parent) as folder:
        copy = Path(folder) / "built"
        for path in _files(recipe.sources):
            target = copy / path.relative_to(recipe.sources)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
        _run_build(name, recipe, copy)
        copy.replace(built)


def _run_build(name: str, recipe: Recipe, folder: Path) -> None:
    done = subprocess.run(
        # setpriv: the build ends with its starter, whatever ends that one.
        ["setpriv", "--pdeathsig", "KILL", *recipe.build],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode != 0:
        end = "\n".join(done.stdout.splitlines()[-30:])
        raise SandboxError(f"{recipe.build[0]} could not build the peer {name}:\n{end}")
