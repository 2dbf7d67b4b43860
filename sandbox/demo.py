"""The whole job on a real engine, a real broker and sample systems; ends with a table per system."""

import argparse
import signal
import sys
from collections.abc import Sequence

_EXIT_INTERRUPTED = 130


def main(argv: Sequence[str]) -> int:
    """Plays the demo; returns 0 if every instance ended as it should, 1 if not, 2 for wrong use."""
    instances = _instances(argv)
    # Until there is something to clean up a signal simply ends the process: no traceback out of an import.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from sandbox.demo_play import play
    from sandbox.errors import SandboxError

    try:
        _interrupt_on(signal.SIGINT, signal.SIGTERM)
        return play(instances)
    except SandboxError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ndemo: interrupted; all that it started has ended", file=sys.stderr)
        return _EXIT_INTERRUPTED


def _interrupt_on(*numbers: signal.Signals) -> None:
    """Lets a signal unwind like Ctrl-C, so that whatever was started is cleaned up."""
    for number in numbers:
        signal.signal(number, signal.default_int_handler)


def _instances(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="./run demo", description=__doc__)
    parser.add_argument("--instances", type=_positive, default=300, help="how many to start (default 300)")
    instances: int = parser.parse_args(argv).instances
    return instances


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
