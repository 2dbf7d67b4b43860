"""The house rules that a program can check: imports go down only, and each outside thing has one door."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LAYERS = [
    {"main", "tools"},
    {"assembly"},
    {"daemon"},
    {"camunda_worker", "response_handler", "status"},
    {"undelivered"},
    {
        "alarms",
        "delivery_gate",
        "held_task",
        "narrowing",
        "answer_calls",
        "answers_in_hand",
        "detours",
        "engine_gate",
    },
    {"monitoring"},
    {"topics", "backlogs", "polls", "leases", "unknown_keys"},
    {"camunda_client", "rabbitmq_client"},
    {"pauses"},
    {"messages", "config", "backoff"},
    {"routing_file"},
    {"errors", "heartbeats", "metrics", "service_manager"},
    {"clock"},
]
LAYER_OF = {name: layer for layer, names in enumerate(LAYERS) for name in names}
DOORS = {"pika": "rabbitmq_client", "pycurl": "camunda_client"}
ENVIRONMENT = {"os.environ", "os.environb", "os.getenv", "os.getenvb", "os.putenv", "os.unsetenv"}
CLOCKS = {"time.monotonic", "concurrent.futures.ThreadPoolExecutor"}
NO_PRODUCT = {"tests", "sandbox", "bench", "examples", "docs"}
SLEEPERS = {"tests", "sandbox"}
CATCH_ALL = {"Exception", "BaseException"}


class Source:
    """One file of ours: what it imports, what it uses by full name, where it catches everything."""

    def __init__(self, path: str, text: str) -> None:
        self.path = path
        self.module = Path(path).parts[0].removesuffix(".py")
        self._nodes = list(_nodes_of(ast.parse(text, path)))
        self._names = dict(self._bindings())

    def imports(self) -> Iterator[tuple[int, str]]:
        """Yield the line and the full name of each import; a relative one stays inside its package."""
        for node in self._nodes:
            if isinstance(node, ast.Import):
                yield from ((node.lineno, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)

    def uses(self) -> Iterator[tuple[int, str]]:
        """Yield the line and the full name (`time.sleep`) of each import and of each attribute of a module."""
        yield from self.imports()
        for node in self._nodes:
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                yield node.lineno, f"{self._names.get(node.value.id, '?')}.{node.attr}"

    def catch_alls(self) -> Iterator[int]:
        """Yield the line of each `except` that catches everything."""
        for node in self._nodes:
            if isinstance(node, ast.ExceptHandler) and (node.type is None or _names_in(node.type) & CATCH_ALL):
                yield node.lineno

    def _bindings(self) -> Iterator[tuple[str, str]]:
        for node in self._nodes:
            if isinstance(node, ast.Import):
                yield from ((alias.asname or alias.name, alias.name) for alias in node.names)


def _nodes_of(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield all nodes but those of an `if __name__ == "__main__":` block."""
    for child in ast.iter_child_nodes(tree):
        if not (isinstance(child, ast.If) and ast.unparse(child.test) == "__name__ == '__main__'"):
            yield child
            yield from _nodes_of(child)


def _names_in(expression: ast.expr) -> set[str]:
    return {node.id for node in ast.walk(expression) if isinstance(node, ast.Name)}


def wrong_imports(sources: list[Source]) -> list[str]:
    """Return what breaks the rule that imports go down only."""
    ours = set(LAYER_OF) | NO_PRODUCT | {source.module for source in sources}
    return [
        f"{source.path}:{line}: {source.module} must not import {target}"
        for source in sources
        for line, name in source.imports()
        if (target := name.split(".")[0]) in ours and not is_allowed(source.module, target)
    ]


def is_allowed(module: str, target: str) -> bool:
    if module not in LAYER_OF or target not in LAYER_OF:
        return False
    return module == target or LAYER_OF[module] < LAYER_OF[target]


def wrong_doors(sources: list[Source]) -> list[str]:
    """Return the imports of an outside library that do not stand in its one door."""
    return [
        f"{source.path}:{line}: {library} is for {DOORS[library]} alone"
        for source in sources
        for line, name in source.imports()
        if (library := name.split(".")[0]) in DOORS and source.module != DOORS[library]
    ]


def environment_readers(sources: list[Source]) -> list[str]:
    return [
        f"{source.path}:{line}: {name} is for config alone"
        for source in sources
        for line, name in source.uses()
        if name in ENVIRONMENT and source.module != "config"
    ]


def sleepers(sources: list[Source]) -> list[str]:
    return [
        f"{source.path}:{line}: {name}"
        for source in sources
        for line, name in source.uses()
        if name == "time.sleep"
    ]


def clock_readers(sources: list[Source]) -> list[str]:
    return [
        f"{source.path}:{line}: {name} is for clock alone"
        for source in sources
        for line, name in source.uses()
        if name in CLOCKS and source.module != "clock"
    ]


def catch_alls(sources: list[Source]) -> list[str]:
    return [f"{source.path}:{line}" for source in sources for line in source.catch_alls()]


def all_sources() -> list[Source]:
    """Return every Python file of the repository; folders that begin with a dot are not ours."""
    files = [*ROOT.glob("*.py"), *ROOT.glob("[!.]*/**/*.py")]
    paths = sorted(file.relative_to(ROOT).as_posix() for file in files)
    return [Source(path, (ROOT / path).read_text(encoding="utf-8")) for path in paths]


