"""Measures: python -m bench compare | backlog | ceiling | growth | ways | profile | latency | http."""

import argparse
import signal
import sys
from collections.abc import Sequence

from bench import backlog, ceiling, compare, growth, http_clients, latency, profiles, ways
from sandbox.errors import SandboxError


def main(argv: Sequence[str]) -> int:
    """Runs one measurement; returns 0, 1 if something was lost or could not be measured, 2 for wrong use."""
    parser = argparse.ArgumentParser(
        prog="./run bench", description="Measures the worker, other bridges or HTTP clients."
    )
    commands = parser.add_subparsers(
        required=True, metavar="compare|backlog|ceiling|growth|ways|profile|latency|http"
    )
    for measurement, name in (
        (compare, "compare"),
        (backlog, "backlog"),
        (ceiling, "ceiling"),
        (growth, "growth"),
        (ways, "ways"),
        (profiles, "profile"),
        (latency, "latency"),
        (http_clients, "http"),
    ):
        command = commands.add_parser(name, help=measurement.__doc__, description=measurement.__doc__)
        measurement.add_options(command)
        command.set_defaults(measure=measurement.measure)
    options = parser.parse_args(argv)
    # A SIGTERM unwinds like Ctrl-C, so that whatever was started is cleaned up.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        exit_code: int = options.measure(options)
    except SandboxError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return exit_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
