"""Whether an engine can store variables of type Json: it needs the Spin plugin, and says so in many ways."""

import re
from typing import Any

# Seen on Camunda 7.14 to 7.24, and on Operaton whose Spin knows the type but has no format for it.
_REFUSALS = re.compile(r"unsupported value type 'json'|cannot find serializer|'format' is null", re.IGNORECASE)

QUESTION_PATH = "/message"
# To look for a process that waits for this, the engine must turn the value into what it stores. It finds none.
QUESTION: dict[str, Any] = {
    "messageName": "universal-camunda-worker-asks-for-json",
    "correlationKeys": {"probe": {"type": "Json", "value": "{}"}},
}


def says_no_json(words: str) -> bool:
    """Whether these words of an engine mean that it knows no Json, or cannot store it."""
    return _REFUSALS.search(words) is not None
