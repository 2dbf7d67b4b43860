"""The command line of the programs: they have no option but those that tell of them."""

import argparse
from collections.abc import Sequence

from bridge.metrics import VERSION

EPILOG = (
    "All settings come from the environment or from .env beside the program (see config.env.example). "
    "Ends with 0 after a signal, 78 where a setting is wrong, 1 after a crash."
)


def parse_arguments(argv: Sequence[str], description: str | None) -> None:
    """Answer --help and --version, and refuse whatever else is there; then the process ends."""
    parser = argparse.ArgumentParser(description=description, epilog=EPILOG)
    parser.add_argument("--version", action="version", version=VERSION)
    parser.parse_args(argv)
