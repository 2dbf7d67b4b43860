"""The engine's ceiling: fetches tasks and completes them directly, without a broker, as cheaply as Python can."""

import json
import sys
import threading
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from queue import SimpleQueue

from bridge.engine.http import Http
from bridge.engine.login import Login

_WORKER_ID = "bench-direct"
_BATCH = 100
_THREADS = 8
_LOCK_MS = 600_000
_WAIT_MS = 500  # the engine goes on with a poll whose caller was killed: a short one ends soon
_CALL_SECONDS = 60.0
_PAUSE_SECONDS = 0.005
_COMPLETION = {  # what the echo answers
    "workerId": _WORKER_ID,
    "variables": {"result": {"value": "ok", "type": "String"}, "handled": {"value": True, "type": "Boolean"}},
}


def main() -> None:
    """Works until it is killed."""
    options = _options()
    http = Http(options.url, Login(None))
    tasks: SimpleQueue[str] = SimpleQueue()
    for number in range(_THREADS):
        threading.Thread(target=_complete, args=(http, tasks), name=f"complete-{number}", daemon=True).start()
    pause = threading.Event()
    body = _fetch_body(options.topics.split(","))
    while True:
        # Only a batch ahead: no thread waits for work, and what is completed does not wait for what is fetched.
        while tasks.qsize() > _BATCH:
            pause.wait(_PAUSE_SECONDS)
        for task in _fetch(http, body):
            tasks.put(task)


def _fetch(http: Http, body: bytes) -> list[str]:
    reply = http.send("POST", "/external-task/fetchAndLock", body, timeout_seconds=_CALL_SECONDS)
    return [row["id"] for row in json.loads(reply.body)]


def _complete(http: Http, tasks: SimpleQueue[str]) -> None:
    body = json.dumps(_COMPLETION).encode()
    while True:
        task = tasks.get()
        reply = http.send("POST", f"/external-task/{task}/complete", body, timeout_seconds=_CALL_SECONDS)
        if reply.status != 204:
            print(f"{task}: {reply.status} {reply.body[:200]!r}", file=sys.stderr, flush=True)


def _fetch_body(topics: Sequence[str]) -> bytes:
    wanted = [{"topicName": topic, "lockDuration": _LOCK_MS, "deserializeValues": False} for topic in topics]
    request = {
        "workerId": _WORKER_ID,
        "maxTasks": _BATCH,
        "usePriority": True,
        "asyncResponseTimeout": _WAIT_MS,
        "topics": wanted,
    }
    return json.dumps(request).encode()


def _options() -> Namespace:
    parser = ArgumentParser(prog="python -m bench.direct", description=__doc__)
    parser.add_argument("--url", required=True, help="the engine's REST API")
    parser.add_argument("--topics", required=True, help="the topics to serve, separated by commas")
    return parser.parse_args()


if __name__ == "__main__":
    main()
