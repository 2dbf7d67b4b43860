"""What a way to connect costs: TLS to the broker, and quorum queues, beside a plain connection to classic ones."""

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import trustme
from rich import box
from rich.console import Console
from rich.table import Table

from bench.circuit import Servers
from bench.drain import Drained
from bench.figures import ratios, shown, spread_of
from bench.growth import drain_case
from bench.growth_cases import Case
from sandbox.broker import TlsFiles
from sandbox.runs import Run

_PLAIN, _TLS, _QUORUM = "plain", "TLS", "quorum queues"
_WAYS = (_PLAIN, _TLS, _QUORUM)
_FIGURES = {"tasks/s": "tasks_per_s", "worker µs/task": "worker_us", "broker µs/task": "broker_us"}
_NAME = "localhost"
_WIDTH = 170  # a table that goes to a file is not cut to 80 columns

Rounds = dict[int, Drained]  # by the number of the round


def add_options(parser: ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("--tasks", type=int, default=10_000, help="tasks of a round (default 10000)")
    parser.add_argument("--rounds", type=int, default=7, help="rounds, the ways in turn (default 7)")


def measure(options: Namespace) -> int:
    """Measures and prints; returns 1 if anything was lost or doubled."""
    results: dict[str, Rounds] = {way: {} for way in _WAYS}
    with ExitStack() as exit_stack:
        cases = {}
        for way in _WAYS:  # each on a broker of its own: a classic queue cannot become a quorum one
            run = exit_stack.enter_context(Run())
            files = _tls_files(run.folder)
            servers = Servers(run, tls=files).start()
            cases[way] = servers, Case(tasks=options.tasks, settings=_settings(way, servers, files))
        for number in range(1, options.rounds + 1):
            for way in _WAYS if number % 2 else _WAYS[::-1]:
                result = results[way][number] = drain_case(*cases[way])
                print(
                    f"bench: round {number} of {options.rounds}: {way}: {result.tasks_per_s:.0f} tasks/s",
                    flush=True,
                )
    _print(results)
    return 0 if all(result.is_right for rounds in results.values() for result in rounds.values()) else 1


def _tls_files(folder: Path) -> TlsFiles:
    """Makes a CA and a certificate, which the broker and the worker both show."""
    authority = trustme.CA()
    issued = authority.issue_cert(_NAME)  # the broker refuses a client whose certificate is for an address
    files = TlsFiles(folder / "ca.pem", folder / "host.pem", folder / "host.key")
    authority.cert_pem.write_to_path(files.ca)
    issued.cert_chain_pems[0].write_to_path(files.certificate)
    issued.private_key_pem.write_to_path(files.key)
    return files


def _settings(way: str, servers: Servers, files: TlsFiles) -> dict[str, str]:
    if way == _QUORUM:
        return {"RABBITMQ_QUEUE_TYPE": "quorum"}
    if way == _PLAIN:
        return {}
    return {
        "RABBITMQ_TLS": "true",
        "RABBITMQ_PORT": str(servers.broker.tls_port),
        "RABBITMQ_TLS_SERVER_NAME": _NAME,
        "RABBITMQ_CA_FILE": str(files.ca),
        "RABBITMQ_CLIENT_CERT_FILE": str(files.certificate),
        "RABBITMQ_CLIENT_KEY_FILE": str(files.key),
    }


def _print(results: Mapping[str, Rounds]) -> None:
    table = Table(box=box.SIMPLE_HEAD)
    for heading in ("", *(part for figure in _FIGURES for part in (figure, f"x {_PLAIN}")), "lost", "doubled"):
        table.add_column(heading, justify="right", no_wrap=True)
    for way, rounds in results.items():
        cells = []
        for figure in _FIGURES.values():
            mine, plain = (
                {n: getattr(one, figure) for n, one in results[which].items()} for which in (way, _PLAIN)
            )
            cells += [shown(spread_of(mine.values()), 0), shown(spread_of(ratios(mine, plain)), 2)]
        wrong = [sum(getattr(result, name) for result in rounds.values()) for name in ("lost", "doubled")]
        table.add_row(way, *cells, *map(str, wrong))
    console = Console()
    console.width = max(console.width, _WIDTH)
    console.print(table, highlight=False)
    print("Median (lowest-highest) of the rounds; a ratio is taken within each round. µs: CPU time per task.")
