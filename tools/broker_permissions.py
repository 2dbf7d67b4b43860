"""Who may do what at the broker? The least rights of the worker's user and of each system's.

Examples:
  python tools/broker_permissions.py
  python tools/broker_permissions.py --json
  python tools/broker_permissions.py --apply http://localhost:15672
  python tools/broker_permissions.py --apply http://localhost:15672 \\
    --admin admin --admin-password-file /etc/admin

It prints the commands for rabbitmqctl and changes nothing. With --apply it gives these rights through the
management API, to users that exist: the worker's user (RABBITMQ_USERNAME) and one per system, of the system's name
or those that the routing file names in `users`. Who applies is an administrator: --admin, or RABBITMQ_USERNAME.
With RABBITMQ_TOPOLOGY=passive the worker gets only what it needs to publish and to read.

Exit code: 0 done, 1 a user does not exist or the API refuses, 2 wrong use.
"""

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # a script finds only what lies beside it

from bridge.process.shared import topology_of
from bridge.texts import gettext
from config import Settings
from tools.lib.layout import say, show_command
from tools.lib.management import add_admin_options, admin_of, give_rights
from tools.lib.permissions import Rights, rights_of_systems, rights_of_worker
from tools.lib.toolbox import OK, PROBLEM, parser_of, run, show_json, start


def main(argv: Sequence[str]) -> int:
    """Print or apply the rights; return 0 done, 1 where some could not be given."""
    parser = parser_of(__doc__)
    add_admin_options(parser, gettext("give the rights through the management API at this URL"))
    return run(_do, parser.parse_args(argv))


def _do(arguments: argparse.Namespace, settings: Settings) -> int:
    routing = settings.routing()
    rights = [
        rights_of_worker(settings.rabbitmq_username, topology_of(settings, routing)),
        *rights_of_systems(routing),
    ]
    if arguments.apply:
        return _apply(rights, arguments, settings)
    if arguments.json:
        show_json([{"user": one.user, **one.patterns} for one in rights])
    else:
        for one in rights:
            show_command(_command(one, settings.rabbitmq_virtual_host))
    return OK


def _command(rights: Rights, vhost: str) -> list[str]:
    return ["rabbitmqctl", "set_permissions", "-p", vhost, rights.user, *rights.patterns.values()]


def _apply(rights: Iterable[Rights], arguments: argparse.Namespace, settings: Settings) -> int:
    admin = admin_of(arguments, settings)
    code, done = OK, gettext("has its rights")
    for one in rights:
        problem = give_rights(arguments.apply, admin, settings.rabbitmq_virtual_host, one.user, one.patterns)
        say(f"{one.user}: {problem or done}")
        code = PROBLEM if problem else code
    return code


if __name__ == "__main__":
    start(main)
