"""What the models say of their service tasks: how often a failed one is tried again."""

import xml.etree.ElementTree as ElementTree  # of what the engine has deployed and parsed itself
from collections.abc import Iterator
from urllib.parse import quote

from loguru import logger

from bridge.contract import ExternalTask, TaskState
from bridge.engine.http import Http, Reply
from bridge.engine.replies import usable
from bridge.engine.verdict import FOR_NOW, Verdict, judge
from bridge.retry_policy import RetryPolicy

PROPERTY = "retries"
MOST_KNOWN = 10_000
CALL_TIMEOUT_SECONDS = 30.0
NONE_FOR_US = (400, 403, 404)
NO_WORD = FOR_NOW - {Verdict.TROUBLE}

Place = tuple[str, str]  # a process definition and an activity of it, by their ids


class Models:
    """Remembers what fetched tasks bring along, and reads the model of a task that this process did not fetch.

    May be shared by threads.
    """

    def __init__(self, http: Http) -> None:
        self._http = http
        self._known: dict[Place, RetryPolicy | None] = {}

    def note(self, task: ExternalTask) -> None:
        """Remember what the model of a fetched task says."""
        properties = task.fields.get("extensionProperties")
        place = str(task.fields.get("processDefinitionId")), str(task.fields.get("activityId"))
        if isinstance(properties, dict) and place not in self._known:
            self._remember(place, properties.get(PROPERTY))

    def retry_policy(self, state: TaskState) -> RetryPolicy | None:
        """Return what the model says of a task, None where it says nothing. Raises Unavailable."""
        place = state.process_definition_id, state.activity_id
        is_unknown = bool(state.process_definition_id) and place not in self._known
        if is_unknown and (model := self._read(place[0])) is not None:
            self._remember(place, next(_values(model, place[1]), None))
        return self._known.get(place)

    def _remember(self, place: Place, text: str | None) -> None:
        if len(self._known) >= MOST_KNOWN:
            self._known = {}
        try:
            self._known[place] = None if text is None else RetryPolicy.of_cycle(text)
        except ValueError as error:
            self._known[place] = None
            logger.error("activity {} of {}: retries: {}; those of its system hold", place[1], place[0], error)

    def _read(self, definition_id: str) -> ElementTree.Element | None:
        """Return a model, None where the engine has none for us. Raises Unavailable."""
        path = f"/process-definition/{quote(definition_id, safe='')}/xml"
        reply = self._http.send("GET", path, timeout_seconds=CALL_TIMEOUT_SECONDS)
        try:
            return ElementTree.fromstring(self._xml(reply))  # noqa: S314  # see the import
        except (ValueError, ElementTree.ParseError) as error:
            logger.warning("the model {} cannot be read, retries in it do not count: {}", definition_id, error)
            return None

    def _xml(self, reply: Reply) -> str:
        """Raises ValueError where the engine has none for us, Unavailable where it does not say."""
        answer = judge(reply.status, reply.body)
        if reply.status in NONE_FOR_US or (reply.status != 200 and answer.verdict not in NO_WORD):
            raise ValueError(answer.detail)
        return str(usable(self._http.base_url, reply, dict).get("bpmn20Xml"))


def _values(model: ElementTree.Element, activity_id: str) -> Iterator[str]:
    """Yield what the properties of an activity say that bear our name; each fork has a namespace of its own."""
    for found in model.iterfind(f".//*[@id='{activity_id}']/{{*}}extensionElements/{{*}}properties/{{*}}property"):
        if found.get("name") == PROPERTY:
            yield found.get("value", "")
