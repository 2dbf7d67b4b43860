"""Variables in the engine's typed envelopes."""

import math
from typing import Any

from bridge.contract.wire import dump_json
from bridge.errors import Unprocessable

Variables = dict[str, dict[str, Any]]

_ENVELOPE_KEYS = frozenset({"value", "type", "valueInfo"})
BY_REFERENCE = "by_reference"  # in the valueInfo of an envelope whose value stayed at the engine
_INTEGER_RANGE = range(-(2**31), 2**31)
_LONG_RANGE = range(-(2**63), 2**63)


def typed(values: dict[str, Any], json_type: str) -> Variables:
    """Return the values in typed envelopes; an untyped object or list becomes JSON text of type `json_type`.

    Raises Unprocessable for a value that has no type at the engine.
    """
    return {name: _envelope(name, value, json_type) for name, value in values.items()}


def is_reference(envelope: dict[str, Any]) -> bool:
    """Whether an envelope stands for a value that the message does not carry."""
    info = envelope.get("valueInfo")
    return envelope.get("value") is None and isinstance(info, dict) and info.get(BY_REFERENCE) is True


def _envelope(name: str, value: Any, json_type: str) -> dict[str, Any]:
    """Return a typed envelope; an untyped object would be stored by the engine as serialised Java."""
    if not (isinstance(value, dict) and "value" in value and value.keys() <= _ENVELOPE_KEYS):
        return _inferred(name, value, json_type)
    inner = value["value"]
    # An engine may refuse other JSON here without its error object, which looks as if no engine were there.
    if not isinstance(value.get("type"), str | None) or not isinstance(value.get("valueInfo"), dict | None):
        raise Unprocessable("invalid", f"variable {name!r}: type must be a text and valueInfo an object")
    if is_reference(value):
        raise Unprocessable("invalid", f"variable {name!r} is a reference: leave it out, or send a value")
    if value.get("type") is None:
        return _inferred(name, inner, json_type)
    if isinstance(inner, dict | list):
        return {**value, "value": _json_text(name, inner)}
    return value


def _inferred(name: str, value: Any, json_type: str) -> dict[str, Any]:
    match value:
        case None:
            return {"value": None, "type": "Null"}
        case bool():
            return {"value": value, "type": "Boolean"}
        case str():
            return {"value": value, "type": "String"}
        case int() if value in _INTEGER_RANGE:
            return {"value": value, "type": "Integer"}
        case int() if value in _LONG_RANGE:
            return {"value": value, "type": "Long"}
        case float() if math.isfinite(value):
            return {"value": value, "type": "Double"}
        case dict() | list():
            return {"value": _json_text(name, value), "type": json_type}
    raise Unprocessable("invalid", f"variable {name!r}: {value!r:.80} fits no type of the engine")


def _json_text(name: str, value: Any) -> str:
    try:
        return dump_json(value)
    except ValueError as error:
        raise Unprocessable("invalid", f"variable {name!r}: {error}") from error
