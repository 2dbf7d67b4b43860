"""Which variable an engine may have refused, and why."""

from typing import Any

import pytest

from bridge.contract import doubts

BASE64, JAVA, JSON = "YWJj", "application/x-java-serialized-object", "application/json"


def variable(kind: str, value: Any, **info: Any) -> dict[str, Any]:
    return {"value": value, "type": kind, **({"valueInfo": info} if info else {})}


# What engines take: seen on Camunda 7.24 with H2 (see tests/system/test_values.py).
GOOD = [
    variable("String", "x" * 4000),
    variable("String", "😀" * 2000),
    variable("string", ""),
    variable("String", 5),
    variable("String", None),
    variable("Boolean", "TRUE"),
    variable("Integer", "5"),
    variable("Integer", ""),
    variable("Long", 2**63 - 1),
    variable("Short", -32768),
    variable("Double", "NaN"),
    variable("Double", 5),
    variable("Date", "2026-05-17T09:02:58.387+0300"),
    variable("Bytes", BASE64),
    variable("Json", "x" * 5000),
    variable("Null", None),
    variable("File", BASE64, filename="a.txt"),
    variable("Object", "{}", objectTypeName="com.example.Order", serializationDataFormat=JSON),
    variable("String", "x", transient=True),
]


@pytest.mark.parametrize("good", GOOD)
def test_a_variable_that_engines_take_is_in_no_doubt(good: dict[str, Any]) -> None:
    assert doubts({"x": good, "n" * 255: good}) == []


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (variable("String", "x" * 4001), "(String, 4001 UTF-16 units): a String holds at most 4000"),
        (variable("String", "😀" * 2001), "(String, 4002 UTF-16 units)"),
        (variable("String", "a\0b"), "(String, 3 UTF-16 units): it has a NUL character"),
        (variable("File", BASE64, filename="a\0b"), "it has a NUL character"),
        (
            variable("Integer", "abc"),
            "(Integer, 3 UTF-16 units): its value must be a whole number from",
        ),
        (variable("Integer", 3.5), "whole number"),
        (variable("Integer", 2**40), "whole number"),
        (variable("Integer", True), "whole number"),
        (variable("Long", 2**63), "whole number"),
        (variable("Short", 40000), "from -32768 to 32767"),
        (variable("Double", "abc"), "must be a number"),
        (variable("Double", True), "must be a number"),
        (variable("Boolean", "yes"), "must be true or false"),
        (variable("Boolean", 1), "must be true or false"),
        (variable("Date", 1779000000000), "a moment of ISO 8601 with its zone"),
        (variable("Date", "soon"), "a moment of ISO 8601 with its zone"),
        (variable("Bytes", "no base64!"), "must be base64"),
        (variable("Null", 5), "a Null has no value"),
        (variable("Foo", "x"), "there is no type 'Foo'"),
        (variable("STRING", "x"), "there is no type 'STRING'"),
        (variable("Number", 5), "there is no type 'Number'"),
        (variable("Xml", "<a/>"), "Spin plugin"),
        (variable("File", BASE64), "must have a filename"),
        (variable("File", None, filename="a"), "its content in base64"),
        (variable("Object", "rO0", objectTypeName="java.util.List", serializationDataFormat=JAVA), "refuse"),
        (variable("Object", "{}"), "must name objectTypeName and serializationDataFormat"),
        (variable("Object", 5, objectTypeName="a.B", serializationDataFormat=JSON), "must be a text"),
        (variable("String", "x", transient="yes"), "valueInfo.transient must be true or false"),
        (
            variable("Object", "{}", objectTypeName=["a"], serializationDataFormat=JSON),
            "objectTypeName must be a text",
        ),
        (variable("File", BASE64, filename="a", mimetype=5), "valueInfo.mimetype must be a text"),
    ],
)
def test_a_doubtful_variable_is_named_with_its_type_its_length_and_why(bad: dict[str, Any], words: str) -> None:
    (sentence,) = doubts({"fine": variable("String", "x"), "x": bad})

    assert sentence.startswith(f"variable 'x' ({bad['type']}, ")
    assert words in sentence


def test_a_name_that_is_too_long_is_told_by_its_length_and_cut() -> None:
    (sentence,) = doubts({"n" * 300: variable("Integer", 1)})

    assert "its name has 300 UTF-16 units, and engines keep 255" in sentence
    assert len(sentence) < 200


def test_a_hundred_doubtful_variables_are_not_all_told() -> None:
    assert len(doubts({f"x{n}": variable("Foo", 1) for n in range(100)})) == 3
