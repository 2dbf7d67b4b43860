"""Tasks without retries are counted by system and topic, as far as they are ours."""

import threading
from typing import Any

import pytest

from bridge.contract import TaskState
from bridge.engine import CamundaClient, Http, Login
from bridge.errors import Unavailable
from bridge.intake import FailedTasks, Topics
from bridge.leases import LeaseRules
from bridge.routing import System
from config import RoutingConfig

ROUTING = RoutingConfig(
    [System("mail", 20_000, ("send_email",)), System("1c", 20_000, (), ("1c_*",))], System("default", 60_000)
)


def failed(number: int, topic: str) -> TaskState:
    return TaskState(f"task-{number}", topic, None, 0, None, "instance", suspended=False)


class Engine(CamundaClient):
    """An engine that knows failed tasks and nothing else."""

    def __init__(self, *topics: str) -> None:
        super().__init__(Http("http://engine.invalid", Login(None)), "worker")
        self.topics = topics
        self.is_away = False

    def read_failed_tasks(self, most: int) -> list[TaskState]:
        if self.is_away:
            raise Unavailable("the engine is away")
        return [failed(number, topic) for number, topic in enumerate(self.topics)][:most]


def of(engine: Engine, **changes: Any) -> FailedTasks:
    served: dict[str, Any] = {"include": ("*",), "exclude": (), "refresh_seconds": 60.0} | changes
    return FailedTasks(engine, Topics(engine, ROUTING, LeaseRules(None, 1.0), **served), threading.Event())


@pytest.mark.parametrize(
    ("topics", "exclude", "counts"),
    [
        ((), (), {}),
        (
            ("send_email", "1c_sync", "send_email", "odd"),
            (),
            {("mail", "send_email"): 2, ("1c", "1c_sync"): 1, ("default", "odd"): 1},
        ),
        (("send_email", "theirs"), ("theirs",), {("mail", "send_email"): 1}),
    ],
)
def test_they_are_counted_by_system_and_topic_without_those_of_others(
    topics: tuple[str, ...], exclude: tuple[str, ...], counts: dict[tuple[str, str], int]
) -> None:
    tasks = of(Engine(*topics), exclude=exclude)

    tasks.look()

    assert tasks.counts() == counts


def test_what_was_counted_holds_on_while_the_engine_is_away() -> None:
    engine = Engine("send_email")
    tasks = of(engine)
    tasks.look()
    engine.is_away = True

    tasks.look()

    assert tasks.counts() == {("mail", "send_email"): 1}
