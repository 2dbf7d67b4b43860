"""The alert rules: each rings when it should, and none rings while all is well."""

import json
import re
from pathlib import Path

import pytest

from tests.monitoring.conftest import names_in
from tests.monitoring.promtool import promtool

ROOT = Path(__file__).resolve().parents[2]
RULES = ROOT / "docs/monitoring/alerts.yml"
TEXT = RULES.read_text(encoding="utf-8")
ALERTS = re.findall(r"- alert: (\w+)", TEXT)

UP = 'up{job="camunda-worker"}'
ENGINE = "camunda_worker_engine_reachable"
SUBSCRIBED = "camunda_worker_subscribed"
CONNECTED = 'camunda_worker_broker_connected{connection="tasks"}'
BLOCKED = 'camunda_worker_broker_blocked{connection="tasks"}'
FETCHED_AT = 'camunda_worker_last_success_timestamp_seconds{op="fetch"}'
READY = 'camunda_worker_queue_ready_messages{queue="1c.queue"}'
CONSUMERS = 'camunda_worker_queue_consumers{queue="1c.queue"}'
ANSWERS = 'camunda_worker_queue_ready_messages{queue="camunda.responses.queue"}'
ANSWERS_CONSUMERS = 'camunda_worker_queue_consumers{queue="camunda.responses.queue"}'
DEAD = 'camunda_worker_queue_ready_messages{queue="errors.camunda_tasks.queue"}'
DEAD_CONSUMERS = 'camunda_worker_queue_consumers{queue="errors.camunda_tasks.queue"}'
PAUSED = 'camunda_worker_system_paused{system="1c"}'
SILENT = 'camunda_worker_system_silent{system="1c"}'
FAILED = 'camunda_worker_failed_tasks{system="1c",topic="1c_sync_data"}'
UNPUBLISHABLE = 'camunda_worker_tasks_published_total{system="1c",result="unpublishable"}'
UNREADABLE = 'camunda_worker_unreadable_rows_total{call="fetchAndLock"}'
NOT_GIVEN_OUT = 'camunda_worker_tasks_not_given_out_total{system="1c"}'
LAPSED = 'camunda_worker_leases_lapsed_total{system="1c"}'
APPLY_2 = 'camunda_worker_apply_seconds_bucket{le="2.5"}'
APPLY_10 = 'camunda_worker_apply_seconds_bucket{le="10.0"}'
APPLY_INF = 'camunda_worker_apply_seconds_bucket{le="+Inf"}'
RECONNECTS = 'camunda_worker_reconnects_total{connection="tasks"}'

CERTIFICATE = 'camunda_worker_certificate_ends_timestamp_seconds{whose="broker"}'

# One value a minute, for an hour: `1x60` stays, `0+60x60` rises by 60 each time.
WELL = {
    UP: "1x60",
    ENGINE: "1x60",
    SUBSCRIBED: "1x60",
    CONNECTED: "1x60",
    BLOCKED: "0x60",
    FETCHED_AT: "0+60x60",
    READY: "5x60",
    CONSUMERS: "1x60",
    ANSWERS: "0x60",
    ANSWERS_CONSUMERS: "1x60",
    DEAD: "0x60",
    DEAD_CONSUMERS: "0x60",
    PAUSED: "0x60",
    SILENT: "0x60",
    FAILED: "0x60",
    UNPUBLISHABLE: "0x60",
    UNREADABLE: "0x60",
    NOT_GIVEN_OUT: "0x60",
    LAPSED: "0x60",
    APPLY_2: "0+60x60",
    APPLY_10: "0+60x60",
    APPLY_INF: "0+60x60",
    RECONNECTS: "1x60",
    CERTIFICATE: f"{90 * 86_400}x60",
}
ONCE = "0x29 1x30"

