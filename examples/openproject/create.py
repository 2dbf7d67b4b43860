"""Creates projects (`op_create_project`) and work packages (`op_create_work_package`) in OpenProject, API v3."""

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
    project = post("/api/v3/projects", {"name": name, "identifier": identifier})
    return {"project_id": project["id"], "project_identifier": project["identifier"]}


def create_work_package(task: Task) -> Answer:
    """Variables `project_id`, `subject` and, as a number of the installation, `type_id`."""
    kind = f"/api/v3/types/{task.variables.get('type_id') or 1}"
    body = {"subject": str(task.variables.get("subject", "")), "_links": {"type": {"href": kind}}}
    return {
        "work_package_id": post(f"/api/v3/projects/{task.variables.get('project_id')}/work_packages", body)["id"]
    }


def post(path: str, body: dict[str, Any]) -> dict[str, Any]:
    """Returns what was created."""
    url, login = os.environ["OPENPROJECT_URL"].rstrip("/") + path, ("apikey", os.environ["OPENPROJECT_API_KEY"])
    try:
        response = requests.post(url, json=body, auth=login, timeout=TIMEOUT_SECONDS)
    except requests.ConnectionError as error:
        raise NotDone("failure", f"OpenProject cannot be reached: {error}", retry_timeout=60_000) from error
    if response.status_code != 201:
        raise verdict(response)
    created: dict[str, Any] = response.json()
    return created


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
