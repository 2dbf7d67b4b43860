"""The examples stay small, and each README tells how to start its system."""

from pathlib import Path

import pytest

from tests.system.example_process import EXAMPLES, commands_of

PROGRAMS = sorted(
    path
    for kind in ("py", "js", "go", "java", "php")
    for path in EXAMPLES.rglob(f"*.{kind}")
    if not {"node_modules", "target", "vendor", ".venv"} & set(path.parts)
)
SYSTEMS = sorted(readme.parent for readme in EXAMPLES.rglob("README.md") if "```bash" in readme.read_text("utf-8"))


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.name)
def test_a_program_has_fewer_than_120_lines_of_code(program: Path) -> None:
    lines = [line.strip() for line in program.read_text(encoding="utf-8").splitlines()]
    code = [line for line in lines if line and not line.startswith(("#", "//", "/**"))]

    assert 0 < len(code) < 120


@pytest.mark.parametrize("system", SYSTEMS, ids=lambda path: path.name)
def test_a_readme_tells_how_to_start_its_system(system: Path) -> None:
    assert len(commands_of(str(system.relative_to(EXAMPLES)))) > 1
    assert any(program.is_relative_to(system) for program in PROGRAMS)
