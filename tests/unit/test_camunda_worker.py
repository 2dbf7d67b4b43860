"""The way out: what becomes of a task whose message was confirmed, returned, refused, not sent, or is unknown."""

import json
import math
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any, cast

import pytest

from bridge.broker import Outcome, Publisher
from bridge.broker.publisher import OnOutcomes
from bridge.contract import NamedTask, Publication
from bridge.engine import Reply
from bridge.errors import LoginRefused, Unavailable
from bridge.intake import Admission
from bridge.intake.held_tasks import HeldTask, HeldTasks, MessageRules
from bridge.intake.outbox import UNCONFIRMED_BATCHES, Outbox
from bridge.intake.topics import Topics
from bridge.leases import LeaseRules, LeaseTable
from bridge.routing import System
from bridge.statistics import Statistics
from bridge.tracing import Tracing
from camunda_worker import NO_TOPICS_SECONDS, NOTHING_OPEN_SECONDS, CamundaWorker, WorkerRules
from config import RoutingConfig
from tests.unit import fakes
from tests.unit.conftest import Clock
from tests.unit.fakes import FakeEngine, task_row

BITRIX = System("bitrix24", 600_000, ("bitrix_create_task",))
ROUTING = RoutingConfig([BITRIX], System("default", 600_000))
LEASES = LeaseRules(lease_ms=60_000, extend_after_seconds=1.5)


class BatchPublisher:
    """Gives each batch the outcomes that the test has laid out; confirms where it has none."""

    def __init__(self) -> None:
        self.send_by: list[float] = []
        self.batches: list[Sequence[Publication]] = []
        self.outcomes: list[Outcome] = []
        self.most_bytes = sys.maxsize

    def publish(
        self, publications: Sequence[Publication], on_outcomes: OnOutcomes, *, send_by: float = math.inf
    ) -> None:
        self.send_by.append(send_by)
        self.batches.append(publications)
        on_outcomes([self.outcomes.pop(0) if self.outcomes else Outcome.CONFIRMED for _ in publications])


class OpenAdmission:
    """Lets everything through but for a `full` system, and remembers which system was paused."""

    def __init__(self) -> None:
        self.paused: list[str] = []
        self.ready = True
        self.full = ""
        self.mends = False
        self.mended = False

    def wait_for_broker(self, _seconds: float) -> bool:
        return self.ready

    def may_fetch(self) -> bool:
        return True

    def is_open(self, system: System) -> bool:
        return system.name != self.full

    def room(self, _systems: Any) -> int:
        return 1000

    def note_published(self, _system: System, _count: int) -> None:
        """Nothing is full here."""

    def note_outage(self) -> None:
        """No answer waits here."""

    def pause(self, system: System, _seconds: float) -> None:
        self.paused.append(system.name)

    def is_mended(self, _system: System) -> bool:
        return self.mended


class Bench:
    """A worker with everything around it; the engine offers the tasks given to `offer`, once."""

    def __init__(self, engine: FakeEngine | None = None, tracing: Tracing | None = None) -> None:
        self.engine = engine or FakeEngine()
        self.publisher = BatchPublisher()
        self.admission = OpenAdmission()
        self.table = LeaseTable(LEASES)
        self.statistics = Statistics()
        self.stopping = threading.Event()
        camunda = self.camunda = self.engine.client()
        self.engine.replies["topic-names"] = [Reply(200, b"[]")] * 100
        admission = cast(Admission, self.admission)
        self.held_tasks = HeldTasks(
            camunda, self.table, ROUTING, self.statistics, MessageRules(LEASES, 10_000, tracing)
        )
        self.outbox = Outbox(
            cast(Publisher, self.publisher),
            self.held_tasks,
            self.table,
            admission,
            self.statistics,
            self.stopping,
        )
        self.worker = CamundaWorker(
            camunda,
            Topics(camunda, ROUTING, LEASES, include=["*"], exclude=[], refresh_seconds=60),
            admission,
            self.outbox,
            self.stopping,
            WorkerRules(max_tasks=10, wait_ms=5000, leases=LEASES),
        )

    def undelivered(self, held: HeldTask, outcome: Outcome) -> None:
        """Let a task be one whose message was not confirmed."""
        self.outbox._undelivered.put((held, outcome))

    def offer(self, *rows: dict[str, Any]) -> None:
        self.engine.replies["fetchAndLock"].append(Reply(200, json.dumps(rows).encode()))

    def nothing_more(self) -> None:
        self.engine.replies["fetchAndLock"] = [Reply(200, b"[]")] * 10


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_batch_leaves_before_the_first_of_its_leases_ends_or_not_at_all(bench: Bench, clock: Clock) -> None:
    bench.offer(task_row("t1"), task_row("t2"))

    bench.worker.turn()

    assert bench.publisher.send_by == [clock.now() + 60]


