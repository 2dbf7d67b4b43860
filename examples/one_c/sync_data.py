"""Brings a counterparty into 1C for each `1c_sync_data`, by OData: variables `code` and `name`."""

import os
import sys
from pathlib import Path
from typing import Any

import requests
from requests.auth import HTTPBasicAuth

sys.path.append(str(Path(__file__).resolve().parents[1]))

from careful import Answer, NotDone, Task, serve

TIMEOUT_SECONDS = 120
ENTITY = "Catalog_Контрагенты"


def sync_data(task: Task) -> Answer:
    """Creates the counterparty unless one has its code, and tells the process its reference."""
    code, name = str(task.variables.get("code") or ""), str(task.variables.get("name") or "")
    if not code:
        raise NotDone("failure", "the variable code is missing", retries=0)
    found = find(code)
    if found:
        return {"ref_key": found[0]["Ref_Key"], "created": False}
    created = call("POST", {}, {"Code": code, "Description": name})
    return {"ref_key": created["Ref_Key"], "created": True}


def find(code: str) -> list[dict[str, Any]]:
    """Looks first: a call whose answer was lost has created it all the same."""
    quoted = code.replace("'", "''")
    rows: list[dict[str, Any]] = call("GET", {"$filter": f"Code eq '{quoted}'", "$top": "1"})["value"]
    return rows


def call(method: str, query: dict[str, str], body: dict[str, str] | None = None) -> dict[str, Any]:
    """Does one call of the OData service and returns its answer."""
    url = f"{os.environ['ONE_C_URL'].rstrip('/')}/odata/standard.odata/{ENTITY}"
    user, password = os.environ["ONE_C_USERNAME"], os.environ["ONE_C_PASSWORD"]
    login = HTTPBasicAuth(user.encode(), password.encode())  # bytes: names may be Russian
    query = {**query, "$format": "json"}
    try:
        response = requests.request(method, url, params=query, json=body, auth=login, timeout=TIMEOUT_SECONDS)
    except requests.ConnectionError as error:
        raise NotDone("failure", f"1C cannot be reached: {error}") from error
    if not response.ok:
        raise verdict(response)
    answer: dict[str, Any] = response.json()
    return answer


def verdict(response: requests.Response) -> NotDone:
    """An error of the server passes (a lock, an update of the base); what 1C does not like stays."""
    why = f"1C answers {response.status_code} {response.text[:500]}"
    if response.status_code >= 500:
        return NotDone("failure", why)
    return NotDone("failure", why, retries=0)


if __name__ == "__main__":
    serve("1c.queue", {"1c_sync_data": sync_data})
