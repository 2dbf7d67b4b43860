"""How a worker stands in the five situations that an operator must tell apart at a glance."""

from dataclasses import dataclass

from bridge.observe.status.snapshot import Snapshot
from tests.unit.status_views import Counted, connection, queue, system, working

BROKER_GONE = (
    "RabbitMQ at rabbit.example:5672 (RABBITMQ_HOST, RABBITMQ_PORT) cannot be reached or went away: "
    "[Errno 111] Connection refused"
)
ENGINE_GONE = (
    "no engine at CAMUNDA_BASE_URL http://engine.example/engine-rest: Failed to connect to engine.example port 80 "
    "after 0 ms: Could not connect to server"
)
FLOW = Counted(
    fetched={"bitrix24": 412, "openproject": 96, "1c": 31, "python-services": 12_704},
    published={"bitrix24": 412, "openproject": 96, "1c": 31, "python-services": 12_704},
    answered={"bitrix24": 398, "openproject": 97, "1c": 28, "python-services": 12_698},
    applied={"": 13_221},
    delayed={"": 1},
)
BUSY = (
    system("bitrix24", ready=3, consumers=2, in_flight=41, oldest_seconds=9_400.0),
    system("openproject", consumers=1, in_flight=4, oldest_seconds=12.0),
    system("1c", ready=18, consumers=1, in_flight=25, oldest_seconds=95.0),
    system("python-services", ready=1_002, consumers=8, in_flight=10_000, oldest_seconds=0.4),
    system("default", consumers=0),
)


@dataclass(frozen=True)
class Situation:
    """A snapshot, what was counted, and what the page must say."""

    name: str
    snapshot: Snapshot
    counted: Counted
    headline: str
    words: tuple[str, ...] = ()


FLOWS = Situation("flows", working(systems=BUSY), FLOW, "Work flows", ("13,243", "13,221", "3 h"))
UNHEARD = Situation(
    "unheard",
    working(
        systems=(*BUSY[:2], system("1c", ready=312, consumers=0, in_flight=312, oldest_seconds=1_900.0), *BUSY[3:])
    ),
    FLOW,
    "Work flows, but something needs a look",
    ("Nobody listens to 1c.queue: 312 messages wait", "python tools/check_queues.py --watch"),
)
BROKER_DOWN = Situation(
    "broker-down",
    working(
        systems=tuple(
            system(
                view.name,
                in_flight=view.in_flight,
                oldest_seconds=view.oldest_seconds,
                queue=queue(view.queue.name, seen_seconds_ago=80.0),
            )
            for view in BUSY
        ),
        answers=queue("camunda.responses.queue", seen_seconds_ago=80.0),
        errors=queue("errors.camunda_tasks.queue", seen_seconds_ago=80.0),
        connections=tuple(connection(kind, BROKER_GONE) for kind in ("tasks", "answers", "detours")),
        subscribed=False,
    ),
    Counted(),
    "Work does not flow",
    ("Connection refused", "unknown", "python tools/worker_diagnostics.py --problems"),
)
ENGINE_DOWN = Situation(
    "engine-down",
    working(
        systems=BUSY,
        subscribed=False,
        answers=queue("camunda.responses.queue", ready=84),
        engine_trouble=ENGINE_GONE,
    ),
    Counted(),
    "Work does not flow",
    ("Could not connect to server", "unavailable", "84"),
)
DEAD_LETTERS = Situation(
    "dead-letters",
    working(systems=BUSY, errors=queue("errors.camunda_tasks.queue", ready=7, consumers=0)),
    Counted(
        fetched={"bitrix24": 12},
        published={"bitrix24": 12},
        answered={"bitrix24": 11},
        applied={"": 11},
        dead_letters={"invalid": 5, "foreign_lock": 2},
        no_answers={"1c": 3},
    ),
    "Work flows, but something needs a look",
    (
        "7 unusable answers wait",
        "invalid 5",
        "python tools/dead_letters.py list",
        "1c took 3 tasks in the last hour and was silent",
    ),
)
SITUATIONS = (FLOWS, UNHEARD, BROKER_DOWN, ENGINE_DOWN, DEAD_LETTERS)
