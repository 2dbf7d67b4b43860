"""The benchmark's peers are built once, for the sources that are there; what cannot be built says why."""

import sys
from pathlib import Path

import pytest

from bench.peer_builds import NAMES, Recipe, build, command_of
from sandbox.errors import SandboxError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    folder = tmp_path / "sources"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "main").write_text("first")
    return folder


def recipe(sources: Path, *script: str) -> Recipe:
    return Recipe(sources, build=("sh", "-c", *script), run=("cat", "{built}/product"))


def test_a_peer_is_built_once_in_a_copy_of_its_sources(sources: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copying = recipe(sources, "cp deep/main product")

    first, second = command_of("echo", copying), command_of("echo", copying)

    assert first == second
    assert Path(first[1]).read_text() == "first"
    assert not (sources / "product").exists()
    assert capsys.readouterr().out.count("building the peer echo") == 1


def test_other_sources_are_another_build(sources: Path) -> None:
    copying = recipe(sources, "cp deep/main product")
    before = command_of("echo", copying)
    (sources / "deep" / "main").write_text("second")

    after = command_of("echo", copying)

    assert [Path(command[1]).read_text() for command in (before, after)] == ["first", "second"]


@pytest.mark.parametrize("folder", ["node_modules", "target"])
def test_what_a_tool_left_among_the_sources_counts_for_nothing(sources: Path, folder: str) -> None:
    copying = recipe(sources, f"cp deep/main product && test ! -e {folder}")
    before = command_of("echo", copying)
    (sources / folder).mkdir()
    (sources / folder / "left").touch()

    assert command_of("echo", copying) == before


def test_a_build_that_fails_shows_its_end_and_is_tried_again(sources: Path, tmp_path: Path) -> None:
    failing_once = recipe(sources, f"cp deep/main product; echo no luck; mkdir {tmp_path}/tried && exit 1; exit 0")

    with pytest.raises(SandboxError, match=r"sh could not build the peer echo:\nno luck"):
        command_of("echo", failing_once)

    assert Path(command_of("echo", failing_once)[1]).exists()


@pytest.mark.parametrize(("name", "tool"), [("go", "go"), ("node", "npm"), ("java", "mvn")])
def test_a_missing_tool_is_named_and_how_to_install_it(
    name: str, tool: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(SandboxError, match=rf"needs {tool} .*\./run bench compare installs it"):
        build(name)


def test_the_peer_in_python_runs_as_it_is_with_eight_response_threads(cache: Path) -> None:
    command = build("python")

    assert command[:3] == ("env", "RESPONSE_THREADS=8", sys.executable)
    assert Path(command[-1]).is_file()
    assert not cache.exists()


def test_there_are_four_peers() -> None:
    assert NAMES == ("go", "python", "node", "java")
