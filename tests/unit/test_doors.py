"""The files in the root: who of them may import whom; `lint-imports` holds the rules of the packages."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MAY_IMPORT = {
    "main": {"camunda_worker", "response_handler", "config"},
    "camunda_worker": {"rabbitmq_client", "config"},
    "response_handler": {"rabbitmq_client", "config"},
    "rabbitmq_client": set(),
    "config": set(),
}


def imported_by(door: str) -> set[str]:
    tree = ast.parse((ROOT / f"{door}.py").read_text(encoding="utf-8"))
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    return names | {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}


def test_no_other_file_lies_in_the_root() -> None:
    assert {file.stem for file in ROOT.glob("*.py")} == MAY_IMPORT.keys()


@pytest.mark.parametrize("door", MAY_IMPORT)
def test_no_door_imports_one_that_is_not_below_it(door: str) -> None:
    assert imported_by(door) & MAY_IMPORT.keys() <= MAY_IMPORT[door]


@pytest.mark.parametrize("door", MAY_IMPORT)
def test_no_door_imports_the_broker_library_or_what_tests_it(door: str) -> None:
    packages = {name.split(".")[0] for name in imported_by(door)}

    assert not packages & {"pika", "pycurl", "tools", "tests", "sandbox", "bench"}
