"""The two example files: complete, true to the code, and usable as they are."""

import re
from pathlib import Path

import pytest

from config import RoutingConfig, Settings, load_settings

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = (ROOT / "config.env.example").read_text(encoding="utf-8")
LINES = EXAMPLE.splitlines()
SETTING = re.compile(r"(?P<hash>#?)(?P<name>[A-Z][A-Z0-9_]*)=(?P<value>.*)")
SETTINGS = [match for line in LINES if (match := SETTING.fullmatch(line))]
REQUIRED = {name.upper() for name, field in Settings.model_fields.items() if field.is_required()}
WEEK_MS = 7 * 24 * 3600 * 1000
LOCK_MS = 600_000

pytestmark = pytest.mark.usefixtures("clean_environment")


def load(text: str, folder: Path) -> Settings:
    """Load a file after its first group was filled in."""
    env_file = folder / ".env"
    filled_in = text.replace("camunda.example.com", "camunda.test").replace("=your_", "=our_")
    env_file.write_text(filled_in, encoding="utf-8")
    return load_settings(env_file)


def test_every_setting_is_in_the_example_once_and_nothing_else_is() -> None:
    assert sorted(match["name"] for match in SETTINGS) == sorted(name.upper() for name in Settings.model_fields)


def test_only_the_required_settings_are_not_commented_out() -> None:
    assert {match["name"] for match in SETTINGS if not match["hash"]} == REQUIRED


def test_the_example_loads_once_its_first_group_is_filled_in(tmp_path: Path) -> None:
    settings = load(EXAMPLE, tmp_path)

    assert settings.rabbitmq_username == "our_username"


def test_the_defaults_of_the_example_are_those_of_the_code(tmp_path: Path) -> None:
    required_only = load(EXAMPLE, tmp_path)

    all_of_it = load("\n".join(f"{match['name']}={match['value']}" for match in SETTINGS), tmp_path)

    assert all_of_it == required_only


@pytest.mark.parametrize("name", sorted(name.upper() for name in Settings.model_fields))
def test_a_default_that_is_not_empty_is_written_in_the_example(name: str) -> None:
    default = Settings.model_fields[name.lower()].default
    [value] = [match["value"] for match in SETTINGS if match["name"] == name]

    assert bool(value) == (name in REQUIRED or default not in (None, ()))


@pytest.mark.parametrize("name", sorted(name.upper() for name in Settings.model_fields))
def test_each_setting_stands_below_a_line_that_explains_it(name: str) -> None:
    at = next(n for n, line in enumerate(LINES) if re.match(rf"#?{name}=", line))

    explanation = LINES[at - 1]

    assert re.match(r"# \S.* default|# \S.*no default", explanation)


def test_the_example_begins_with_whose_tasks_are_taken() -> None:
    assert "EVERY external task of the engine" in LINES[0]
    assert [match["name"] for match in SETTINGS[:2]] == ["CAMUNDA_TOPICS_INCLUDE", "CAMUNDA_TOPICS_EXCLUDE"]


def test_the_secrets_of_the_example_are_placeholders() -> None:
    values = {match["name"]: match["value"] for match in SETTINGS}

    assert values["RABBITMQ_PASSWORD"] == "your_password"
    assert values["CAMUNDA_AUTH_PASSWORD"] == ""


@pytest.fixture
def routing() -> RoutingConfig:
    return RoutingConfig.load(ROOT / "routing.example.toml", LOCK_MS)


def test_the_routing_example_has_the_systems_topics_and_patterns_of_the_code(routing: RoutingConfig) -> None:
    built_in = RoutingConfig.built_in(LOCK_MS)

    assert [(s.name, s.topics, s.patterns) for s in routing.systems] == [
        (s.name, s.topics, s.patterns) for s in built_in.systems
    ]


def test_the_routing_example_gives_people_in_bitrix24_seven_days(routing: RoutingConfig) -> None:
    locks = {system.name: system.lock_ms for system in routing.systems}

    assert locks == {
        "bitrix24": WEEK_MS,
        "openproject": LOCK_MS,
        "1c": LOCK_MS,
        "python-services": LOCK_MS,
        "default": LOCK_MS,
    }
