"""The published schemas pass the strictest reader there is, ajv in its strict mode; run by `./run examples`."""

import subprocess
from pathlib import Path

import pytest

from tests.sandbox.processes import REPOSITORY

PACKAGES = ("ajv@8.20.0", "ajv-formats@3.0.1")
COMPILE = """
import Ajv from "ajv/dist/2020.js";
import formats from "ajv-formats";
import { readFileSync } from "node:fs";

const ajv = new Ajv({ strict: true });
formats(ajv);
ajv.compile(JSON.parse(readFileSync(process.argv[2])));
"""
SCHEMAS = sorted((REPOSITORY / "docs" / "schemas").glob("*.json"))


@pytest.fixture(scope="module")
def ajv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ajv and a program that compiles a schema."""
    folder = tmp_path_factory.mktemp("ajv")
    install = ["npm", "install", "--no-fund", "--no-audit", "--prefix", str(folder), *PACKAGES]
    subprocess.run(install, check=True, timeout=300)
    (folder / "compile.mjs").write_text(COMPILE)
    return folder


def compiled(ajv: Path, schema: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["node", ajv / "compile.mjs", schema], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: schema.name)
def test_a_schema_passes_the_strict_mode(ajv: Path, schema: Path) -> None:
    done = compiled(ajv, schema)

    assert done.returncode == 0, done.stderr


def test_the_strict_mode_refuses_what_others_overlook(ajv: Path, tmp_path: Path) -> None:
    loose = tmp_path / "loose.json"
    loose.write_text('{"type": ["string", "number"], "minimum": 1}')

    assert "strict mode" in compiled(ajv, loose).stderr
