"""Tasks that the engine cannot give out: what they cost the others, and who learns of them."""

import json
from dataclasses import dataclass
from typing import Any

import pytest
from prometheus_client import REGISTRY

from bridge.engine import Reply
from bridge.errors import Unavailable
from tests.unit import fakes
from tests.unit.fakes import FakeEngine, task_row
from tests.unit.test_camunda_worker import Bench

VARIABLE = "ENGINE-03040 No serializer defined for variable instance 'TypedValueField@57d8c79a'"
PROCESS = (
    "ENGINE-09003 Could not parse 'p2.bpmn'. XML document structures must start and end within the same entity."
)


@dataclass
class Stored:
    """A task in the engine's database; `broken` is what the engine says when it reads all of it."""

    topic: str = "bitrix_create_task"
    broken: str = ""
    process: str = "p1:1"
    locked: bool = False


class BrokenEngine(FakeEngine):
    """Gives out tasks as Camunda does: one that it cannot read makes the whole fetch fail."""

    def __init__(self, **stored: Stored) -> None:
        super().__init__()
        self.stored = stored
        self.incidents: dict[str, str] = {}
        self.is_down = False
        self.reads_each_well = False
        self.hiccups: list[Reply] = []

    def send(self, method: str, path: str, body: bytes | None = None, *, timeout_seconds: float) -> Reply:
        word, request = path.partition("?")[0].rpartition("/")[2], json.loads(body or b"{}")
        if self.is_down and word != "fetchAndLock":
            raise Unavailable("connection refused")
        if word == "fetchAndLock":
            self.calls.append((word, request))
            return self._give(request)
        if word == "variables":
            self.calls.append((word, {}))
            return self._read(path.split("/")[2])
        if word in ("failure", "unlock"):
            return self._change(word, path.split("/")[2], request)
        if word == "topic-names":
            return Reply(200, json.dumps(sorted({one.topic for one in self.stored.values()})).encode())
        return super().send(method, path, body, timeout_seconds=timeout_seconds)

    def _give(self, request: dict[str, Any]) -> Reply:
        if self.is_down:
            return failed("Could not open JDBC connection")
        topics = {topic["topicName"]: topic for topic in request["topics"]}
        free = [(i, one) for i, one in self.stored.items() if one.topic in topics and not one.locked]
        wanted = [
            (task_id, one)
            for task_id, one in free
            if topics[one.topic].get("processDefinitionId", one.process) == one.process
        ][: request["maxTasks"]]
        for _, one in wanted:
            topic = topics[one.topic]
            if one.broken == PROCESS and topic.get("includeExtensionProperties"):
                return failed(PROCESS)
            if one.broken == VARIABLE and topic.get("variables") != []:
                return failed(VARIABLE)
        for _, one in wanted:
            one.locked = True
        return Reply(200, json.dumps([self._row(task_id, one) for task_id, one in wanted]).encode())

    def _row(self, task_id: str, one: Stored) -> dict[str, Any]:
        row = task_row(task_id, topic=one.topic)
        return row | {"executionId": task_id, "processDefinitionId": one.process, "variables": {}}

    def _read(self, task_id: str) -> Reply:
        if self.hiccups:
            return self.hiccups.pop()
        broken = "" if self.reads_each_well else self.stored[task_id].broken
        return failed(broken) if broken else Reply(200, b"{}")

    def _change(self, word: str, task_id: str, request: dict[str, Any]) -> Reply:
        self.calls.append((word, {"id": task_id, **request}))
        if self.stored[task_id].broken == PROCESS:
            return failed(PROCESS)
        if word == "unlock":
            self.stored[task_id].locked = False
        else:
            self.incidents[task_id] = request["errorMessage"]
        return fakes.ACCEPTED


def failed(words: str) -> Reply:
    return fakes.refusal(500, words, kind="ProcessEngineException", code=0)


def published(bench: Bench) -> set[str]:
    return {one.properties["correlation_id"] for batch in bench.publisher.batches for one in batch}


def at(engine: BrokenEngine) -> Bench:
    bench = Bench(engine)
    bench.engine.replies.clear()
    return bench


def turns(bench: Bench, count: int) -> None:
    for _ in range(count):
        bench.worker.turn()


def count(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"camunda_worker_{name}", labels) or 0.0


@pytest.mark.parametrize("broken", [VARIABLE, PROCESS])
@pytest.mark.parametrize("topic", ["bitrix_create_task", "other"])
def test_a_task_that_the_engine_cannot_give_out_costs_the_others_nothing(broken: str, topic: str) -> None:
    good = {f"g{number}": Stored("bitrix_create_task" if number % 2 else "third") for number in range(10)}
    bench = at(BrokenEngine(bad=Stored(topic, broken, "p2:1"), **good))

    turns(bench, 4)

    assert published(bench) == good.keys()


