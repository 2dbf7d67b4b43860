"""The services of each component: where the status is served, and which loops must turn."""

import pytest

from bridge import metrics
from bridge.leases import LeaseKeeper
from bridge.process.daemon import Service
from bridge.process.run import HANDLER, WORKER, Builders
from bridge.process.shared import Outside
from bridge.statistics import Statistics
from camunda_worker import worker_services
from config import Settings
from response_handler import handler_services

pytestmark = pytest.mark.usefixtures("clean_environment")


def services(*components: str, **settings: object) -> list[Service]:
    required: dict[str, object] = {
        "camunda_base_url": "http://engine",
        "rabbitmq_username": "u",
        "rabbitmq_password": "p",
    }
    builders = {WORKER: worker_services, HANDLER: handler_services}
    chosen = Builders(*(builders[name] if name in components else None for name in (WORKER, HANDLER)))
    given = Settings.model_validate(required | settings)
    return chosen.services(chosen.share(given, Outside.of(given), Statistics()))


def status_port(*components: str, **settings: object) -> int | None:
    last = services(*components, **settings)[-1]
    return last.run.__self__._port if last.name == "status" else None  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("components", "settings", "port"),
    [
        ([WORKER, HANDLER], {}, 8090),
        ([WORKER], {}, 8090),
        ([HANDLER], {}, 8091),
        ([HANDLER], {"status_port": 8090}, 8090),
        ([HANDLER], {"status_port": 9000}, 9000),
        ([WORKER, HANDLER], {"status_port": 0}, None),
        ([HANDLER], {"status_port": 0}, None),
    ],
)
def test_the_status_has_a_port_or_is_off(
    components: list[str], settings: dict[str, object], port: int | None
) -> None:
    assert status_port(*components, **settings) == port


@pytest.mark.parametrize(
    ("components", "loops"),
    [
        ([WORKER], ["camunda-worker", "leases", "failed-tasks", "publisher", "alarms"]),
        ([HANDLER], ["response-handler", "detours", "alarms"]),
        (
            [WORKER, HANDLER],
            ["camunda-worker", "leases", "failed-tasks", "publisher", "response-handler", "detours", "alarms"],
        ),
    ],
)
def test_the_loops_of_the_components_must_turn(components: list[str], loops: list[str]) -> None:
    assert [service.name for service in services(*components) if service.turns] == loops


def test_an_alarm_for_unread_answers_says_what_our_own_consumer_waits_for() -> None:
    (alarms,) = (service.run.__self__ for service in services(HANDLER) if service.name == "alarms")  # type: ignore[attr-defined]

    assert alarms._why_unread() == "not connected yet"


def test_the_status_is_the_last_to_end_so_that_a_stop_can_be_watched() -> None:
    assert [service.name for service in services(WORKER)][-1] == "status"


def test_the_series_of_all_systems_begin_at_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[str] = []
    monkeypatch.setattr(metrics, "begin_at_zero", begun.extend)

    services(WORKER)

    assert begun == ["bitrix24", "openproject", "1c", "python-services", "default"]


def test_a_stop_extends_the_leases_that_nobody_looks_after_later() -> None:
    (leases,) = (service for service in services(WORKER) if service.name == "leases")

    assert leases.stop.__func__ is LeaseKeeper.finish  # type: ignore[attr-defined]
