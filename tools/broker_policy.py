"""How does the worker learn that a system rejected a message? By a policy of the broker, printed here.

Examples:
  python tools/broker_policy.py
  python tools/broker_policy.py --apply http://localhost:15672
  python tools/broker_policy.py --apply http://localhost:15672 \\
    --admin admin --admin-password-file /etc/admin

The policy dead-letters what a system rejects, or gives back too often, from the systems' queues to
camunda.rejected.queue, which the worker reads: the task fails within seconds, not only when its lock ends. It is
a policy since the arguments of a queue that exists cannot be changed. The tool prints commands for rabbitmqctl and
changes nothing; with --apply it sets the policies through the management API.

A queue obeys one policy only, that of the highest priority: where yours has other limits for these queues, add the
keys to it in place of this one.

Exit code: 0 done, 1 the API refuses, 2 wrong use.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # a script finds only what lies beside it

from bridge.contract import REJECTED_QUEUE
from bridge.routing import Routing
from bridge.texts import gettext
from config import Settings
from tools.lib.layout import say, show_command
from tools.lib.management import add_admin_options, admin_of, set_policy
from tools.lib.permissions import pattern_of
from tools.lib.toolbox import OK, PROBLEM, parser_of, run, show_json, start

DEAD_LETTERING: dict[str, Any] = {"dead-letter-exchange": "", "dead-letter-routing-key": REJECTED_QUEUE}
# RabbitMQ 4 has it by default, 3.x gives back for ever. A policy with a key that is not for classic queues does
# not apply to them at all (3.10), so quorum queues have one of their own.
DELIVERY_LIMIT: dict[str, Any] = {"delivery-limit": 20}


def main(argv: Sequence[str]) -> int:
    """Print or apply the policies."""
    parser = parser_of(__doc__)
    add_admin_options(parser, gettext("set the policies through the management API at this URL"))
    return run(_do, parser.parse_args(argv))


def _do(arguments: argparse.Namespace, settings: Settings) -> int:
    policies = policies_of(settings.routing(), settings.rabbitmq_queue_type)
    vhost = settings.rabbitmq_virtual_host
    if arguments.apply:
        return _apply(policies, arguments, settings)
    if arguments.json:
        show_json({"name": name, **policy} for name, policy in policies.items())
        return OK
    for name, policy in policies.items():
        command = ["rabbitmqctl", "set_policy", "-p", vhost, "--apply-to", policy["apply-to"], name]
        show_command([*command, policy["pattern"], json.dumps(policy["definition"])])
    return OK


def _apply(policies: Mapping[str, Any], arguments: argparse.Namespace, settings: Settings) -> int:
    code, done, admin = OK, gettext("is set"), admin_of(arguments, settings)
    for name, policy in policies.items():
        problem = set_policy(arguments.apply, admin, settings.rabbitmq_virtual_host, name, policy)
        say(f"{name}: {problem or done}")
        code = PROBLEM if problem else code
    return code


def policies_of(routing: Routing, queue_type: str) -> dict[str, dict[str, Any]]:
    """Return the policies for the queues of all systems by name, as the management API wants them."""
    kinds: dict[str, list[str]] = {}
    for system in routing.systems:
        kind = system.queue_arguments.get("x-queue-type", queue_type if system.declares_queue else "classic")
        kinds.setdefault("quorum" if kind == "quorum" else "other", []).append(system.queue)
    definitions = {
        "camunda-rejected": ("other", DEAD_LETTERING),
        "camunda-rejected-quorum": ("quorum", DEAD_LETTERING | DELIVERY_LIMIT),
    }
    return {
        name: {"pattern": pattern_of(kinds[kind]), "apply-to": "queues", "definition": definition, "priority": 0}
        for name, (kind, definition) in definitions.items()
        if kind in kinds
    }


if __name__ == "__main__":
    start(main)
