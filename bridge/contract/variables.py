"""Variables in the engine's typed envelopes."""

import math
from typing import Any, TypeGuard

from bridge.contract.wire import encode_json
from bridge.errors import Unprocessable

Variables = dict[str, dict[str, Any]]

_ENVELOPE_KEYS = frozenset({"value", "type", "valueInfo"})
BY_REFERENCE = "by_reference"  # in the valueInfo of an envelope whose value stayed at the engine
_INTEGER_RANGE = range(-(2**31), 2**31)
_LONG_RANGE = range(-(2**63), 2**63)


def typed(values: dict[str, Any], json_type: str, longest_text: int | None = None) -> Variables:
    """Return the values in typed envelopes; an untyped object or list becomes JSON text of type `json_type`.

    So does an untyped text of more UTF-16 units than `longest_text`, where that is given. Raises Unprocessable for
    a value that has no type at the engine.
    """
    return {name: _fitted(name, value, json_type, longest_text) for name, value in values.items()}


def is_long_text(value: Any, longest: int) -> bool:
    """Whether a value is an untyped text of more UTF-16 units."""
    text = value["value"] if _is_envelope(value) and value.get("type") is None else value
    return isinstance(text, str) and len(text) > longest // 2 and units(text) > longest


def units(text: str) -> int:
    """Return the length of a text in UTF-16 units, as Java and most databases count it: an emoji is two."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def _fitted(name: str, value: Any, json_type: str, longest_text: int | None) -> dict[str, Any]:
    envelope = _envelope(name, value, json_type)
    if longest_text is None or json_type != "Json" or not is_long_text(value, longest_text):
        return envelope
    return {**envelope, "type": "Json", "value": _json_text(name, envelope["value"])}


def _is_envelope(value: Any) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict) and "value" in value and value.keys() <= _ENVELOPE_KEYS


def is_reference(envelope: dict[str, Any]) -> bool:
    """Whether an envelope stands for a value that the message does not carry."""
    info = envelope.get("valueInfo")
    return envelope.get("value") is None and isinstance(info, dict) and info.get(BY_REFERENCE) is True


def _envelope(name: str, value: Any, json_type: str) -> dict[str, Any]:
    """Return a typed envelope; an untyped object would be stored by the engine as serialised Java."""
    if not _is_envelope(value):
        return _inferred(name, value, json_type)
    inner = value["value"]
    # An engine may refuse other JSON here without its error object, which looks as if no engine were there.
    kind = value.get("type")
    if not isinstance(kind, str | None) or kind == "" or not isinstance(value.get("valueInfo"), dict | None):
        raise Unprocessable("invalid", f"variable {name!r}: type must be a text and valueInfo an object")
    if is_reference(value):
        raise Unprocessable("invalid", f"variable {name!r} is a reference: leave it out, or send a value")
    if kind is None:
        info = {"valueInfo": value["valueInfo"]} if value.get("valueInfo") else {}
        return _inferred(name, inner, json_type) | info
    if isinstance(inner, dict | list) or (kind in ("Json", "json") and isinstance(inner, bool | int | float)):
        return {**value, "value": _json_text(name, inner)}
    if isinstance(inner, float) or value.get("valueInfo"):
        _json_text(name, value)  # which knows neither NaN nor infinity
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
        return encode_json(value).decode()
    except ValueError as error:
        raise Unprocessable("invalid", f"variable {name!r:.80}: {error}") from error
