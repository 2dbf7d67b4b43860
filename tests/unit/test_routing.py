"""Which system a topic goes to: the built-in routing and a routing file with its errors."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from bridge.errors import SettingsError
from bridge.retry_policy import USUAL, RetryPolicy
from bridge.routing import Selection, System
from config import RoutingConfig

LOCK_MS = 600_000
ROOT = Path(__file__).resolve().parents[2]
Load = Callable[[str], RoutingConfig]


@pytest.fixture
def routing_file(tmp_path: Path) -> Path:
    return tmp_path / "routing.toml"


@pytest.fixture
def load(routing_file: Path) -> Load:
    """Load a routing file with this text."""

    def load(text: str) -> RoutingConfig:
        routing_file.write_text(text, encoding="utf-8")
        return RoutingConfig.load(routing_file, LOCK_MS)

    return load


@pytest.fixture
def built_in() -> RoutingConfig:
    return RoutingConfig.built_in(LOCK_MS)


@pytest.mark.parametrize(
    ("topic", "queue"),
    [
        ("bitrix_create_task", "bitrix24.queue"),
        ("op_create_project", "openproject.queue"),
        ("1c_sync_data", "1c.queue"),
        ("send_email", "python-services.queue"),
    ],
)
def test_the_four_topics_of_the_requirements_have_their_queues(
    built_in: RoutingConfig, topic: str, queue: str
) -> None:
    assert built_in.systems_of(topic)[0].queue == queue


@pytest.mark.parametrize(
    ("topic", "system"),
    [
        ("bitrix_anything", "bitrix24"),
        ("bitrix24_anything", "bitrix24"),
        ("op_anything", "openproject"),
        ("openproject_anything", "openproject"),
        ("1c_anything", "1c"),
        ("py_anything", "python-services"),
        ("python_anything", "python-services"),
    ],
)
def test_a_topic_nobody_named_goes_by_its_pattern(built_in: RoutingConfig, topic: str, system: str) -> None:
    assert built_in.systems_of(topic)[0].name == system


@pytest.mark.parametrize(
    "topic", ["unknown", "", "Bitrix_create_task", "my_bitrix_task", "send_email_now", "почта"]
)
def test_every_other_topic_goes_to_the_default_queue(built_in: RoutingConfig, topic: str) -> None:
    assert built_in.systems_of(topic)[0].queue == "default.queue"


def test_the_built_in_routing_has_the_five_queues_of_the_requirements(built_in: RoutingConfig) -> None:
    assert [system.queue for system in built_in.systems] == [
        "bitrix24.queue",
        "openproject.queue",
        "1c.queue",
        "python-services.queue",
        "default.queue",
    ]


def test_without_a_file_the_built_in_routing_holds_with_the_given_lock() -> None:
    routing = RoutingConfig.load(None, 12_345)

    assert [system.name for system in routing.systems] == [*RoutingConfig.SYSTEMS, "default"]
    assert {system.lock_ms for system in routing.systems} == {12_345}


def test_the_topics_named_exactly_are_known_before_the_engine_has_tasks(built_in: RoutingConfig) -> None:
    named = [topic for topics, _ in RoutingConfig.SYSTEMS.values() for topic in topics]

    assert list(built_in.topics) == named


def test_asking_for_unknown_topics_adds_none_to_the_named_ones(built_in: RoutingConfig) -> None:
    built_in.systems_of("unknown")[0]

    assert "unknown" not in built_in.topics


def test_an_exact_topic_wins_over_an_earlier_pattern(load: Load) -> None:
    routing = load("""
        [systems.first]
        patterns = ["a_*"]
        [systems.second]
        topics = ["a_b"]
    """)

    assert routing.systems_of("a_b")[0].name == "second"


def test_the_first_of_two_matching_patterns_wins(load: Load) -> None:
    routing = load("""
        [systems.first]
        patterns = ["a_*"]
        [systems.second]
        patterns = ["a_b_*"]
    """)

    assert routing.systems_of("a_b_c")[0].name == "first"


def test_a_system_of_its_own_is_one_table(load: Load) -> None:
    routing = load("""
        [systems.sap]
        topics = ["sap_post_invoice"]
        patterns = ["sap_*"]
        lock_duration = 3_600_000
    """)

    sap = System("sap", 3_600_000, ("sap_post_invoice",), ("sap_*",))
    assert routing.systems == (sap, System("default", LOCK_MS))
    assert routing.systems_of("sap_anything")[0] == sap
    assert sap.queue == "sap.queue"


def test_a_system_without_a_lock_of_its_own_has_the_general_one(load: Load) -> None:
    routing = load("[systems.sap]")

    assert routing.systems[0] == System("sap", LOCK_MS)


def test_a_system_may_have_its_long_texts_stored_as_json(load: Load) -> None:
    routing = load('[systems.sap]\nlong_text = "json"\n[systems.crm]')

    assert [system.long_text for system in routing.systems] == ["json", None, None]


def test_the_file_replaces_the_built_in_routing(load: Load) -> None:
    routing = load("[systems.sap]")

    assert routing.systems_of("bitrix_create_task")[0].name == "default"


def test_the_default_system_may_have_another_name(load: Load) -> None:
    routing = load("""
        default_system = "others"
        [systems.sap]
    """)

    assert routing.systems_of("unknown")[0] == System("others", LOCK_MS)


def test_the_default_system_may_be_one_of_the_tables(load: Load) -> None:
    routing = load("""
        default_system = "sap"
        [systems.sap]
        lock_duration = 20_000
        [systems.mail]
    """)

    assert [system.name for system in routing.systems] == ["mail", "sap"]
    assert routing.systems_of("unknown")[0] == System("sap", 20_000)


@pytest.mark.parametrize("lock_ms", [10_000, 4_233_600_000])
def test_a_lock_of_10_seconds_to_49_days_is_taken(load: Load, lock_ms: int) -> None:
    routing = load(f"[systems.sap]\nlock_duration = {lock_ms}")

    assert routing.systems[0].lock_ms == lock_ms


@pytest.mark.parametrize("value", ["9999", "4233600001", "-1", "true", "60000.0", '"7 days"', "[60000]"])
def test_a_wrong_lock_is_named_with_line_and_value(load: Load, routing_file: Path, value: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(f"[systems.ok]\nlock_duration = 60000\n\n[systems.sap]\npatterns = []\nlock_duration = {value}\n")

    sentence = str(caught.value)
    shown = {"true": "True", '"7 days"': "'7 days'"}.get(value, value)
    assert sentence.startswith(f"ROUTING_FILE {routing_file}, line 6: lock_duration {shown} is not within ")
    assert "10 s to 49 days" in sentence


def test_large_variables_are_sent_by_reference_only_where_a_system_says_so(load: Load) -> None:
    routing = load('[systems.a]\n[systems.b]\nlarge_variables = "reference"\n')

    taken = {system.name: system.large_variables for system in routing.systems}
    assert (taken["a"], taken["b"]) == ("incident", "reference")


@pytest.mark.parametrize("value", ["'url'", "true"])
def test_what_large_variables_cannot_be_is_named_with_its_line(load: Load, value: str) -> None:
    with pytest.raises(SettingsError, match=r'line 2: large_variables .* is neither "incident" nor "reference"'):
        load(f"[systems.a]\nlarge_variables = {value}\n")


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("topics = []\n[systems.a]", 1, "topics is not known"),
        ("[systems.a]\n\ntopic = []", 3, "topic is not known; a system has "),
        ('[systems.a]\nlong_text = "text"', 2, "long_text 'text' is not \"json\""),
        ("[systems.a]\ntopics = 'x'", 2, "topics 'x' is not a list of texts"),
        ("[systems.a]\ntopics = ['x', 1]", 2, "topics ['x', 1] is not a list of texts"),
        ("[systems.a]\npatterns = ['']", 2, "patterns [''] is not a list of texts"),
        ("\n\n[systems.'a.b']", 3, "a.b 'a.b' is no system"),
        ("[systems]\na = 1", 2, "a 'a' is no system"),
        ("[systems]", 1, "systems at least one [systems.NAME] is needed"),
        ("\nsystems = 1", 2, "systems at least one [systems.NAME] is needed"),
        ("", 1, "systems at least one [systems.NAME] is needed"),
        ("\ndefault_system = 5\n[systems.a]", 2, "default_system 5 is not the name of a system"),
        ("default_system = ''\n[systems.a]", 1, "default_system '' is not the name of a system"),
        (
            '[systems.a]\ntopics = ["x"]\n[systems.b]\ntopics = ["y",\n"x"]',
            5,
            '"x" belongs to a already',
        ),
        ('[systems.a]\npatterns = ["x_*"]\n[systems.b]\npatterns = ["x_*"]', 4, '"x_*" belongs to a already'),
        ("[systems.a]\nretries = -1", 2, "retries -1 is not within 0 to 1000"),
        ("[systems.a]\nretries = true", 2, "retries True is not within 0 to 1000"),
        ("[systems.a]\nretry_pauses = []", 2, "retry_pauses [] is no list of pauses"),
        ("[systems.a]\nretry_pauses = ['1m', '5 m']", 2, "retry_pauses ['1m', '5 m'] is no list of pauses"),
        ("[systems.a]\nretry_pauses = ['50d']", 2, "retry_pauses ['50d'] is no list of pauses"),
        ("[systems.a]\nretry_pauses = '1m'", 2, "retry_pauses '1m' is no list of pauses"),
        ("[systems.a]\nmax_in_flight = 0", 2, "max_in_flight 0 is no number from 1 on"),
        ("[systems.a]\nqueue = ''", 2, "queue '' is no name of a queue"),
        ("[systems.a]\nqueue = 'camunda.responses.queue'", 2, "queue 'camunda.responses.queue' is no name"),
        ("[systems.a]\nqueue = 'b.queue'\n[systems.b]", 3, 'queue "b.queue" is that of a already'),
        ("[systems.a]\ndeclare = 'no'", 2, "declare 'no' is neither true nor false"),
        ("[systems.a]\nqueue_arguments = [1]", 2, "queue_arguments [1] is no table"),
        ("[systems.a]\npriority = 1", 2, "priority 1 is neither true nor false"),
        ("[systems.a]\nvariables = 'order'", 2, "variables 'order' is not a list of texts"),
        ("[systems.a]\nprocess_keys = ['']", 2, "process_keys [''] is not a list of texts"),
        ("[systems.a]\ntenants = 'all'", 2, "tenants 'all' is neither a list of texts nor \"none\""),
        ("[systems.a]\nbusiness_key = 5", 2, "business_key 5 is no text"),
        (
            "[systems.a]\ntopics = ['x']\nprocess_keys = ['p']\n[systems.b]\nprocess_keys = ['p']\ntopics = ['x']",
            6,
            '"x" belongs to a already; two systems may share it where each has process_keys (or tenants)',
        ),
        (
            "[systems.a]\ntopics = ['x']\nprocess_keys = ['p']\n[systems.b]\ntopics = ['x']",
            5,
            '"x" belongs to a already',
        ),
    ],
)
def test_a_wrong_entry_is_named_with_its_line(
    load: Load, routing_file: Path, text: str, line: int, problem: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        load(text)

    assert str(caught.value).startswith(f"ROUTING_FILE {routing_file}, line {line}: {problem}")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("# lock_duration: milliseconds\n[systems.a]\n# lock_duration = 60000\nlock_duration = 5", 4),
        ("[systems.a]\ntopics = [] # lock_duration below\nlock_duration = 5", 3),
        ("# [systems.a]\n[systems.b]\nlock_duration = 60000\n[systems.a]\nlock_duration = 5", 5),
        ("[systems.b]\n\n# of a\n[ systems . a ]\n\n\nlock_duration = 5", 7),
        ("[systems]\nb = {lock_duration = 60000}\na = {lock_duration = 5}", 3),
        ("systems.b.lock_duration = 60000\nsystems.a.lock_duration = 5", 2),
        ("[systems.a]\ntopics = [\n  'lock_duration',\n]\n'lock_duration' = 5", 5),
        ("[systems.a]\ntopics = ['x']\ntopic = []", 3),
        ("[systems.a]\nmy_topics = []\n# topics\ntopics = 5", 2),
        ("[systems.a]\nusers = ['topics']\n# topics\ntopics = [\n'x',\n5]", 4),
        ("# systems\n[systems]", 2),
        ("# default_system is a text\n\ndefault_system = 5\n[systems.a]", 3),
        ("[systems.a]\ntopics = ['x']\n[systems.b]\n# 'x' is of a\ntopics = ['y', # 'x'\n'x']", 6),
        ("[systems.a]\npatterns = ['x']\n[systems.b]\nusers = ['x']\ntopics = ['a#x', 'x']", 5),
        ("# a\u2028b\n[systems.a]\nlock_duration = 5", 3),
        ("[systems]\na = {topics = [\n'x',\n], lock_duration = 5}", 4),
        ("[systems]\na.topics = ['x']\nb = {users = ['x',\n], topics = ['y',\n'x']}", 5),
        ("[systems.a]\ntopics = ['x']\n[systems.b]\ntopics = [\n\"it's 'x'\",\n'x']", 6),
        ("[systems.a]\ntopics = ['x']\n[systems.b]\ntopics = [\n\"\"\"\n'x'\"\"\",\n'x']", 7),
        ("[systems.a]\ntopics = ['x']\n[systems.b]\ntopics = [\n'y',\n\"\\u0078\"]", 6),
        ('[systems.a]\nusers = ["""\nlock_duration = 5\n"""]\nlock_duration = 6', 5),
        ('[systems.a]\n"lock_\\u0064uration" = 5', 2),
    ],
)
def test_the_line_is_that_of_the_entry_and_of_no_comment(load: Load, text: str, line: int) -> None:
    with pytest.raises(SettingsError, match=f", line {line}: "):
        load(text)


@dataclass(frozen=True)
class Task:
    """What the routing reads of a task."""

    topic: str
    process_key: str = ""
    tenant_id: str | None = None


SHARED = """
    [systems.first]
    topics = ["sync"]
    process_keys = ["orders", "returns"]
    [systems.second]
    topics = ["sync"]
    process_keys = ["invoices"]
    [systems.third]
    topics = ["other"]
