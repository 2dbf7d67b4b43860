"""Keeps a sandbox in the background: python -m sandbox up | down | status."""

import argparse
import signal
import sys
from collections.abc import Sequence

from sandbox import keeper
from sandbox.errors import SandboxError


def main(argv: Sequence[str]) -> int:
    """Does one command; returns the exit code: 0 done, 1 not, 2 wrong use."""
    parser = argparse.ArgumentParser(prog="python -m sandbox", description=__doc__)
    commands = {"up": keeper.up, "down": keeper.down, "status": keeper.status, "keep": keeper.keep}
    # `keep` is the background process itself: `up` starts it, nobody types it.
    parser.add_argument("command", choices=commands, metavar="up|down|status")
    command = commands[parser.parse_args(argv).command]
    # A SIGTERM unwinds like Ctrl-C, so that whatever was started is cleaned up.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return command()
    except SandboxError as error:
        print(f"sandbox: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
