"""The READMEs name every package that ./run would install."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def packages() -> set[str]:
    """Returns the names that `run` hands to `need` and `first_installable`; what is computed there has a $."""
    script = (ROOT / "run").read_text(encoding="utf-8")
    needed = re.findall(r'\bneed "?([^"$]+?)"? "', script) + re.findall(r"\$\(first_installable ([^)]+)\)", script)
    return {name for names in needed for name in names.split()}


@pytest.mark.parametrize("readme", ["README.md", "README.ru.md"])
def test_each_package_is_named(readme: str) -> None:
    text = (ROOT / readme).read_text(encoding="utf-8")
    newer = {name for name in packages() if re.match(r"openjdk-2\d", name)}  # "or a newer one"

    assert {"rabbitmq-server", "php-amqplib", "chromium", "python3-venv"} <= packages()
    assert [name for name in sorted(packages() - newer - {"chromium-browser"}) if f"`{name}`" not in text] == []
