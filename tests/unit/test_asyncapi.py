"""docs/asyncapi.yaml is AsyncAPI 3.0.0, and says the same as the schemas and the code."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator, Draft202012Validator

from bridge.broker.topology import ERROR_QUEUE, RESPONSE_EXCHANGE
from bridge.contract.wire import RESPONSE_QUEUE

DOCS = Path(__file__).resolve().parents[2] / "docs"
# The schema of @asyncapi/specs 6.11.1 (Apache 2.0), without descriptions and examples.
SPECIFICATION = Path(__file__).with_name("asyncapi-3.0.0.schema.json")


@pytest.fixture(scope="module")
def document() -> Any:
    return yaml.safe_load((DOCS / "asyncapi.yaml").read_text(encoding="utf-8"))


def references(node: Any) -> Iterator[str]:
    if isinstance(node, Mapping):
        if "$ref" in node:
            yield node["$ref"]
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def resolved(document: Any, reference: str) -> Any:
    """Returns what a reference leads to; KeyError or an OSError where it leads nowhere."""
    file, _, pointer = reference.partition("#")
    node = json.loads((DOCS / file).read_text(encoding="utf-8")) if file else document
    for part in filter(None, pointer.split("/")):
        node = node[part]
    return node


def test_it_is_valid(document: Any) -> None:
    specification = json.loads(SPECIFICATION.read_text(encoding="utf-8"))

    problems = [
        f"{error.json_path}: {error.message}" for error in Draft7Validator(specification).iter_errors(document)
    ]

    assert problems == []


def test_the_specification_in_use_finds_mistakes(document: Any) -> None:
    specification = json.loads(SPECIFICATION.read_text(encoding="utf-8"))

    wrong = document | {"operations": {"receiveTask": {"action": "take"}}}

    assert list(Draft7Validator(specification).iter_errors(wrong))


def test_every_reference_leads_somewhere(document: Any) -> None:
    files = [reference for reference in references(document) if not reference.startswith("#")]

    assert all(resolved(document, reference) for reference in references(document))
    assert sorted(files) == ["schemas/response.schema.json", "schemas/task-message.schema.json"]


def test_its_examples_fit_the_schemas_that_it_names(document: Any) -> None:
    for name in ("task", "response"):
        message = document["components"]["messages"][name]
        schema = Draft202012Validator(resolved(document, message["payload"]["schema"]["$ref"]))
        for example in message["examples"]:
            assert [error.message for error in schema.iter_errors(example["payload"])] == []


def test_its_names_are_those_of_the_code(document: Any) -> None:
    answers = document["channels"]["answers"]

    assert answers["address"] == RESPONSE_QUEUE
    assert document["channels"]["errors"]["address"] == ERROR_QUEUE
    assert answers["bindings"]["amqp"]["exchange"]["name"] == RESPONSE_EXCHANGE
