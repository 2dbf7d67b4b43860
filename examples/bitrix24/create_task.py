"""Creates a task in Bitrix24 for each `bitrix_create_task`: variables `title`, `responsible_id`, `description`."""

import os
import sys
from pathlib import Path
from typing import Any

import requests

sys.path.append(str(Path(__file__).resolve().parents[1]))

from careful import Answer, NotDone, Task, serve

TIMEOUT_SECONDS = 60
LATER = {"QUERY_LIMIT_EXCEEDED": 5_000, "OVERLOAD_LIMIT": 600_000}  # milliseconds


def create_task(task: Task) -> Answer:
    """Makes a task and tells the process its number; the engine's id in its title lets a second try find it."""
    title = str(task.variables.get("title") or "")
    fields = {
        "TITLE": f"{title} [{task.id}]" if title else "",
        "RESPONSIBLE_ID": int(
            task.variables.get("responsible_id") or os.environ.get("BITRIX24_RESPONSIBLE_ID", "1")
        ),
        "DESCRIPTION": str(task.variables.get("description") or ""),
    }
    found = call("tasks.task.list", {"filter": {"TITLE": fields["TITLE"]}, "select": ["ID"]})["tasks"]
    made = found[0] if title and found else call("tasks.task.add", {"fields": fields})["task"]
    return {"bitrix_id": int(made["id"])}


def call(method: str, parameters: dict[str, Any]) -> Any:
    """Calls a method of an inbound webhook and returns its result."""
    url = os.environ["BITRIX24_WEBHOOK"].rstrip("/") + "/" + method
    try:
        response = requests.post(url, json=parameters, timeout=TIMEOUT_SECONDS)
    except requests.RequestException as error:
        raise NotDone("failure", f"no answer of Bitrix24: {type(error).__name__}", retry_timeout=60_000) from error
    if not response.ok:
        raise verdict(response)
    return response.json()["result"]


def verdict(response: requests.Response) -> NotDone:
    """A limit or an error of the server passes; what Bitrix24 does not like about the call stays."""
    said = response.json() if "json" in response.headers.get("Content-Type", "") else {}
    code = str(said.get("error", ""))
    why = f"Bitrix24 answers {response.status_code} {code} {said.get('error_description', '')}".strip()
    if code in LATER or response.status_code >= 500:
        return NotDone("failure", why, retry_timeout=LATER.get(code, 60_000))
    return NotDone("failure", why, retries=0)


if __name__ == "__main__":
    serve("bitrix24.queue", {"bitrix_create_task": create_task})
