"""Why an engine may refuse a variable: said after it has, for its own words seldom name the variable.

Nothing is refused here: what is too long for one database fits into another.
"""

import json
from base64 import b64decode
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from bridge.contract.variables import Variables, units

LONGEST_TEXT = 4000  # of a String, in UTF-16 units; PostgreSQL counts characters
LONGEST_NAME = 255
MOST_DOUBTS = 3
TEXTS_OF_INFO = ("objectTypeName", "serializationDataFormat", "filename", "mimetype", "encoding")
JAVA = "application/x-java-serialized-object"


def doubts(variables: Variables) -> list[str]:
    """Return a sentence for each variable that an engine may refuse, with its name, type and length."""
    found = ((name, envelope, _doubt(name, envelope)) for name, envelope in variables.items())
    return [_sentence(name, envelope, why) for name, envelope, why in found if why][:MOST_DOUBTS]


def _sentence(name: str, envelope: Mapping[str, Any], why: str) -> str:
    value, kind = envelope.get("value"), str(envelope.get("type"))
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return f"variable {name!r:.80} ({kind:.40}, {units(text)} UTF-16 units): {why}"


def _doubt(name: str, envelope: Mapping[str, Any]) -> str:
    value, kind = envelope.get("value"), str(envelope.get("type"))
    kind = kind[:1].upper() + kind[1:]  # the engine does the same
    info = envelope.get("valueInfo") or {}
    if units(name) > LONGEST_NAME:
        return f"its name has {units(name)} UTF-16 units, and engines keep {LONGEST_NAME}"
    if "\0" in name or _has_nul(value) or _has_nul(list(info.values())):
        return "it has a NUL character, which some databases cannot hold"
    if not isinstance(info.get("transient", False), bool):
        return "valueInfo.transient must be true or false"
    for key in TEXTS_OF_INFO:
        if not isinstance(info.get(key), str | None):
            return f"valueInfo.{key} must be a text"
    if kind not in FITS:
        return f"there is no type {kind[:40]!r} that a variable can have; types are {', '.join(FITS)}"
    return FITS[kind](value, info)


def _has_nul(value: Any) -> bool:
    return "\0" in value if isinstance(value, str) else isinstance(value, list) and any(map(_has_nul, value))


def _text(value: Any, _info: Any) -> str:
    if isinstance(value, str) and units(value) > LONGEST_TEXT:
        return f"a String holds at most {LONGEST_TEXT} of them; longer text goes as Json, Bytes or File"
    return ""


def _short(value: Any, _info: Any) -> str:
    return _number(value, 2**15)


def _integer(value: Any, _info: Any) -> str:
    return _number(value, 2**31)


def _long(value: Any, _info: Any) -> str:
    return _number(value, 2**63)


def _number(value: Any, limit: int) -> str:
    try:
        is_whole = not isinstance(value, bool | float) and (value in (None, "") or -limit <= int(value) < limit)
    except (ValueError, TypeError):
        is_whole = False
    return "" if is_whole else f"its value must be a whole number from {-limit} to {limit - 1}"


def _double(value: Any, _info: Any) -> str:
    try:
        fits = not isinstance(value, bool) and (value in (None, "") or isinstance(float(value), float))
    except (ValueError, TypeError, OverflowError):
        fits = False
    return "" if fits else "its value must be a number, or one of the texts NaN, Infinity and -Infinity"


def _boolean(value: Any, _info: Any) -> str:
    fits = value is None or isinstance(value, bool) or str(value).lower() in ("", "true", "false")
    return "" if fits else "its value must be true or false"


def _date(value: Any, _info: Any) -> str:
    try:
        fits = value in (None, "") or datetime.fromisoformat(value).tzinfo is not None
    except (ValueError, TypeError):
        fits = False
    return "" if fits else "its value must be a moment of ISO 8601 with its zone, as a text"


def _bytes(value: Any, _info: Any) -> str:
    try:
        fits = value is None or isinstance(b64decode(value, validate=True), bytes)
    except (ValueError, TypeError):
        fits = False
    return "" if fits else "its value must be base64: A-Z a-z 0-9 + / with = at the end, without spaces"


def _serialised(value: Any, _info: Any) -> str:
    return "" if value is None or isinstance(value, str) else "its value must be a text"


def _null(value: Any, _info: Any) -> str:
    return "" if value is None else "a Null has no value"


def _xml(_value: Any, _info: Any) -> str:
    return "the engine needs its Spin plugin with the XML data format for this type"


def _object(value: Any, info: Mapping[str, Any]) -> str:
    if info.get("serializationDataFormat") == JAVA:
        return f"engines refuse {JAVA} from outside; leave the variable out where it need not change, or use Json"
    if not info.get("serializationDataFormat") or not info.get("objectTypeName"):
        return "its valueInfo must name objectTypeName and serializationDataFormat"
    return _serialised(value, info)


def _file(value: Any, info: Mapping[str, Any]) -> str:
    if info.get("filename") is None:
        return "its valueInfo must have a filename"
    return "" if isinstance(value, str) else "its value must be its content in base64"


FITS: dict[str, Callable[[Any, Mapping[str, Any]], str]] = {
    "String": _text,
    "Boolean": _boolean,
    "Short": _short,
    "Integer": _integer,
    "Long": _long,
    "Double": _double,
    "Date": _date,
    "Bytes": _bytes,
    "Json": _serialised,
    "Xml": _xml,
    "Null": _null,
    "File": _file,
    "Object": _object,
}
