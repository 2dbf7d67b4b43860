"""Creates a task in Bitrix24 for each `bitrix_create_task`: variables `title`, `responsible_id`, `description`."""

import os
import sys
from pathlib import Path

import requests

sys.path.append(str(Path(__file__).resolve().parents[1]))

from careful import Answer, NotDone, Task, serve

TIMEOUT_SECONDS = 60
LATER = {"QUERY_LIMIT_EXCEEDED": 5_000, "OVERLOAD_LIMIT": 600_000}  # milliseconds


def create_task(task: Task) -> Answer:
    """Calls `tasks.task.add` of an inbound webhook, and tells the process the new task's number."""
    fields = {
        "TITLE": str(task.variables.get("title", "")),
        "RESPONSIBLE_ID": int(
            task.variables.get("responsible_id") or os.environ.get("BITRIX24_RESPONSIBLE_ID", "1")
        ),
        "DESCRIPTION": str(task.variables.get("description") or ""),
    }
    url = os.environ["BITRIX24_WEBHOOK"].rstrip("/") + "/tasks.task.add"
    try:
        response = requests.post(url, json={"fields": fields}, timeout=TIMEOUT_SECONDS)
    except requests.ConnectionError as error:
        raise NotDone(
            "failure", f"Bitrix24 cannot be reached: {type(error).__name__}", retry_timeout=60_000
        ) from error
    if not response.ok:
        raise verdict(response)
    return {"bitrix_id": int(response.json()["result"]["task"]["id"])}


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
