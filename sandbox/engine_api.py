"""The engine seen from outside: what the demo deploys, starts and counts, and the tests check."""

import threading
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import requests

from sandbox.errors import SandboxError

_TIMEOUT_SECONDS = 60

Row = dict[str, Any]


class EngineApi:
    """Calls of the engine's REST API; safe to use from several threads, each with its own connection."""

    def __init__(self, url: str, *, login: tuple[str, str] | None = None) -> None:
        """Takes the base URL, such as http://127.0.0.1:8080/engine-rest; connects on the first call."""
        self._url = url
        self._login = login
        self._local = threading.local()

    def deploy(self, files: Iterable[Path], *, name: str = "sandbox") -> str:
        """Deploys process files and returns the deployment's id."""
        with ExitStack() as opened:
            parts = {file.name: opened.enter_context(file.open("rb")) for file in files}
            form = {"deployment-name": name, "deploy-changed-only": "false"}
            deployment: Row = self.request("POST", "/deployment/create", data=form, files=parts)
        return str(deployment["id"])

    def delete_deployment(self, deployment_id: str) -> None:
        """Removes a deployment with its instances and their history."""
        query = {"cascade": "true", "skipCustomListeners": "true", "skipIoMappings": "true"}
        self.request("DELETE", f"/deployment/{deployment_id}", params=query)

    def start_instance(
        self, key: str, variables: Mapping[str, object] | None = None, *, business_key: str | None = None
    ) -> str:
        """Starts an instance of the process `key` and returns its id; the engine infers the types."""
        typed = {name: {"value": value} for name, value in (variables or {}).items()}
        body = {"variables": typed, "businessKey": business_key}
        instance: Row = self.request("POST", f"/process-definition/key/{key}/start", json=body)
        return str(instance["id"])

    def running_count(self, key: str | None = None) -> int:
        """Counts the running instances of a process, or of all."""
        return self._count("/process-instance/count", {"processDefinitionKey": key})

    def finished_count(self, key: str | None = None) -> int:
        """Counts the ended instances of a process, or of all."""
        query = {"processDefinitionKey": key, "finished": "true"}
        return self._count("/history/process-instance/count", query)

    def instance(self, instance_id: str) -> Row:
        """Returns what history knows of an instance: state, startTime, endTime, durationInMillis."""
        row: Row = self.request("GET", f"/history/process-instance/{instance_id}")
        return row

    def end_events(self, key: str) -> dict[str, int]:
        """Counts by id the end events at which instances of a process arrived."""
        counts: dict[str, int] = {}
        for row in self._rows("/history/activity-instance", {"activityType": "noneEndEvent"}):
            if row["processDefinitionKey"] == key:
                counts[row["activityId"]] = counts.get(row["activityId"], 0) + 1
        return counts

    def ends_by_instance(self) -> dict[str, list[str]]:
        """Returns the ids of the end events that each ended instance arrived at; none for a cancelled one."""
        ends: dict[str, list[str]] = {
            row["id"]: [] for row in self._rows("/history/process-instance", {"finished": "true"})
        }
        for row in self._rows("/history/activity-instance", {"activityType": "noneEndEvent"}):
            if row["processInstanceId"] in ends:
                ends[row["processInstanceId"]].append(row["activityId"])
        return ends

    def task_log(self, **query: str) -> list[Row]:
        """Returns the history of external tasks: one row for each creation, answer and deletion."""
        return self._rows("/history/external-task-log", query)

    def task_log_count(self, **query: str) -> int:
        """Counts rows of `task_log`; the query is the engine's, such as topicName or successLog."""
        return self._count("/history/external-task-log/count", query)

    def variables(self, instance_id: str) -> dict[str, Any]:
        """Returns the variables of an instance by name, also after its end."""
        rows = self._rows("/history/variable-instance", {"processInstanceId": instance_id})
        return {row["name"]: row["value"] for row in rows}

    def incidents(self, key: str | None = None) -> list[Row]:
        """Returns the open incidents of a process, or of all."""
        return self._rows("/incident", {"processDefinitionKeyIn": key})

    def external_tasks(self, **query: str) -> list[Row]:
        """Returns open external tasks; the query is the engine's, such as topicName or processInstanceId."""
        return self._rows("/external-task", query)

    def request(self, method: str, path: str, **options: Any) -> Any:
        """Does one call and returns the decoded answer, None where there is none."""
        try:
            response = self._send(method, path, options)
        except requests.RequestException as error:
            raise SandboxError(f"the engine does not answer: {error}") from error
        if not response.ok:
            raise SandboxError(f"{method} {path}: {response.status_code} {response.text[:500]}")
        return response.json() if response.content else None

    def _send(self, method: str, path: str, options: Mapping[str, Any]) -> requests.Response:
        session, url = self._session(), self._url + path
        try:
            return session.request(method, url, timeout=_TIMEOUT_SECONDS, **options)
        except requests.ConnectionError:
            if method != "GET":
                raise
            # An engine that was frozen closes its idle connections when it goes on, this one perhaps in use.
            return session.request(method, url, timeout=_TIMEOUT_SECONDS, **options)

    def _count(self, path: str, query: Mapping[str, str | None]) -> int:
        answer: Row = self.request("GET", path, params=query)
        return int(answer["count"])

    def _rows(self, path: str, query: Mapping[str, str | None]) -> list[Row]:
        rows: list[Row] = self.request("GET", path, params=query)
        return rows

    def _session(self) -> requests.Session:
        if not hasattr(self._local, "session"):
            self._local.session = requests.Session()
            self._local.session.trust_env = False  # a proxy has no business on the loopback interface
            self._local.session.auth = self._login
        session: requests.Session = self._local.session
        return session
