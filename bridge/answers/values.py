"""The variables of answers as this engine takes them, and why it does not."""

from collections.abc import Callable
from dataclasses import replace

from loguru import logger

from bridge.answers.in_vain import InVain
from bridge.contract import LONGEST_TEXT, Response, Variables, doubts
from bridge.engine import Answer, CamundaClient, Verdict, says_no_json, says_value_refused
from bridge.routing import System


class AnswerValues:
    """Knows what the engine takes; may be shared by threads. What it looks up raises TaskGone, Unavailable.

    `json_type`: as what untyped objects go there, `String` once it is known to have no Json.
    """

    def __init__(self, engine: CamundaClient, system_of: Callable[[str], System], in_vain: InVain) -> None:
        """Take `system_of`, which returns the system that a task was routed to."""
        self.json_type = "Json"
        self._engine = engine
        self._system_of = system_of
        self._in_vain = in_vain

    def of(self, response: Response, json_type: str) -> dict[str, Variables]:
        """Return the variables as the engine wants them. Raises Unprocessable."""
        as_json = response.has_long_text(LONGEST_TEXT) and self._system_of(response.task_id).long_text == "json"
        return response.typed_variables(json_type, LONGEST_TEXT if as_json else None)

    def of_failure(self, response: Response, json_type: str) -> dict[str, Variables]:
        """Return the variables of a failure; none for an engine that would drop them, which is said."""
        variables = self.of(response, json_type)
        if not variables or self._engine.takes_failure_variables():
            return variables
        self._in_vain.note_dropped(self._system_of(response.task_id).name)
        return {}

    def must_be_text(self, response: Response, refusal: Answer) -> bool:
        """Whether the engine refuses objects that became Json; not every refusal names that as its reason."""
        if self.json_type == "String":
            return False
        has_objects = response.typed_variables("Json") != response.typed_variables("String")
        return has_objects and (says_no_json(refusal.detail) or not self._engine.knows_json())

    def note_text_taken(self) -> None:
        """Let untyped objects be text from now on."""
        logger.warning("the engine has no Spin plugin: untyped objects become String variables with JSON")
        self.json_type = "String"

    def explained(self, response: Response, refusal: Answer) -> Answer:
        """Name the variables that may be why; for those an error of the engine's own is its last word, too."""
        found = [doubt for values in response.typed_variables().values() for doubt in doubts(values)]
        is_last_word = refusal.verdict is Verdict.REJECTED or says_value_refused(refusal.detail)
        if not found or not is_last_word:
            return refusal
        return replace(refusal, verdict=Verdict.REJECTED, detail="; ".join([refusal.detail, *found]))
