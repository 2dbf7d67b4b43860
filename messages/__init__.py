"""The contract in code: the task message, the response, typed variables. Pure: nothing here does I/O."""

from messages.keys import NamedTask, named_task, nearest
from messages.response import Response, ResponseType
from messages.task import ExternalTask, TaskState, attempt_of, task_message
from messages.variables import Variables
from messages.wire import ERROR_EXCHANGE, ERROR_KEY, RESPONSE_QUEUE, TASK_EXCHANGE, Publication, encode_json

__all__ = [
    "ERROR_EXCHANGE",
    "ERROR_KEY",
    "RESPONSE_QUEUE",
    "TASK_EXCHANGE",
    "ExternalTask",
    "NamedTask",
    "Publication",
    "Response",
    "ResponseType",
    "TaskState",
    "Variables",
    "attempt_of",
    "encode_json",
    "named_task",
    "nearest",
    "task_message",
]
