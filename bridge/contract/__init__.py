"""The contract in code: the task message, the response, typed variables. Pure: nothing here does I/O."""

from bridge.contract.bodies import PLAIN, BodyForm
from bridge.contract.doubts import LONGEST_TEXT, doubts
from bridge.contract.keys import NamedTask, named_task, nearest
from bridge.contract.response import Response, ResponseType, check_size
from bridge.contract.task import ExternalTask, TaskState, attempt_of, task_message
from bridge.contract.variables import Variables
from bridge.contract.wire import (
    ERROR_EXCHANGE,
    ERROR_KEY,
    RESPONSE_QUEUE,
    TASK_EXCHANGE,
    Publication,
    encode_json,
    with_encoded,
)

__all__ = [
    "ERROR_EXCHANGE",
    "ERROR_KEY",
    "LONGEST_TEXT",
    "PLAIN",
    "RESPONSE_QUEUE",
    "TASK_EXCHANGE",
    "BodyForm",
    "ExternalTask",
    "NamedTask",
    "Publication",
    "Response",
    "ResponseType",
    "TaskState",
    "Variables",
    "attempt_of",
    "check_size",
    "doubts",
    "encode_json",
    "named_task",
    "nearest",
    "task_message",
    "with_encoded",
]
