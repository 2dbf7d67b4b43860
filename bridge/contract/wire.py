"""The names and the form of what crosses the wire."""

import json
from dataclasses import dataclass
from typing import Any

TASK_EXCHANGE = "camunda.external.tasks"
RESPONSE_QUEUE = "camunda.responses.queue"
REJECTED_QUEUE = "camunda.rejected.queue"
ERROR_EXCHANGE = "camunda.errors"
ERROR_KEY = "errors.camunda_tasks"

dump_json = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def encode_json(document: object) -> bytes:
    """Return compact UTF-8 JSON. Raises ValueError for NaN, infinity and lone surrogates."""
    return dump_json(document).encode()


@dataclass(frozen=True, slots=True)
class Publication:
    """A message on its way to the broker; `headers` and `properties` as AMQP knows them."""

    exchange: str
    routing_key: str
    body: bytes
    headers: dict[str, Any]
    properties: dict[str, Any]


def with_encoded(json_object: bytes, name: str, value: bytes) -> bytes:
    """Return an encoded JSON object with one more field, whose value is encoded already.

    What never changes between two calls is encoded once that way.
    """
    return b'%s,"%s":%s}' % (json_object.removesuffix(b"}"), name.encode(), value)