def test_a_task_is_fetched_with_the_lease_and_published_to_its_system(bench: Bench) -> None:
    bench.offer(task_row())

    bench.worker.turn()

    [[publication]] = bench.publisher.batches
    assert bench.engine.body_of("fetchAndLock")["topics"][0]["lockDuration"] == 60_000
    assert publication.routing_key == "bitrix24.bitrix_create_task"
    assert (
        publication.headers["lock_expires_at"] == "2026-11-23T20:40:00.000+00:00"
    )  # the full lock, not the lease
    assert 589_000 < int(publication.properties["expiration"]) <= 590_000
    assert "Обработано: 1 | Успешно: 1 | Ошибки: 0" in bench.statistics.line()


def test_while_a_system_is_full_the_others_are_polled_for_a_short_time_only(bench: Bench) -> None:
    bench.nothing_more()

    bench.worker.turn()
    bench.admission.full = "default"
    bench.worker.turn()

    with_all, beside_a_full_one = (body for word, body in bench.engine.calls if word == "fetchAndLock")
    assert (with_all["asyncResponseTimeout"], beside_a_full_one["asyncResponseTimeout"]) == (5000, 500)
    assert [topic["topicName"] for topic in beside_a_full_one["topics"]] == ["bitrix_create_task"]


def test_a_system_with_a_backlog_takes_no_turns_with_systems_that_have_no_topics(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(bench.stopping, "wait", pauses.append)
    for _ in range(4):
        bench.offer(*(task_row(f"t{number}") for number in range(10)))

    for _ in range(4):
        bench.worker.turn()

    assert bench.engine.words().count("fetchAndLock") == 4
    assert pauses == []


@pytest.mark.parametrize(
    ("full", "excluded", "pause"), [("bitrix24", [], NOTHING_OPEN_SECONDS), ("", ["*"], NO_TOPICS_SECONDS)]
)
def test_it_looks_again_soon_where_a_system_may_open_and_seldom_where_there_are_no_topics(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, full: str, excluded: list[str], pause: float
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(bench.stopping, "wait", pauses.append)
    camunda = bench.engine.client()
    bench.worker._topics = Topics(camunda, ROUTING, LEASES, include=["*"], exclude=excluded, refresh_seconds=60)
    bench.admission.full = full

    bench.worker.turn()

    assert pauses == [pause]


def test_beside_a_system_with_a_backlog_no_poll_waits(bench: Bench) -> None:
    bench.engine.replies["topic-names"] = [Reply(200, b'["unrouted"]')]
    bench.offer(*(task_row(f"t{number}") for number in range(10)))
    bench.worker.turn()
    bench.nothing_more()

    for _ in range(3):
        bench.worker.turn()

    polls = [body for word, body in bench.engine.calls if word == "fetchAndLock"]
    both, bitrix = ["bitrix_create_task", "unrouted"], ["bitrix_create_task"]
    assert [[topic["topicName"] for topic in body["topics"]] for body in polls] == [both, bitrix, both, both]
    assert [body["asyncResponseTimeout"] for body in polls] == [5000, 0, 5000, 5000]


class SlowEngine(FakeEngine):
    """Needs a while for each fetch, as one does that waits for tasks."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def send(self, method: str, path: str, body: bytes | None = None, *, timeout_seconds: float) -> Reply:
        if path.endswith("/fetchAndLock"):
            self._clock.advance(0.35)
        return super().send(method, path, body, timeout_seconds=timeout_seconds)


GATEWAY_TIMEOUT = Reply(504, b"<html>Gateway Timeout</html>")


@pytest.mark.parametrize("cut", [GATEWAY_TIMEOUT, Reply(502, b""), Reply(200, b"<html>sorry</html>"), fakes.AWAY])
def test_a_poll_that_a_gateway_cuts_off_makes_polls_shorter_and_is_no_outage(
    cut: Reply | None, clock: Clock
) -> None:
    bench = Bench(SlowEngine(clock))
    bench.engine.replies["fetchAndLock"] = [cut]
    bench.worker.turn()
    bench.nothing_more()

    bench.worker.turn()

    polls = [body["asyncResponseTimeout"] for word, body in bench.engine.calls if word == "fetchAndLock"]
    assert polls[0] == 5000
    assert polls[1] < 350
    assert bench.worker.engine_trouble == ""


def test_a_poll_that_fails_late_while_the_engine_is_away_is_an_outage(clock: Clock) -> None:
    bench = Bench(SlowEngine(clock))
    bench.engine.replies["fetchAndLock"] = [GATEWAY_TIMEOUT]
    bench.engine.replies["topic-names"] = [Reply(200, b"[]"), GATEWAY_TIMEOUT]

    with pytest.raises(Unavailable):
        bench.worker.turn()


def test_a_gateway_that_asks_to_be_left_alone_is_obeyed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []

    def stop(seconds: float) -> None:
        pauses.append(seconds)
        bench.stopping.set()

    monkeypatch.setattr(bench.stopping, "wait", stop)
    bench.engine.replies["fetchAndLock"] = [Reply(429, b"", wait_seconds=70.0)]

    bench.worker.run()

    assert pauses == [70.0]


class RefusingEngine(FakeEngine):
    """Takes no login, as it was told too often."""

    def send(self, method: str, path: str, body: bytes | None = None, *, timeout_seconds: float) -> Reply:
        raise LoginRefused("the engine refused the login")


def test_a_refused_login_is_an_error_that_a_person_sees(
    monkeypatch: pytest.MonkeyPatch, logged: list[str]
) -> None:
    bench = Bench(RefusingEngine())
    monkeypatch.setattr(bench.stopping, "wait", lambda seconds: bench.stopping.set())

    bench.worker.run()

    assert [line for line in logged if line.startswith("ERROR the engine refused the login; next attempt in ")]


def test_an_engine_that_answers_polls_at_once_is_asked_slowly(bench: Bench) -> None:
    bench.nothing_more()

    began = time.monotonic()
    for _ in range(3):
        bench.worker.turn()

    assert 0.7 < time.monotonic() - began < 1.5


def test_the_poll_ends_with_the_pause_of_a_failure(bench: Bench) -> None:
    bench.camunda.failure("t9", fakes.OURS, "no", retries=1, retry_timeout_ms=1000)
    bench.nothing_more()

    bench.worker.turn()

    assert 900 < bench.engine.body_of("fetchAndLock")["asyncResponseTimeout"] <= 1000


@pytest.mark.parametrize(("retries", "reply"), [(0, fakes.ACCEPTED), (1, fakes.GONE)])
def test_a_failure_without_a_further_attempt_shortens_no_poll(bench: Bench, retries: int, reply: Reply) -> None:
    bench.engine.replies["failure"] = [reply]
    bench.camunda.failure("t9", fakes.OURS, "no", retries=retries, retry_timeout_ms=1000)
    bench.nothing_more()

    bench.worker.turn()

    assert bench.engine.body_of("fetchAndLock")["asyncResponseTimeout"] == 5000


@pytest.mark.parametrize("outcome", [Outcome.RETURNED, Outcome.REFUSED, Outcome.DENIED])
@pytest.mark.parametrize(("retries", "sent"), [(None, 3), (2, 2), (0, 1)])
def test_what_was_certainly_not_delivered_goes_back_without_costing_a_retry(
    bench: Bench, outcome: Outcome, retries: int | None, sent: int
) -> None:
    bench.engine.tasks["t1"] = task_row(retries=retries)
    bench.offer(task_row(retries=retries))
    bench.publisher.outcomes = [outcome]
    bench.worker.turn()
    bench.nothing_more()

    bench.worker.turn()

    assert bench.engine.body_of("failure")["retries"] == sent
    assert "unlock" not in bench.engine.words()
    assert bench.admission.paused == ["bitrix24"]
    assert bench.table.all() == []


def test_what_was_not_delivered_goes_back_without_a_failure_while_a_late_answer_is_applied(bench: Bench) -> None:
    bench.engine.tasks["t1"] = task_row(retries=1)
    bench.offer(task_row(retries=1))
    bench.publisher.outcomes = [Outcome.REFUSED]
    bench.worker.turn()
    bench.nothing_more()

    with bench.table.answering(NamedTask("t1"), lambda: None):
        bench.worker.turn()

    assert "failure" not in bench.engine.words()
    assert bench.table.all() == []


def test_no_answer_is_applied_while_what_was_not_delivered_goes_back(bench: Bench) -> None:
    bench.engine.tasks["t1"] = task_row(retries=1)
    bench.offer(task_row(retries=1))
    bench.publisher.outcomes = [Outcome.REFUSED]
    bench.worker.turn()
    bench.nothing_more()
    send, entered, come_again = bench.engine.send, [], []

    def look_around(method: str, path: str, body: bytes | None = None, *, timeout_seconds: float) -> Reply:
        if path.endswith("/failure"):
            with bench.table.answering(NamedTask("t1"), lambda: come_again.append("t1")) as is_free:
                entered.append(is_free)
        return send(method, path, body, timeout_seconds=timeout_seconds)

    bench.engine.send = look_around  # type: ignore[method-assign]

    bench.worker.turn()

    assert (entered, come_again) == ([False], ["t1"])


def test_what_no_queue_took_waits_until_its_queue_is_bound_again_and_is_published_then(bench: Bench) -> None:
    bench.offer(task_row())
    bench.publisher.outcomes = [Outcome.RETURNED]
    bench.admission.mends = True
    bench.worker.turn()
    bench.nothing_more()

    bench.worker.turn()
    assert len(bench.publisher.batches) == 1
    bench.admission.mended = True
    bench.worker.turn()

    [[first], [again]] = bench.publisher.batches
    assert again.properties["message_id"] == first.properties["message_id"]
    assert "failure" not in bench.engine.words()
    assert bench.table.in_flight(BITRIX) == 1


def test_what_no_queue_took_is_given_back_before_its_lease_ends(bench: Bench) -> None:
    [late] = bench.held_tasks.hold_all([fakes.external_task()], time.monotonic() - 49.99)
    bench.undelivered(late, Outcome.RETURNED)
    bench.admission.mends = True
    bench.nothing_more()
    time.sleep(0.05)

    bench.worker.turn()

    assert bench.engine.body_of("failure")["retries"] == 3
    assert bench.publisher.batches == []


def test_what_the_broker_denies_goes_back_also_while_nothing_can_be_published(bench: Bench) -> None:
    bench.offer(task_row())
    bench.publisher.outcomes = [Outcome.DENIED]
    bench.worker.turn()
    bench.admission.ready = False

    bench.worker.turn()

    assert bench.engine.body_of("failure")["retries"] == 3
    assert bench.engine.words().count("fetchAndLock") == 1


def test_an_unknown_fate_is_read_at_the_engine_and_the_same_message_published_again(bench: Bench) -> None:
    bench.offer(task_row())
    bench.publisher.outcomes = [Outcome.UNKNOWN]
    bench.worker.turn()
    bench.nothing_more()

    bench.worker.turn()

    [[first], [again]] = bench.publisher.batches
    assert again.properties["message_id"] == first.properties["message_id"]
    assert "unlock" not in bench.engine.words()


def test_a_message_published_again_expires_with_the_lock_and_not_later(bench: Bench) -> None:
    [late] = bench.held_tasks.hold_all([fakes.external_task()], time.monotonic() - 30)
    bench.undelivered(late, Outcome.UNKNOWN)
    time_left = int(late.publication.properties["expiration"])
    bench.nothing_more()
    time.sleep(0.05)

    bench.worker.turn()

    [[again]] = bench.publisher.batches
    assert int(again.properties["expiration"]) < time_left


def test_a_message_that_may_be_out_is_never_unlocked_even_if_its_repeat_was_not_sent(bench: Bench) -> None:
    bench.offer(task_row())
    bench.publisher.outcomes = [Outcome.UNKNOWN, Outcome.UNSENT]
    bench.worker.turn()
    bench.nothing_more()
    bench.worker.turn()
    bench.stopping.set()

    bench.worker.run()

    assert len(bench.publisher.batches) == 2
    assert "unlock" not in bench.engine.words()


def test_a_stop_is_heard_while_the_broker_owes_all_confirms(bench: Bench) -> None:
    for _ in range(UNCONFIRMED_BATCHES):
        bench.outbox._window.acquire()
    [held] = bench.held_tasks.hold_all([fakes.external_task()], time.monotonic())
    bench.stopping.set()

    bench.outbox._send([held])

    assert bench.publisher.batches == []
    assert [outcome for _, outcome in bench.outbox._take_all()] == [Outcome.UNSENT]


def test_an_unknown_fate_of_a_task_that_is_not_ours_any_more_is_let_go(bench: Bench) -> None:
    bench.offer(task_row())
    bench.publisher.outcomes = [Outcome.UNKNOWN]
    bench.worker.turn()
    bench.nothing_more()
    bench.engine.tasks["t1"] = task_row(lock_ends_in=130)

    bench.worker.turn()

    assert len(bench.publisher.batches) == 1
    assert bench.table.all() == []


def test_a_message_that_is_too_large_for_the_broker_becomes_an_incident_and_no_other_one_is_tried(
    bench: Bench,
) -> None:
    large = {"variables": {"scan": {"value": "x" * 5_000, "type": "String"}}}
    bench.offer(task_row("t1") | large)
    bench.publisher.outcomes, bench.publisher.most_bytes = [Outcome.TOO_LARGE], 4_000
    bench.worker.turn()
    bench.offer(task_row("t2") | large, task_row("t3"))

    bench.worker.turn()

    assert bench.engine.words().count("failure") == 2
    failure = bench.engine.body_of("failure")
    assert failure["retries"] == 0
    assert "max_message_size of the broker is 4000; the largest variable is 'scan'" in failure["errorMessage"]
    assert [len(batch) for batch in bench.publisher.batches] == [1, 1]


def test_a_message_that_is_too_large_becomes_an_incident_that_names_the_variable(bench: Bench) -> None:
    large = {"scan": {"value": "x" * 20_000, "type": "String"}, "title": {"value": "t", "type": "String"}}
    bench.offer(task_row() | {"variables": large})

    bench.worker.turn()

    failure = bench.engine.body_of("failure")
    assert failure["retries"] == 0
    assert "'scan' with 20000 characters" in failure["errorMessage"]
    assert bench.publisher.batches == []


def test_a_batch_that_comes_when_its_lease_is_nearly_over_is_not_published(bench: Bench) -> None:
    [late] = [fakes.external_task()]

    batch = bench.held_tasks.hold_all([late], time.monotonic() - 55)

    assert batch == []
    assert bench.table.all() == []


def test_a_task_whose_message_is_still_out_is_not_published_again(bench: Bench) -> None:
    bench.table.add(fakes.external_task(), BITRIX, time.monotonic() - 70)
    bench.table.published(["t1"])
    bench.offer(task_row(lock_ends_in=130))

    bench.worker.turn()

    assert bench.publisher.batches == []
    assert bench.table.in_flight(BITRIX) == 1


@pytest.mark.parametrize(
    ("outcome", "unlocked"),
    [
        (Outcome.UNSENT, True),
        (Outcome.RETURNED, True),
        (Outcome.DENIED, True),
        (Outcome.TOO_LARGE, True),
        (Outcome.UNKNOWN, False),
        (Outcome.CONFIRMED, False),
    ],
)
def test_a_stop_frees_only_what_was_certainly_not_published(
    bench: Bench, outcome: Outcome, unlocked: bool
) -> None:
    bench.offer(task_row())
    bench.publisher.outcomes = [outcome]
    bench.worker.turn()
    bench.stopping.set()

    bench.worker.run()

    assert ("unlock" in bench.engine.words()) is unlocked


def test_nothing_is_fetched_once_a_stop_need_not_wait_for_it(bench: Bench) -> None:
    bench.stopping.set()

    bench.worker.turn()

    assert "fetchAndLock" not in bench.engine.words()


def test_a_poll_is_no_longer_than_the_worker_has_run(bench: Bench, clock: Clock) -> None:
    bench.nothing_more()
    bench.worker._began = clock.now()

    for seconds in (0, 2, 60):
        clock.advance(seconds)
        bench.worker.turn()

    waits = [body["asyncResponseTimeout"] for word, body in bench.engine.calls if word == "fetchAndLock"]
    assert waits == [500, 2000, 5000]


def test_nothing_is_fetched_while_the_broker_is_away(bench: Bench) -> None:
    bench.admission.ready = False

    bench.worker.turn()

    assert bench.engine.calls == []


def test_a_task_whose_file_cannot_be_looked_up_comes_again_and_holds_up_no_other(bench: Bench) -> None:
    odd = task_row("t2") | {"variables": {"in/out": {"type": "File", "value": None}}}
    bench.offer(task_row("t1"), odd)
    bench.engine.replies["variable-instance"] = [None]
    bench.worker.turn()
    in_flight_before = [lease.task_id for lease in bench.table.all()]
    row = {"id": "v1", "activityInstanceId": "p1", "processInstanceId": "p1"}
    bench.engine.replies["variable-instance"] = [Reply(200, json.dumps([row]).encode())]

    bench.offer(odd)
    bench.worker.turn()

    sent = [[json.loads(one.body) for one in batch] for batch in bench.publisher.batches]
    assert [[body["task_id"] for body in batch] for batch in sent] == [["t1"], ["t2"]]
    assert sent[1][0]["metadata"]["file_urls"] == {"in/out": "http://engine/variable-instance/v1/data"}
    assert in_flight_before == ["t1"]
