"""Runs both components in one process."""

import sys

from bridge.process import parse_arguments, run
from camunda_worker import worker_services
from config import worker_settings
from response_handler import handler_services


def main(argv: list[str]) -> int:
    """Run the worker and the response handler until a signal; return the process's exit code."""
    parse_arguments(argv, "Carries the external tasks of a Camunda engine to RabbitMQ, and the answers back.")
    return run(worker_settings, worker=worker_services, handler=handler_services)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