RINGS = [
    ("CamundaWorkerDown", {UP: "0x60"}),
    ("CamundaWorkerEngineAway", {ENGINE: "0x60", SUBSCRIBED: "0x60", FETCHED_AT: "0x60"}),
    ("CamundaWorkerBrokerAway", {CONNECTED: "0x60", FETCHED_AT: "0x60"}),
    ("CamundaWorkerBrokerBlocks", {BLOCKED: "1x60"}),
    ("CamundaWorkerAnswersNotRead", {SUBSCRIBED: "0x60"}),
    ("CamundaWorkerNothingFetched", {FETCHED_AT: "0x60"}),
    ("CamundaWorkerNobodyListens", {CONSUMERS: "0x60"}),
    ("CamundaWorkerSystemPaused", {PAUSED: "1x60"}),
    ("CamundaWorkerAnswersPileUp", {ANSWERS: "501x60"}),
    ("CamundaWorkerSystemSilent", {SILENT: "1x60"}),
    ("CamundaWorkerDeadLetters", {DEAD: "3x60"}),
    ("CamundaWorkerTasksFailed", {FAILED: "2x60"}),
    ("CamundaWorkerTasksUnpublishable", {UNPUBLISHABLE: "1x60", FAILED: "1x60"}),
    ("CamundaWorkerRowsUnreadable", {UNREADABLE: ONCE}),
    ("CamundaWorkerTasksNotGivenOut", {NOT_GIVEN_OUT: ONCE}),
    ("CamundaWorkerLocksLapse", {LAPSED: "0+5x60"}),
    ("CamundaWorkerEngineSlow", {APPLY_2: "0+30x60"}),
    ("CamundaWorkerCertificateEnds", {CERTIFICATE: f"{13 * 86_400}x60"}),
    ("CamundaWorkerReconnects", {RECONNECTS: "0+1x60"}),
]
# A task that fits into no message has no retries left either.
ALSO = {"CamundaWorkerTasksUnpublishable": {"CamundaWorkerTasksFailed"}}
HOLDS_STILL = [
    ({UP: "1x29 0x1 1x30"}, "a restart"),
    ({ENGINE: "1x29 0x1 1x30"}, "an engine that is back at once"),
    ({CONNECTED: "1x29 0x1 1x30"}, "a connection that is back at once"),
    ({CONSUMERS: "1x25 0x5 1x30"}, "a system that restarts"),
    ({READY: "0x60", CONSUMERS: "0x60"}, "a system that is away while nothing waits"),
    ({PAUSED: "0x25 1x5 0x30"}, "a queue that is full for a moment"),
    ({SILENT: "1x29 0x31"}, "a system that answers again"),
    ({UNPUBLISHABLE: "1x60"}, "a task that fitted into no message and is mended"),
    ({LAPSED: "0x29 3x30"}, "a few lapsed locks"),
    ({RECONNECTS: "1x29 3x30"}, "a few lost connections"),
]


def check(folder: Path, changes: dict[str, str], rings: set[str], *, minute: int) -> None:
    """Checks that exactly these alerts ring at that minute."""
    ringing = 'count by (alertname) (ALERTS{alertstate="firing"})'
    samples = [{"labels": f'{{alertname="{alert}"}}', "value": 1} for alert in sorted(rings)]
    test = {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in (WELL | changes).items()],
        "promql_expr_test": [{"expr": ringing, "eval_time": f"{minute}m", "exp_samples": samples}],
    }
    file = folder / "test.json"  # which is YAML too
    file.write_text(json.dumps({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": [test]}))
    promtool("test", "rules", file)


def test_the_rules_are_well_formed() -> None:
    assert f"{len(ALERTS)} rules found" in promtool("check", "rules", RULES)


def test_the_example_of_a_configuration_is_valid() -> None:
    assert f"{len(ALERTS)} rules found" in promtool("check", "config", RULES.with_name("prometheus.yml"))


def test_the_rules_use_only_names_that_are_exported(exported: set[str]) -> None:
    asked = names_in(" ".join(re.findall(r"expr: (.*)", TEXT)))

    assert len(asked) >= 10
    assert asked - exported == set()


def test_while_all_is_well_nothing_rings(tmp_path: Path) -> None:
    check(tmp_path, {}, set(), minute=50)


def test_each_alert_has_its_case() -> None:
    assert [alert for alert, _ in RINGS] == ALERTS


@pytest.mark.parametrize(("alert", "changes"), RINGS, ids=[alert for alert, _ in RINGS])
def test_it_rings_and_no_other(tmp_path: Path, alert: str, changes: dict[str, str]) -> None:
    check(tmp_path, changes, {alert} | ALSO.get(alert, set()), minute=40)


@pytest.mark.parametrize(("engine", "alert"), [("1x60", "NobodyListens"), ("0x60", "EngineAway")])
def test_answers_that_nobody_reads_are_told_unless_they_wait_for_the_engine(
    tmp_path: Path, engine: str, alert: str
) -> None:
    unread = {ENGINE: engine, ANSWERS: "5x60", ANSWERS_CONSUMERS: "0x60"}

    check(tmp_path, unread, {f"CamundaWorker{alert}"}, minute=40)


@pytest.mark.parametrize(("changes", "what"), HOLDS_STILL, ids=[what for _, what in HOLDS_STILL])
def test_nothing_rings_for(tmp_path: Path, changes: dict[str, str], what: str) -> None:
    check(tmp_path, changes, set(), minute=31)


@pytest.mark.parametrize("command", sorted(set(re.findall(r"python (tools/\w+\.py)", TEXT))))
def test_each_command_that_is_named_is_there(command: str) -> None:
    assert (ROOT / command).is_file()
