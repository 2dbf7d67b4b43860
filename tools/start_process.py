"""Start a process, once or many times, with variables and a business key.

Examples:
  python tools/start_process.py one_c_sync
  python tools/start_process.py email --variables '{"attempts": 3}'
  python tools/start_process.py email --variables variables.json \\
    --business-key "order 7"
  python tools/start_process.py bitrix24_task --count 200 \\
    --business-key load

Variables are a JSON object, given directly or as a file; a value may be bare (its type is inferred) or an envelope
such as {"value": 3, "type": "Long"}. With --count above 1 the business key gets a number: load-1, load-2 ...

Exit code: 0 started, 1 not (all), 2 wrong use.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # a script finds only what lies beside it

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from bridge import clock
from bridge.contract import Variables
from bridge.contract.variables import typed
from bridge.errors import Unprocessable
from bridge.texts import gettext, translated
from config import Settings
from tools.lib.inspection import Inspection
from tools.lib.layout import say
from tools.lib.operations import Operations
from tools.lib.toolbox import OK, parser_of, positive, rest_of, run, show_json, start


def main(argv: Sequence[str]) -> int:
    """Start what was asked for."""
    parser = parser_of(__doc__)
    parser.add_argument("key", help=gettext("the process's key (its id in the BPMN file)"))
    variables = gettext("JSON object, or a file")
    parser.add_argument("--variables", type=read_variables, default={}, metavar="JSON", help=variables)
    parser.add_argument("--business-key", metavar="TEXT", help=gettext("what the business calls the instance"))
    parser.add_argument("--count", type=positive, default=1, help=gettext("how many instances (1)"))
    return run(_start, parser.parse_args(argv))


def read_variables(text: str) -> dict[str, Any]:
    """Return the variables of the option: a JSON object, or the name of a file that holds one."""
    content, place = text, gettext("the text")
    if not text.lstrip().startswith(("{", "[")):
        content, place = _read(text), text
    try:
        variables = json.loads(content)
    except (ValueError, RecursionError) as error:
        refusal = gettext("{place} is not JSON: {error}").format(place=place, error=error)
        raise argparse.ArgumentTypeError(refusal) from error
    if not isinstance(variables, dict):
        refusal = gettext('{place} is not a JSON object such as {{"name": "value"}}').format(place=place)
        raise argparse.ArgumentTypeError(refusal)
    return variables


def _read(name: str) -> str:
    try:
        return Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError, ValueError) as error:
        refusal = gettext("{name!r} is no JSON object and no file that can be read").format(name=name)
        raise argparse.ArgumentTypeError(refusal) from error


def business_keys(key: str | None, count: int) -> list[str | None]:
    """Return a business key for each instance, numbered where there are several."""
    if key is None or count == 1:
        return [key] * count
    return [f"{key}-{number}" for number in range(1, count + 1)]


def _start(arguments: argparse.Namespace, settings: Settings) -> int:
    rest = rest_of(settings)
    variables = _typed(arguments.variables, Inspection(rest))
    keys = business_keys(arguments.business_key, arguments.count)
    began, started = clock.now(), 0
    try:
        for row in _started(Operations(rest), arguments.key, variables, keys):
            started += 1
            if arguments.json:
                show_json([row])
            elif arguments.count == 1:
                text = gettext("started {key}: instance {instance}")
                say(text.format(key=arguments.key, instance=row["instance"]))
    finally:  # also where it ends early, it is told how far it came
        if arguments.count > 1 and not arguments.json:
            text = gettext("started {started} of {number} {key} in {seconds:.1f} s")
            values = {"started": started, "number": arguments.count, "key": arguments.key}
            say(text.format(seconds=clock.now() - began, **values))
    return OK


def _typed(values: dict[str, Any], inspection: Inspection) -> Variables:
    """Return the variables in envelopes; an engine without the Spin plugin gets objects as text."""
    has_objects = any(isinstance(value, dict | list) for value in values.values())
    return typed(values, "Json" if not has_objects or inspection.knows_json() else "String")


def _started(
    operations: Operations, key: str, variables: Variables, business_keys: Sequence[str | None]
) -> Iterator[dict[str, str | None]]:
    """Start an instance for each business key and yield it, with a bar where there are several."""
    columns = (TextColumn(gettext("starting")), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=len(business_keys) == 1) as progress:
        for business_key in progress.track(business_keys):
            yield {"instance": _instance(operations, key, variables, business_key), "business_key": business_key}


def _instance(operations: Operations, key: str, variables: Variables, business_key: str | None) -> str:
    try:
        return operations.start(key, variables, business_key)
    except Unprocessable as error:
        if "No matching process definition" in error.detail:
            hint = gettext("python tools/camunda_processes.py --stats lists the keys")
            raise Unprocessable(error.reason, f"{translated(error.detail)}; {hint}") from error
        raise


if __name__ == "__main__":
    start(main)
