"""The `.env` file: what is wrong with it is said with its line, since a line that is not read means something."""

import difflib
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from dotenv.parser import Binding, parse_stream

from bridge.errors import SettingsError

MEANT = 0.85  # so similar is a name to one of ours that it was meant, whatever it begins with
EXAMPLE_VALUES = {
    "CAMUNDA_BASE_URL": ("https://camunda.example.com/engine-rest", "https://your-camunda-server.com/engine-rest"),
    "CAMUNDA_AUTH_USERNAME": ("your_username",),
    "CAMUNDA_AUTH_PASSWORD": ("your_password",),
    "RABBITMQ_HOST": ("your-rabbitmq-host.com",),
    "RABBITMQ_USERNAME": ("your_username",),
    "RABBITMQ_PASSWORD": ("your_password",),
}


def check(path: Path, known: Collection[str], prefixes: Iterable[str]) -> None:
    """Raise SettingsError for lines that cannot be read, names that are no setting, and values of the example.

    `known`: the settings' names; `prefixes`: what names of ours begin with. Names of others are left alone.
    """
    problems = [
        f"line {binding.original.line}: {problem}"
        for binding in _bindings(path)
        if (problem := _problem(binding, known, tuple(prefixes)))
    ]
    if problems:
        raise SettingsError(f"{path}, {'; '.join(problems)}")


def _bindings(path: Path) -> Iterator[Binding]:
    try:
        with path.open(encoding="utf-8-sig") as file:
            yield from parse_stream(file)
    except FileNotFoundError:
        return  # the environment may say all
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"cannot read {path}: {error}") from error


def _problem(binding: Binding, known: Collection[str], prefixes: tuple[str, ...]) -> str:
    if binding.error:
        return "it cannot be read; is a quote missing?"
    name = binding.key or ""
    if name in known:
        is_example = binding.value in EXAMPLE_VALUES.get(name, ())
        return f"{name} still has the value of the example" if is_example else ""
    is_ours = name.startswith(prefixes) or difflib.get_close_matches(name, known, n=1, cutoff=MEANT)
    return unknown_name(name, known) if is_ours else ""


def unknown_name(name: str, known: Collection[str]) -> str:
    """Return a sentence on a name that looks like a setting of ours and is none."""
    nearest = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {nearest[0]}?" if nearest else ""
    return f"{name} is not a setting of this worker{hint}"
