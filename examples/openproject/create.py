"""Creates projects (`op_create_project`) and work packages (`op_create_work_package`) in OpenProject, API v3."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import requests

sys.path.append(str(Path(__file__).resolve().parents[1]))

from careful import Answer, NotDone, Task, serve

TIMEOUT_SECONDS = 60


def create_project(task: Task) -> Answer:
    """Variables `project_name` and `project_identifier`: of small letters, digits, dashes; unique."""
    name = str(task.variables.get("project_name", ""))
    identifier = str(task.variables.get("project_identifier") or f"p-{task.id}")
    body = {"name": name, "identifier": identifier}
    project = made("/api/v3/projects", ("name_and_identifier", identifier), body, task)
    return {"project_id": project["id"], "project_identifier": project["identifier"]}


def create_work_package(task: Task) -> Answer:
    """Variables `project_id`, `subject` and, as a number of the installation, `type_id`."""
    kind = f"/api/v3/types/{task.variables.get('type_id') or 1}"
    body = {"subject": str(task.variables.get("subject", "")), "_links": {"type": {"href": kind}}}
    path = f"/api/v3/projects/{task.variables.get('project_id')}/work_packages"
    return {"work_package_id": made(path, ("description", task.id), body, task)["id"]}


def made(path: str, look_for: tuple[str, str], body: dict[str, Any], task: Task) -> dict[str, Any]:
    """Creates it, unless an earlier try has, whose answer was lost: its description names the engine's task."""
    mark = f"Task {task.id}"
    filters = json.dumps([{look_for[0]: {"operator": "~", "values": [look_for[1]]}}])
    rows = call("GET", path, params={"filters": filters, "sortBy": '[["id","desc"]]'})["_embedded"]["elements"]
    ours = [row for row in rows if (row.get("description") or {}).get("raw") == mark]
    return ours[0] if ours else call("POST", path, json=body | {"description": {"raw": mark}})


def call(method: str, path: str, **options: Any) -> dict[str, Any]:
    """Does one call of the API and returns its answer."""
    url, login = os.environ["OPENPROJECT_URL"].rstrip("/") + path, ("apikey", os.environ["OPENPROJECT_API_KEY"])
    try:
        response = requests.request(method, url, auth=login, timeout=TIMEOUT_SECONDS, **options)
    except requests.RequestException as error:
        raise NotDone("failure", f"no answer of OpenProject: {error}", retry_timeout=60_000) from error
    if not response.ok:
        raise verdict(response)
    answer: dict[str, Any] = response.json()
    return answer


def verdict(response: requests.Response) -> NotDone:
    """What OpenProject finds invalid is for the process to decide; a wrong login or address for a person."""
    said = response.json().get("message", "") if "json" in response.headers.get("Content-Type", "") else ""
    why = f"OpenProject answers {response.status_code} {said}".strip()
    if response.status_code == 422:
        return NotDone("bpmn_error", why, error_code=os.environ.get("INVALID_ERROR_CODE", "OPENPROJECT_INVALID"))
    if response.status_code == 429 or response.status_code >= 500:
        return NotDone("failure", why, retry_timeout=60_000)
    return NotDone("failure", why, retries=0)


if __name__ == "__main__":
    works = {"op_create_project": create_project, "op_create_work_package": create_work_package}
    serve("openproject.queue", works)
