"""The contract in code: the task message, the response, typed variables. Pure: nothing here does I/O."""

from bridge.contract.bodies import PLAIN, BodyForm
from bridge.contract.cancellation import CancelledTask, cancellation_message, cancelled_queue
from bridge.contract.doubts import LONGEST_TEXT, doubts
from bridge.contract.keys import NamedTask, named_task, nearest
from bridge.contract.references import has_path
from bridge.contract.rejected import RejectedMessage
from bridge.contract.response import Response, ResponseType, check_size
from bridge.contract.task import ExternalTask, TaskState, attempt_of, task_message
from bridge.contract.traces import TraceContext
from bridge.contract.variables import Variables
from bridge.contract.wire import (
    ERROR_EXCHANGE,
    ERROR_KEY,
    REJECTED_QUEUE,
    RESPONSE_QUEUE,
    TASK_EXCHANGE,
    Publication,
    decode_json,
    encode_json,
    with_encoded,
)

__all__ = [
    "ERROR_EXCHANGE",
    "ERROR_KEY",
    "LONGEST_TEXT",
    "PLAIN",
    "REJECTED_QUEUE",
    "RESPONSE_QUEUE",
    "TASK_EXCHANGE",
    "BodyForm",
    "CancelledTask",
    "ExternalTask",
    "NamedTask",
    "Publication",
    "RejectedMessage",
    "Response",
    "ResponseType",
    "TaskState",
    "TraceContext",
    "Variables",
    "attempt_of",
    "cancellation_message",
    "cancelled_queue",
    "check_size",
    "decode_json",
    "doubts",
    "encode_json",
    "has_path",
    "named_task",
    "nearest",
    "task_message",
    "with_encoded",
]
