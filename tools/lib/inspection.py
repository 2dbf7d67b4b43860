"""What the diagnostics ask of the engine: who it is, what it can do, what we may do, which topics are deployed."""

import re
from collections.abc import Iterator
from datetime import datetime
from itertools import product
from urllib.parse import quote
from xml.etree import ElementTree

from bridge.contract.fields import text
from bridge.engine.json_support import QUESTION, QUESTION_PATH, says_no_json
from bridge.engine.rest import Rest, Row
from bridge.engine.rows import readable
from bridge.errors import Unprocessable
from bridge.texts import Said

# Camunda's namespace of extensions, which its successors read too, and Operaton's own.
EXTENSIONS = ("{http://camunda.org/schema/1.0/bpmn}", "{http://operaton.org/schema/1.0/bpmn}")
PROCESS_DEFINITION, PROCESS_INSTANCE = 6, 8
# Either of a row is enough to fetch a task, and to answer for one.
RIGHTS = {
    Said("fetch tasks"): (("READ", PROCESS_INSTANCE), ("READ_INSTANCE", PROCESS_DEFINITION)),
    Said("answer for tasks"): (("UPDATE", PROCESS_INSTANCE), ("UPDATE_INSTANCE", PROCESS_DEFINITION)),
}
RESOURCE_NAMES = {PROCESS_DEFINITION: "PROCESS_DEFINITION", PROCESS_INSTANCE: "PROCESS_INSTANCE"}
MOST_PROCESSES = 2000
NAMED_ENGINE = re.compile(r"/engine/([^/]+)$")
OWN_FAILURE = "the engine says 500"


class Inspection:
    """The calls; none changes anything. See Rest for what they raise."""

    def __init__(self, rest: Rest) -> None:
        self._rest = rest

    @property
    def named_engine(self) -> str:
        """The engine that the URL names (`/engine-rest/engine/NAME`); empty where it names none."""
        named = NAMED_ENGINE.search(self._rest.http.base_url)
        return named[1] if named else ""

    def engines(self) -> list[str]:
        """Return the names of the engines behind the URL; answered without a login."""
        above = "/../.." if self.named_engine else ""  # the list is above the named engine
        return readable("engine", lambda row: text(row, "name"), self._rest.rows(f"{above}/engine"))

    def version(self) -> str:
        """Return the engine's version, such as `7.24.0`, or `unknown`; the first call that needs the login."""
        return str(self._rest.read("/version").get("version") or "unknown")

    def server_time(self) -> datetime | None:
        """Return the engine's clock to the second, None where it does not tell."""
        return self._rest.http.server_time()

    @property
    def proxy(self) -> str:
        """The proxy between us and the engine; empty where there is none."""
        return self._rest.http.proxy

    def date_as_written(self) -> str | None:
        """Return a date in the engine's words, None where nothing is deployed yet."""
        rows = self._rest.rows("/deployment", sortBy="deploymentTime", sortOrder="desc", maxResults=1)
        return next((str(row["deploymentTime"]) for row in rows if row.get("deploymentTime")), None)

    def why_unreadable(self, execution_id: str) -> str:
        """Return why the engine cannot read what a fetch reads of an execution; empty where it can, or is gone."""
        path = f"/process-instance/{quote(execution_id, safe='')}/variables"
        try:
            self._rest.read(path, deserializeValues="false")
        except Unprocessable as error:
            return error.detail if OWN_FAILURE in error.detail else ""
        return ""

    def topics_with_tasks(self) -> list[str]:
        """Return the topics of the tasks that are open now (7.13 and newer)."""
        rows = self._rest.rows("/external-task/topic-names")
        return readable("topic-names", lambda row: text({"topic": row}, "topic"), rows)

    def missing_rights(self) -> list[str]:
        """Return what our login may not do with every process; empty where all is allowed."""
        return [act for act, rights in RIGHTS.items() if not any(self._may(*right) for right in rights)]

    def _may(self, permission: str, resource: int) -> bool:
        query = {"permissionName": permission, "resourceName": RESOURCE_NAMES[resource], "resourceType": resource}
        row = self._rest.read("/authorization/check", **query)
        return bool(row.get("authorized", row.get("isAuthorized")))  # the second is what the documentation says

    def knows_json(self) -> bool:
        """Whether the engine can store variables of type Json, which needs the Spin plugin."""
        try:
            self._rest.act("POST", QUESTION_PATH, QUESTION)
        except Unprocessable as error:
            return not says_no_json(error.detail)
        return True

    def deployed_topics(self) -> dict[str, set[str]]:
        """Return each external topic of the latest process versions with the keys of its processes."""
        topics: dict[str, set[str]] = {}
        definitions = readable(
            "process-definition", lambda row: (text(row, "id"), text(row, "key")), self._definitions()
        )
        for definition_id, key in definitions:
            for topic in topics_in(self._xml(definition_id)):
                topics.setdefault(topic, set()).add(key)
        return topics

    def _definitions(self) -> list[Row]:
        query = {"latestVersion": "true", "sortBy": "key", "sortOrder": "asc"}
        return self._rest.pages("/process-definition", None, limit=MOST_PROCESSES, **query)

    def _xml(self, definition_id: str) -> str:
        return str(self._rest.read(f"/process-definition/{quote(definition_id, safe='')}/xml").get("bpmn20Xml"))


def topics_in(xml: str) -> set[str]:
    """Return the external topics of a BPMN file; none where it cannot be read."""
    try:
        root = ElementTree.fromstring(xml)  # noqa: S314  # expat itself stops what grows too large
    except ElementTree.ParseError:
        return set()
    return set(_topics(root))


def _topics(root: ElementTree.Element) -> Iterator[str]:
    for element, namespace in product(root.iter(), EXTENSIONS):
        topic = element.get(f"{namespace}topic")
        if topic and element.get(f"{namespace}type") == "external":
            yield topic
