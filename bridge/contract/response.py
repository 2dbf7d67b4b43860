"""A system's answer, decoded and checked."""

from collections.abc import Collection, Iterable
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from bridge.contract.bodies import PLAIN, BodyForm
from bridge.contract.fields import ATTEMPT, TASK_ID
from bridge.contract.keys import NamedTask, first_fields, meant_by
from bridge.contract.surrogates import half_a_character
from bridge.contract.variables import Variables, is_long_text, typed
from bridge.errors import Unprocessable
from bridge.routing import LONGEST_LOCK_MS


def _no_boolean(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("Input should be a whole number")
    return value


def _attempt_or_none(given: str | None) -> str | None:
    """Return the attempt of a task message; what names none would pass for an earlier one, and be dropped."""
    if given and not ATTEMPT.fullmatch(given):
        raise ValueError(f"{given!r:.40} is of no task message: send back the one that it has")
    return given or None


NoBoolean = BeforeValidator(_no_boolean)


class ResponseType(StrEnum):
    """What a system says of its task."""

    COMPLETE = "complete"
    FAILURE = "failure"
    BPMN_ERROR = "bpmn_error"
    EXTEND_LOCK = "extend_lock"


USED_BY_ALL = ("task_id", "response_type", "worker_id", "attempt")
USED = {
    ResponseType.COMPLETE: ("variables", "local_variables"),
    ResponseType.FAILURE: (
        "variables",
        "local_variables",
        "error_message",
        "error_details",
        "retries",
        "retry_timeout",
    ),
    ResponseType.BPMN_ERROR: ("variables", "error_code", "error_message"),
    ResponseType.EXTEND_LOCK: ("lock_duration",),
}


class Response(BaseModel):
    """A system's answer. Unknown fields are ignored but for their names; times are in milliseconds."""

    model_config = ConfigDict(frozen=True, extra="allow", coerce_numbers_to_str=True)

    task_id: Annotated[str, BeforeValidator(lambda value: value or "")] = ""
    response_type: ResponseType
    worker_id: str | None = None
    attempt: Annotated[str | None, AfterValidator(_attempt_or_none)] = None
    variables: dict[str, Any] | None = None
    local_variables: dict[str, Any] | None = None
    error_message: str | None = None
    error_details: str | None = None
    error_code: str | None = None
    retries: Annotated[int, NoBoolean, Field(ge=0, lt=2**31)] | None = None
    retry_timeout: Annotated[int, NoBoolean, Field(ge=0, le=LONGEST_LOCK_MS)] | None = None
    lock_duration: Annotated[int, NoBoolean, Field(gt=0, le=LONGEST_LOCK_MS)] | None = None

    @classmethod
    def decode(cls, body: bytes, correlation_id: str | None, max_bytes: int, form: BodyForm = PLAIN) -> Self:
        """Return the response that a message holds; a missing `task_id` is the message's correlation id.

        `form`: how the message says that its body is packed. Raises Unprocessable (`too_large`, `invalid`) for
        whatever the contract does not allow.
        """
        check_size(len(body), max_bytes)
        content = form.unpacked(body, max_bytes)
        try:
            response = cls.model_validate_json(content)
        except ValidationError as error:
            problem = form.problem(content) or half_a_character(content)
            raise Unprocessable("invalid", problem or _first_problem(error, content, cls.model_fields)) from error
        if not response.task_id:
            response = response.model_copy(update={"task_id": correlation_id or ""})
        response._check()
        return response

    def _check(self) -> None:
        if not TASK_ID.fullmatch(self.task_id):
            problem = f"task_id {self.task_id[:80]!r} is missing or no task id"
            raise Unprocessable("invalid", problem + self._hint("task_id"))
        if self.response_type is ResponseType.BPMN_ERROR and not self.error_code:
            problem = "error_code is missing; a bpmn_error needs one"
            raise Unprocessable("invalid", problem + self._hint("error_code"))

    def _hint(self, missing: str) -> str:
        return _hint(missing, self.unknown_keys, type(self).model_fields)

    @property
    def named(self) -> NamedTask:
        """The task that it is about."""
        return NamedTask(self.task_id, self.attempt, self.response_type)

    @property
    def unknown_keys(self) -> tuple[str, ...]:
        """The keys of the answer that nobody reads."""
        return tuple(self.model_extra or ())

    def has_long_text(self, longest: int) -> bool:
        """Whether an untyped text among its variables has more UTF-16 units."""
        values = (*(self.variables or {}).values(), *(self.local_variables or {}).values())
        return any(is_long_text(value, longest) for value in values)

    @property
    def unused_fields(self) -> tuple[str, ...]:
        """The fields with a value that this type of answer cannot carry to the engine."""
        own = (*USED_BY_ALL, *USED[self.response_type])
        return tuple(name for name in type(self).model_fields if name not in own and getattr(self, name))

    def typed_variables(self, json_type: str = "Json", longest_text: int | None = None) -> dict[str, Variables]:
        """Return `variables` and `localVariables` as the engine wants them, leaving out what is not given.

        `json_type` is `String` for an engine without the Spin plugin, which knows no `Json`; untyped texts of more
        UTF-16 units than `longest_text` become Json. Raises Unprocessable for a value that has no type there.
        """
        given = {"variables": self.variables, "localVariables": self.local_variables}
        return {key: typed(values, json_type, longest_text) for key, values in given.items() if values}


def check_size(size: int, most: int) -> None:
    """Raise Unprocessable (`too_large`) for a body of more bytes than are taken."""
    if size > most:
        raise Unprocessable("too_large", f"{size} bytes, at most {most} are taken")


def _first_problem(error: ValidationError, body: bytes, known: Collection[str]) -> str:
    problem = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(part) for part in problem["loc"])
    hint = _hint(place, first_fields(body).keys() - set(known), known) if problem["type"] == "missing" else ""
    return f"{place}: {problem['msg']}{hint}" if place else problem["msg"]


def _hint(missing: str, keys: Iterable[str], known: Iterable[str]) -> str:
    """Return the key that was probably meant, where a required one is missing."""
    meant = meant_by(missing, sorted(keys), known)
    return f"; the key {meant[:80]!r} is unknown, did you mean {missing!r}?" if meant else ""
