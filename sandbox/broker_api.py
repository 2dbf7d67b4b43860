"""The broker's management API, as far as demo and tests need it."""

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import requests

from sandbox.errors import SandboxError

_TIMEOUT_SECONDS = 30
_LOOKS, _LOOK_AGAIN_SECONDS = 20, 0.25


@dataclass(frozen=True)
class QueueState:
    """How many messages a queue holds now: ready for a consumer, and delivered but not acknowledged."""

    name: str
    ready: int
    unacked: int


class BrokerApi:
    """Calls of the management API; safe to use from several threads."""

    def __init__(self, url: str, username: str, password: str) -> None:
        """Takes the base URL, such as http://127.0.0.1:15672/api; connects on the first call."""
        self._url = url
        self._login = (username, password)
        self._local = threading.local()

    def answers(self) -> bool:
        """Says whether the API answers."""
        try:
            self.request("GET", "/vhosts")
        except SandboxError:
            return False
        return True

    def add_vhost(self, name: str) -> None:
        """Makes a vhost in which the sandbox's user may do everything."""
        self.request("PUT", f"/vhosts/{_quoted(name)}")

    def delete_vhost(self, name: str) -> None:
        """Removes a vhost with all that is in it; its connections are closed."""
        self.request("DELETE", f"/vhosts/{_quoted(name)}")

    def add_user(self, name: str, password: str) -> None:
        """Makes a user without any permission."""
        self.request("PUT", f"/users/{_quoted(name)}", {"password": password, "tags": ""})

    def set_permissions(
        self, user: str, vhost: str, *, configure: str = ".*", write: str = ".*", read: str = ".*"
    ) -> None:
        """Lets a user into a vhost; the three are regular expressions of names."""
        body = {"configure": configure, "write": write, "read": read}
        self.request("PUT", f"/permissions/{_quoted(vhost)}/{_quoted(user)}", body)

    def remove_permissions(self, user: str, vhost: str) -> None:
        """Lets a user into a vhost no more."""
        self.request("DELETE", f"/permissions/{_quoted(vhost)}/{_quoted(user)}")

    def declare_queue(self, vhost: str, name: str, arguments: Mapping[str, object]) -> None:
        """Makes a durable queue without bindings."""
        body = {"durable": True, "arguments": dict(arguments)}
        self.request("PUT", f"/queues/{_quoted(vhost)}/{_quoted(name)}", body)

    def delete_queue(self, vhost: str, name: str) -> None:
        """Removes a queue with its messages and bindings; its consumers are cancelled."""
        self.request("DELETE", f"/queues/{_quoted(vhost)}/{_quoted(name)}")

    def delete_exchange(self, vhost: str, name: str) -> None:
        """Removes an exchange with its bindings."""
        self.request("DELETE", f"/exchanges/{_quoted(vhost)}/{_quoted(name)}")

    def set_policy(self, vhost: str, name: str, pattern: str, definition: Mapping[str, object]) -> None:
        """Sets what holds for all queues whose names match the pattern."""
        body = {"pattern": pattern, "definition": dict(definition), "apply-to": "queues"}
        self.request("PUT", f"/policies/{_quoted(vhost)}/{_quoted(name)}", body)

    def queues(self, vhost: str) -> dict[str, QueueState]:
        """Returns the state of each queue of a vhost by its name.

        RabbitMQ leaves out what does not tell it within 1 s (`rabbit_amqqueue:wait_for_queues`): on a busy machine
        one that exists may be missing.
        """
        path = f"/queues/{_quoted(vhost)}?disable_stats=true&enable_queue_totals=true"
        return {row["name"]: _queue_state(row) for row in self.request("GET", path)}

    def queue(self, vhost: str, name: str) -> QueueState:
        """Returns the state of a queue that is there; raises SandboxError if it is not."""
        for _ in range(_LOOKS):
            if state := self.queues(vhost).get(name):
                return state
            time.sleep(_LOOK_AGAIN_SECONDS)
        raise SandboxError(f"the broker names no queue {name} in vhost {vhost}")

    def request(self, method: str, path: str, body: object = None) -> Any:
        """Does one call and returns the decoded answer, None where there is none."""
        try:
            response = self._session().request(
                method, self._url + path, json=body, auth=self._login, timeout=_TIMEOUT_SECONDS
            )
        except requests.RequestException as error:
            raise SandboxError(f"the broker's management API does not answer: {error}") from error
        if not response.ok:
            raise SandboxError(f"{method} {path}: {response.status_code} {response.text[:500]}")
        return response.json() if response.content else None

    def _session(self) -> requests.Session:
        if not hasattr(self._local, "session"):
            self._local.session = requests.Session()
            self._local.session.trust_env = False  # a proxy has no business on the loopback interface
        session: requests.Session = self._local.session
        return session


def _quoted(name: str) -> str:
    return quote(name, safe="")


def _queue_state(row: dict[str, Any]) -> QueueState:
    return QueueState(row["name"], row.get("messages_ready", 0), row.get("messages_unacknowledged", 0))