"""


@pytest.mark.parametrize(
    ("process_key", "system"), [("orders", "first"), ("returns", "first"), ("invoices", "second")]
)
def test_systems_that_share_a_topic_get_the_tasks_of_their_processes(
    load: Load, process_key: str, system: str
) -> None:
    assert load(SHARED).system_of(Task("sync", process_key)).name == system


def test_of_systems_that_share_a_topic_the_later_ones_are_asked_for_apart(load: Load) -> None:
    assert [system.name for system in load(SHARED).apart] == ["second"]


def test_systems_may_share_a_pattern_by_tenant(load: Load) -> None:
    routing = load("""
        [systems.a]
        patterns = ["crm_*"]
        tenants = ["a"]
        [systems.nobodys]
        patterns = ["crm_*"]
        tenants = "none"
    """)

    tasks = [Task("crm_x", tenant_id="a"), Task("crm_x")]
    assert [routing.system_of(task).name for task in tasks] == ["a", "nobodys"]
    assert [system.name for system in routing.systems_of("crm_x")] == ["a", "nobodys"]


def test_a_system_says_which_tasks_and_variables_it_wants(load: Load) -> None:
    routing = load("""
        [systems.crm]
        variables = ["order", "sum"]
        local_variables_only = true
        process_keys = ["orders"]
        version_tag = "1.2"
        business_key = "B-7"
        tenants = ["north"]
    """)

    assert routing.systems[0].selection == Selection(
        ("order", "sum"),
        local_variables_only=True,
        process_keys=("orders",),
        version_tag="1.2",
        business_key="B-7",
        tenants=("north",),
    )


def test_a_system_has_retries_pauses_and_room_of_its_own(load: Load) -> None:
    routing = load("""
        [systems.crm]
        retries = 5
        retry_pauses = ["500ms", "1m", "5m", "1h", "1d", 42]
        max_in_flight = 7
        [systems.only_pauses]
        retry_pauses = ["1m"]
        [systems.usual]
    """)

    crm, only_pauses, usual, _ = routing.systems
    assert crm.retry == RetryPolicy(5, (500, 60_000, 300_000, 3_600_000, 86_400_000, 42))
    assert crm.max_in_flight == 7
    assert only_pauses.retry == RetryPolicy(USUAL.retries, (60_000,))
    assert usual.retry == USUAL


def test_a_system_may_have_a_queue_that_exists_already(load: Load) -> None:
    routing = load("""
        [systems.crm]
        queue = "crm.in"
        declare = false
        queue_arguments = {"x-max-priority" = 10}
        priority = true
    """)

    crm = routing.systems[0]
    assert (crm.queue, crm.declares_queue, crm.sends_priority) == ("crm.in", False, True)
    assert crm.queue_arguments == {"x-max-priority": 10}


def test_every_wrong_entry_is_named_in_the_order_of_the_file(load: Load, routing_file: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        load("[systems.a]\ntopic = []\nlock_duration = 5\n[systems.b]\nusers = [1, 2]\n")

    assert str(caught.value) == (
        f"ROUTING_FILE {routing_file}, "
        "line 2: topic is not known; a system has business_key, cancellations, declare, large_variables, "
        "local_variables_only, lock_duration, long_text, max_in_flight, patterns, priority, process_keys, queue, "
        "queue_arguments, retries, retry_pauses, tenants, topics, users, variables, version_tag; "
        "line 3: lock_duration 5 is not within 10000 to 4233600000 (milliseconds: 10 s to 49 days); "
        "line 5: users [1, 2] is not a list of texts"
    )


def test_a_number_too_long_to_read_names_the_file(load: Load, routing_file: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        load(f"[systems.a]\nlock_duration = 1{'0' * 5000}\n")

    assert str(caught.value).startswith(f"ROUTING_FILE {routing_file}: ")


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        (f"queue_arguments = {{x = {2**63}}}", "numbers of 64 bits"),
        (f"queue_arguments = {{{'x' * 256} = 1}}", "short names"),
        (f'queue = "{"я" * 128}"', "more than 255 bytes"),
    ],
)
def test_what_no_broker_can_be_told_is_named_with_its_line(
    load: Load, routing_file: Path, entry: str, problem: str
) -> None:
    with pytest.raises(SettingsError, match=problem) as caught:
        load(f"[systems.a]\n{entry}")

    assert str(caught.value).startswith(f"ROUTING_FILE {routing_file}, line 2: ")


def test_lists_too_deep_to_read_name_the_file(load: Load, routing_file: Path) -> None:
    with pytest.raises(SettingsError, match=str(routing_file)):
        load(f"x = {'[' * 5000}{']' * 5000}")


def test_a_byte_order_mark_before_a_routing_file_is_skipped(routing_file: Path) -> None:
    routing_file.write_text("[systems.a]\n", encoding="utf-8-sig")

    assert RoutingConfig.load(routing_file, LOCK_MS).systems[0].name == "a"


def test_a_relative_routing_file_is_found_beside_the_code_from_any_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    routing = RoutingConfig.load(Path("routing.example.toml"), LOCK_MS)

    assert routing.described() == RoutingConfig.load(ROOT / "routing.example.toml", LOCK_MS).described()


def test_a_relative_routing_file_in_the_current_directory_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "routing.example.toml").write_text("[systems.mine]\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)

    assert RoutingConfig.load(Path("routing.example.toml"), LOCK_MS).systems[0].name == "mine"


def test_a_relative_routing_file_that_is_nowhere_is_named_where_it_was_looked_for() -> None:
    with pytest.raises(SettingsError, match=f"ROUTING_FILE {ROOT}/no-such.toml: "):
        RoutingConfig.load(Path("no-such.toml"), LOCK_MS)


def test_a_syntax_error_names_file_and_line(load: Load, routing_file: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        load("[systems.a]\ntopics = [unquoted]\n")

    assert str(caught.value).startswith(f"ROUTING_FILE {routing_file}: ")
    assert "line 2" in str(caught.value)


def test_a_table_given_twice_names_the_file(load: Load, routing_file: Path) -> None:
    with pytest.raises(SettingsError, match="line 2") as caught:
        load("[systems.a]\n[systems.a]\n")

    assert str(routing_file) in str(caught.value)


def test_a_file_that_is_not_there_is_named(routing_file: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        RoutingConfig.load(routing_file, LOCK_MS)

    assert str(caught.value).startswith(f"ROUTING_FILE {routing_file}: ")


def test_a_file_in_another_encoding_is_named(routing_file: Path) -> None:
    routing_file.write_text("[systems.a]", encoding="utf-16")

    with pytest.raises(SettingsError) as caught:
        RoutingConfig.load(routing_file, LOCK_MS)

    assert str(caught.value).startswith(f"ROUTING_FILE {routing_file}: ")
