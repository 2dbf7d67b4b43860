"""What a POST costs a Python process in CPU time, by client: keep-alive, 200 bytes, answer 204."""

import http.client
import os
import subprocess
import sys
import threading
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median

import requests
import urllib3
from rich import box
from rich.console import Console
from rich.table import Table

from bridge.engine.http import Http
from bridge.engine.login import Login

_BODY = b'{"workerId":"universal-worker","variables":{"note":{"value":"%s","type":"String"}}}' % (b"x" * 118)
_HEADERS = {"Content-Type": "application/json"}
_PATH = "/engine-rest/external-task/5f2c1e0a-e7a5-11f1-af2b-02fc00000001/complete"
_TIMEOUT_SECONDS = 30
_WARM_POSTS = 20
_NO_CONTENT = 204

Post = Callable[[], int]  # does one POST and returns the status


def add_options(parser: ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("--rounds", type=int, default=5, help="rounds, the clients in turn in each (default 5)")
    parser.add_argument("--posts", type=int, default=2000, help="POSTs per client and round (default 2000)")
    parser.add_argument("--threads", type=int, default=8, help="threads, each with a client (default 8)")


def measure(options: Namespace) -> int:
    """Measures and prints."""
    _forget_proxies()
    costs: dict[str, list[float]] = {name: [] for name in CLIENTS}
    with _server() as port:
        for number in range(1, options.rounds + 1):
            print(f"bench: round {number} of {options.rounds}", flush=True)
            for name, connect in CLIENTS.items():
                costs[name].append(_cost(partial(connect, port), options.posts, options.threads))
    _print(costs)
    return 0


def _without_session(port: int) -> Post:
    url = f"http://127.0.0.1:{port}{_PATH}"
    return lambda: requests.post(url, data=_BODY, headers=_HEADERS, timeout=_TIMEOUT_SECONDS).status_code


def _session(port: int) -> Post:
    url = f"http://127.0.0.1:{port}{_PATH}"
    session = requests.Session()
    return lambda: session.post(url, data=_BODY, headers=_HEADERS, timeout=_TIMEOUT_SECONDS).status_code


def _urllib3(port: int) -> Post:
    url = f"http://127.0.0.1:{port}{_PATH}"
    pool = urllib3.PoolManager(timeout=_TIMEOUT_SECONDS)
    return lambda: pool.request("POST", url, body=_BODY, headers=_HEADERS).status


def _http_client(port: int) -> Post:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_SECONDS)

    def post() -> int:
        connection.request("POST", _PATH, _BODY, _HEADERS)
        response = connection.getresponse()
        response.read()
        return response.status

    return post


def _pycurl(port: int) -> Post:
    client = Http(f"http://127.0.0.1:{port}", Login(None))  # the worker's own door to the engine
    return lambda: client.send("POST", _PATH, _BODY, timeout_seconds=_TIMEOUT_SECONDS).status


CLIENTS: dict[str, Callable[[int], Post]] = {
    "requests without a session": _without_session,
    "requests.Session": _session,
    "urllib3": _urllib3,
    "http.client": _http_client,
    "pycurl (bridge/engine)": _pycurl,
}
_YARDSTICK = "pycurl (bridge/engine)"


def _cost(connect: Callable[[], Post], posts: int, thread_count: int) -> float:
    """Returns microseconds of this process's CPU time per POST, connections made before."""
    gate = threading.Barrier(thread_count + 1)
    share = posts // thread_count

    def work() -> None:
        post = connect()
        _repeat(post, _WARM_POSTS)
        gate.wait()
        gate.wait()
        _repeat(post, share)
        gate.wait()

    threads = [threading.Thread(target=work, daemon=True) for _ in range(thread_count)]
    for thread in threads:
        thread.start()
    gate.wait()
    begun = time.process_time()
    gate.wait()
    gate.wait()
    spent = time.process_time() - begun
    for thread in threads:
        thread.join()
    return spent / (share * thread_count) * 1e6


def _repeat(post: Post, count: int) -> None:
    for _ in range(count):
        status = post()
        if status != _NO_CONTENT:
            raise RuntimeError(f"the stand-in answered {status}")


@contextmanager
def _server() -> Iterator[int]:
    """Runs the stand-in in a process of its own; gives its port."""
    with subprocess.Popen(
        [sys.executable, "-m", "bench.http_server"],
        cwd=Path(__file__).resolve().parent.parent,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is for this process; the server ends when its standard input does
    ) as server:
        assert server.stdout is not None
        yield int(server.stdout.readline())


def _forget_proxies() -> None:
    """A proxy has no business on the loopback interface."""
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        del os.environ[name]


def _print(costs: dict[str, list[float]]) -> None:
    table = Table(title="CPU time of the client's process per POST", box=box.SIMPLE_HEAD)
    table.add_column("client", no_wrap=True)
    for heading in ("median µs", "lowest", "highest", "times pycurl"):
        table.add_column(heading, justify="right")
    yardstick = median(costs[_YARDSTICK])
    for name, values in costs.items():
        figures = (median(values), min(values), max(values))
        table.add_row(name, *(f"{figure:.0f}" for figure in figures), f"{median(values) / yardstick:.1f}")
    Console().print(table, highlight=False)
