"""Which topics are fetched: those of the routing and those that the engine has tasks of."""

import pytest

from bridge.engine import CamundaClient, Http, Login
from bridge.errors import Unavailable
from bridge.intake.topics import Topics
from bridge.leases import LeaseRules
from bridge.routing import System
from config import RoutingConfig

NEVER = 3600.0
ALWAYS = 0.0
ROUTING = RoutingConfig(
    [System("bitrix24", 600_000, ("bitrix_create_task",), ("bitrix_*",)), System("mail", 20_000, ("send_email",))],
    System("default", 60_000),
)
OF_ROUTING = {"bitrix_create_task": 600_000, "send_email": 20_000}


class FakeCamunda(CamundaClient):
    """An engine that knows topics and nothing else; counts how often it is asked."""

    def __init__(self, *topics: str) -> None:
        super().__init__(Http("http://engine.invalid", Login(None)), "worker")
        self.topics = list(topics)
        self.is_away = False
        self.asked = 0

    def topic_names(self) -> list[str]:
        self.asked += 1
        if self.is_away:
            raise Unavailable("the engine is away")
        return self.topics


def topics_of(
    camunda: CamundaClient,
    *,
    include: tuple[str, ...] = ("*",),
    exclude: tuple[str, ...] = (),
    refresh: float = ALWAYS,
) -> Topics:
    return Topics(
        camunda, ROUTING, LeaseRules(None, 1.0), include=include, exclude=exclude, refresh_seconds=refresh
    )


def known(topics: Topics) -> dict[str, int]:
    return {one.topic: one.lock_ms for subscribed in topics.of_systems().values() for one in subscribed}


def test_the_topics_of_the_routing_are_fetched_with_their_systems_locks() -> None:
    topics = topics_of(FakeCamunda())

    assert known(topics) == OF_ROUTING


def test_a_topic_of_the_engine_is_fetched_with_the_lock_of_its_pattern() -> None:
    topics = topics_of(FakeCamunda("bitrix_new", "send_email"))

    assert known(topics) == OF_ROUTING | {"bitrix_new": 600_000}


def test_a_topic_of_no_routing_is_fetched_for_the_default_system() -> None:
    topics = topics_of(FakeCamunda("unknown"))

    assert known(topics)["unknown"] == 60_000


def test_a_topic_of_no_routing_is_a_warning_once(logged: list[str]) -> None:
    topics = topics_of(FakeCamunda("unknown", "bitrix_new"))

    known(topics)
    known(topics)

    assert logged == [
        "WARNING no routing names these topics, they go to default.queue: unknown; if another worker serves one, "
        "add it to CAMUNDA_TOPICS_EXCLUDE\n"
    ]


def test_a_new_topic_is_found_at_the_next_refresh() -> None:
    camunda = FakeCamunda()
    topics = topics_of(camunda)
    known(topics)

    camunda.topics.append("bitrix_new")

    assert known(topics)["bitrix_new"] == 600_000


def test_between_refreshes_the_engine_is_not_asked() -> None:
    camunda = FakeCamunda()
    topics = topics_of(camunda, refresh=NEVER)

    for _ in range(3):
        known(topics)

    assert camunda.asked == 1


def test_a_topic_whose_tasks_are_all_taken_stays() -> None:
    camunda = FakeCamunda("bitrix_new")
    topics = topics_of(camunda)
    known(topics)

    camunda.topics.clear()

    assert known(topics)["bitrix_new"] == 600_000


def test_only_included_topics_are_fetched() -> None:
    topics = topics_of(FakeCamunda("bitrix_new", "unknown"), include=("bitrix_*",))

    assert known(topics) == {"bitrix_create_task": 600_000, "bitrix_new": 600_000}


def test_excluded_topics_are_left_to_others_even_where_they_are_included() -> None:
    topics = topics_of(FakeCamunda("bitrix_new", "unknown"), include=("*",), exclude=("send_*", "unknown"))

    assert known(topics) == {"bitrix_create_task": 600_000, "bitrix_new": 600_000}


def test_an_excluded_topic_is_no_warning(logged: list[str]) -> None:
    topics = topics_of(FakeCamunda("unknown"), exclude=("unknown",))

    known(topics)

    assert logged == []


def test_an_engine_that_is_away_is_said_and_asked_again() -> None:
    camunda = FakeCamunda("bitrix_new")
    topics = topics_of(camunda, refresh=NEVER)
    camunda.is_away = True
    with pytest.raises(Unavailable):
        known(topics)

    camunda.is_away = False

    assert known(topics)["bitrix_new"] == 600_000
