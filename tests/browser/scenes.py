"""How a worker stands in the situations that an operator must tell apart at a glance."""

from collections import Counter
from dataclasses import dataclass

from bridge.observe.status.snapshot import Snapshot
from bridge.texts import Said
from tests.unit.status_views import Counted, after_an_hour, connection, queue, system, working

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
    ("Nobody listens to 1c.queue: 312 messages wait", "python tools/check_queues.py"),
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


def _minute(minute: int) -> tuple[Snapshot, Counter[tuple[str, str]]]:
    """Return how it stood in a minute of an hour in which 1c was full for a while and the broker restarted."""
    is_full = 20 <= minute < 35
    waiting = 50 * (minute - 15) if is_full else minute % 7
    of_1c = system("1c", ready=waiting, paused="it is full" if is_full else "")
    is_away = minute == 45
    links = tuple(connection(kind, "refused" if is_away else "") for kind in ("tasks", "answers", "detours"))
    counts = {("answered", view.name): minute * (number + 1) * 10 for number, view in enumerate(BUSY)}
    counts["answered", "1c"] += 200 * (minute > 36) * (minute - 36)
    reconnects = {("reconnects", kind): int(minute > 45) for kind in ("tasks", "answers", "detours")}
    return working(systems=(*BUSY[:2], of_1c, *BUSY[3:]), connections=links), Counter(counts | reconnects)


FULL = Said(
    "messages in {queue}: {ready}, RABBITMQ_QUEUE_HIGH_WATER is reached",
    queue="python-services.queue",
    ready=10_000,
)
PAUSED = Situation(
    "paused-after-an-hour",
    working(
        systems=(
            *BUSY[:3],
            system(
                "python-services", ready=10_000, consumers=8, in_flight=10_000, oldest_seconds=86_000, paused=FULL
            ),
            system("default", queue=queue("default.queue", trouble="default.queue is missing")),
        ),
        failed_tasks={("1c", "1c_sync_data"): 3},
        not_given_out=(
            Said(
                "the engine cannot give out a task of topic {topic}: {words}",
                topic="bitrix_x",
                words="500 ENGINE-03040",
            ),
        ),
    ),
    after_an_hour(_minute),
    "Work flows, but something needs a look",
    ("RABBITMQ_QUEUE_HIGH_WATER", "1c: resumed", "connected again: tasks, answers, detours"),
)
SITUATIONS = (FLOWS, UNHEARD, BROKER_DOWN, ENGINE_DOWN, DEAD_LETTERS, PAUSED)
