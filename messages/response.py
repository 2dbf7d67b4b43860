"""A system's answer, decoded and checked."""

from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from errors import Unprocessable
from messages.fields import TASK_ID
from messages.variables import Variables, typed
from routing_file import LONGEST_LOCK_MS


def _no_boolean(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("Input should be a whole number")
    return value


NoBoolean = BeforeValidator(_no_boolean)


class ResponseType(StrEnum):
    """What a system says of its task."""

    COMPLETE = "complete"
    FAILURE = "failure"
    BPMN_ERROR = "bpmn_error"
    EXTEND_LOCK = "extend_lock"


class Response(BaseModel):
    """A system's answer. Unknown fields are ignored; times are in milliseconds."""

    model_config = ConfigDict(frozen=True, extra="ignore", coerce_numbers_to_str=True)

    task_id: Annotated[str, BeforeValidator(lambda value: value or "")] = ""
    response_type: ResponseType
    worker_id: str | None = None
    attempt: str | None = None
    variables: dict[str, Any] | None = None
    local_variables: dict[str, Any] | None = None
    error_message: str | None = None
    error_details: str | None = None
    error_code: str | None = None
    retries: Annotated[int, NoBoolean, Field(ge=0, lt=2**31)] | None = None
    retry_timeout: Annotated[int, NoBoolean, Field(ge=0, le=LONGEST_LOCK_MS)] | None = None
    lock_duration: Annotated[int, NoBoolean, Field(gt=0, le=LONGEST_LOCK_MS)] | None = None

    @classmethod
    def decode(cls, body: bytes, correlation_id: str | None, max_bytes: int) -> Self:
        """Return the response that a message holds; a missing `task_id` is the message's correlation id.

        Raises Unprocessable (`too_large`, `invalid`) for whatever the contract does not allow.
        """
        if len(body) > max_bytes:
            raise Unprocessable("too_large", f"{len(body)} bytes, at most {max_bytes} are taken")
        try:
            response = cls.model_validate_json(body)
        except ValidationError as error:
            raise Unprocessable("invalid", _first_problem(error)) from error
        if not response.task_id:
            response = response.model_copy(update={"task_id": correlation_id or ""})
        response._check()
        return response

    def _check(self) -> None:
        if not TASK_ID.fullmatch(self.task_id):
            raise Unprocessable("invalid", f"task_id {self.task_id[:80]!r} is missing or no task id")
        if self.response_type is ResponseType.BPMN_ERROR and not self.error_code:
            raise Unprocessable("invalid", "error_code is missing; a bpmn_error needs one")

    def typed_variables(self, json_type: str = "Json") -> dict[str, Variables]:
        """Return `variables` and `localVariables` as the engine wants them, leaving out what is not given.

        `json_type` is `String` for an engine without the Spin plugin, which knows no `Json`.
        Raises Unprocessable for a value that has no type at the engine.
        """
        given = {"variables": self.variables, "localVariables": self.local_variables}
        return {key: typed(values, json_type) for key, values in given.items() if values}


def _first_problem(error: ValidationError) -> str:
    problem = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(part) for part in problem["loc"])
    return f"{place}: {problem['msg']}" if place else problem["msg"]