def test_it_gets_an_incident_and_is_named_in_the_log_and_counted(logged: list[str]) -> None:
    before = count("tasks_not_given_out_total", system="bitrix24")
    engine = BrokenEngine(bad=Stored(broken=VARIABLE), good=Stored())
    bench = at(engine)

    turns(bench, 3)

    assert VARIABLE in engine.incidents["bad"]
    assert [line for line in logged if "ERROR task bad of topic bitrix_create_task got an incident" in line]
    assert count("tasks_not_given_out_total", system="bitrix24") == before + 1
    assert bench.worker.not_given_out() == []
    assert bench.table.in_flight(bench.worker._routing.systems_of("bitrix_create_task")[0]) == 1


def test_many_of_them_among_many_good_ones_are_all_found() -> None:
    tasks = {f"t{number}": Stored(broken=VARIABLE if number % 7 == 3 else "") for number in range(70)}
    engine = BrokenEngine(**tasks)
    bench = at(engine)

    turns(bench, 30)

    bad = {task_id for task_id, one in tasks.items() if one.broken}
    assert engine.incidents.keys() == bad
    assert published(bench) == tasks.keys() - bad


def test_tasks_of_a_process_that_cannot_be_read_are_put_aside_and_shown(logged: list[str]) -> None:
    many = {f"b{number}": Stored("other", PROCESS, "p2:1") for number in range(40)}
    engine = BrokenEngine(good=Stored("other"), **many)
    bench = at(engine)

    turns(bench, 5)

    assert all(one.locked for one in engine.stored.values())
    assert published(bench) == {"good"}
    assert "process p2:1: 500 ENGINE-09003" in bench.worker.not_given_out()[0]
    holds = [body["topics"][0]["lockDuration"] for word, body in engine.calls if word == "fetchAndLock"]
    assert holds.count(600_000) == 1
    assert len(engine.calls) < 60


def test_a_topic_is_fetched_with_the_others_again_once_its_tasks_are_well() -> None:
    engine = BrokenEngine(bad=Stored("other", VARIABLE))
    bench = at(engine)
    turns(bench, 3)
    engine.calls.clear()

    bench.worker.turn()

    [(_, poll)] = [call for call in engine.calls if call[0] == "fetchAndLock"]
    assert sorted(topic["topicName"] for topic in poll["topics"]) == ["bitrix_create_task", "other"]
    assert poll["asyncResponseTimeout"] == 5000


def test_a_database_that_is_away_is_no_fault_of_a_task() -> None:
    engine = BrokenEngine(good=Stored())
    bench = at(engine)
    turns(bench, 1)
    engine.is_down = True

    with pytest.raises(Unavailable):
        bench.worker.turn()

    assert bench.worker.not_given_out() == []


def test_where_no_single_task_is_at_fault_the_engine_is_and_nothing_stays_locked() -> None:
    engine = BrokenEngine(one=Stored(), two=Stored("other"))
    bench = at(engine)
    engine.reads_each_well = True
    for one in engine.stored.values():
        one.broken = VARIABLE

    with pytest.raises(Unavailable, match="ENGINE-03040"):
        bench.worker.turn()

    assert engine.incidents == {}
    assert not any(one.locked for one in engine.stored.values())


def test_a_topic_with_a_riddle_is_asked_seldom_while_the_others_flow(logged: list[str]) -> None:
    engine = BrokenEngine(riddle=Stored("other", VARIABLE), good=Stored())
    engine.reads_each_well = True
    bench = at(engine)

    turns(bench, 3)

    assert published(bench) == {"good"}
    assert "topic other: 500 ENGINE-03040" in bench.worker.not_given_out()[0]
    asked = [body for word, body in engine.calls if word == "fetchAndLock"]
    assert asked[-1]["asyncResponseTimeout"] <= 1000
    assert [topic["topicName"] for topic in asked[-1]["topics"]] == ["bitrix_create_task"]


def test_an_engine_that_fails_for_a_moment_puts_no_blame_on_a_task() -> None:
    engine = BrokenEngine(good=Stored())
    bench = at(engine)
    engine.stored["good"].broken = VARIABLE
    engine.reads_each_well, engine.hiccups = True, [failed("hiccup")]

    with pytest.raises(Unavailable):
        bench.worker.turn()

    assert engine.incidents == {}


def odd_rows() -> list[Any]:
    row = task_row("odd")
    without = [{name: value for name, value in row.items() if name != missing} for missing in ("id", "topicName")]
    return [*without, row | {"lockExpirationTime": None}, row | {"lockExpirationTime": "soon"}, None, 7, [], "x"]


@pytest.mark.parametrize("odd", odd_rows(), ids=str)
def test_an_odd_row_costs_itself_alone(bench: Bench, odd: Any, logged: list[str]) -> None:
    before = count("unreadable_rows_total", call="fetchAndLock")
    bench.engine.replies["fetchAndLock"] = [Reply(200, json.dumps([task_row("a"), odd, task_row("b")]).encode())]

    bench.worker.turn()

    assert published(bench) == {"a", "b"}
    assert count("unreadable_rows_total", call="fetchAndLock") == before + 1
    assert [line for line in logged if "that cannot be read" in line]


@pytest.fixture
def bench() -> Bench:
    return Bench()