@pytest.fixture(scope="module")
def everything() -> list[Source]:
    return all_sources()


@pytest.fixture(scope="module")
def product(everything: list[Source]) -> list[Source]:
    return [source for source in everything if source.module not in NO_PRODUCT]


def test_the_product_is_found(product: list[Source]) -> None:
    assert {"main", "config", "errors", "camunda_client", "rabbitmq_client"} <= {
        source.module for source in product
    }


def test_each_module_of_the_product_has_its_layer(product: list[Source]) -> None:
    unknown = {source.module for source in product} - LAYER_OF.keys()

    assert unknown == set(), f"say in LAYERS where it belongs: {unknown}"


def test_imports_go_down_only(product: list[Source]) -> None:
    assert wrong_imports(product) == []


def test_pika_and_pycurl_have_one_door_each(product: list[Source]) -> None:
    assert wrong_doors(product) == []


def test_only_config_reads_the_environment(product: list[Source]) -> None:
    assert environment_readers(product) == []


def test_time_has_one_door(product: list[Source]) -> None:
    assert clock_readers(product) == []


def test_nothing_sleeps_where_it_cannot_be_stopped(everything: list[Source]) -> None:
    assert sleepers([source for source in everything if source.module not in SLEEPERS]) == []


def test_only_the_daemon_catches_everything_and_only_once(product: list[Source]) -> None:
    assert [re.sub(r":\d+$", "", place) for place in catch_alls(product)] == ["daemon.py"]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("errors.py", "import messages"),
        ("messages.py", "from camunda_client import CamundaClient"),
        ("routing_file.py", "import config"),
        ("camunda_client/client.py", "import rabbitmq_client.publisher"),
        ("rabbitmq_client/publisher.py", "def f():\n    from topics import Topics"),
        ("camunda_worker.py", "import response_handler"),
        ("response_handler.py", "if TYPE_CHECKING:\n    from camunda_worker import CamundaWorker"),
        ("topics.py", "import main as m"),
        ("monitoring.py", "import camunda_worker"),
        ("main.py", "from tools import check_queues"),
        ("main.py", "from sandbox.sandbox import Sandbox"),
        ("config.py", "import tests.unit.conftest"),
        ("newcomer.py", "import errors"),
        ("main.py", "if __name__ == 'main':\n    import sandbox"),
    ],
)
def test_an_import_that_goes_up_or_sideways_is_found(path: str, text: str) -> None:
    assert len(wrong_imports([Source(path, text)])) == 1


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("main.py", "import camunda_worker, response_handler, errors"),
        ("tools/check_queues.py", "from rabbitmq_client import Broker\nfrom tools import tables"),
        ("response_handler.py", "from monitoring import Statistics"),
        ("config.py", "from routing_file import System\nimport os\nimport pydantic"),
        ("camunda_client/client.py", "from camunda_client.http import Http\nfrom .login import Login"),
        ("camunda_worker.py", 'if __name__ == "__main__":\n    from main import main'),
    ],
)
def test_an_import_that_goes_down_is_allowed(path: str, text: str) -> None:
    assert wrong_imports([Source(path, text)]) == []


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("main.py", "import pika"),
        ("camunda_client/http.py", "from pika.exceptions import AMQPError"),
        ("rabbitmq_client/connection.py", "import pycurl"),
        ("tools/check_queues.py", "def f():\n    import pika.spec"),
    ],
)
def test_a_second_door_is_found(path: str, text: str) -> None:
    assert len(wrong_doors([Source(path, text)])) == 1


@pytest.mark.parametrize(
    "text",
    [
        "import os\nos.environ['A']",
        "import os as o\no.getenv('A')",
        "from os import environ",
        "from os import getenv as g",
    ],
)
def test_a_second_reader_of_the_environment_is_found(text: str) -> None:
    assert len(environment_readers([Source("main.py", text)])) == 1
    assert environment_readers([Source("config.py", text)]) == []


@pytest.mark.parametrize("text", ["import time\ntime.monotonic()", "from time import monotonic"])
def test_a_clock_beside_ours_is_found(text: str) -> None:
    assert len(clock_readers([Source("topics.py", text)])) == 1


@pytest.mark.parametrize(
    "text",
    [
        "import time\ntime.sleep(1)",
        "import time as t\nt.sleep(1)",
        "from time import sleep",
        "import time\nf(time.sleep)",
    ],
)
def test_a_sleep_is_found(text: str) -> None:
    assert len(sleepers([Source("topics.py", text)])) == 1


@pytest.mark.parametrize("text", ["stopping.wait(1)", "import time\ntime.monotonic()", "connection.sleep(1)"])
def test_what_only_looks_like_a_sleep_is_none(text: str) -> None:
    assert sleepers([Source("topics.py", text)]) == []


@pytest.mark.parametrize(
    "kind", ["", " Exception", " BaseException", " (ValueError, Exception)", " Exception as error"]
)
def test_an_except_that_catches_everything_is_found(kind: str) -> None:
    text = f"try:\n    f()\nexcept{kind}:\n    g()"

    assert catch_alls([Source("topics.py", text)]) == ["topics.py:3"]


def test_an_except_that_names_its_errors_is_none() -> None:
    text = "try:\n    f()\nexcept (OSError, pika.exceptions.AMQPError):\n    g()"

    assert catch_alls([Source("topics.py", text)]) == []
