"""Faults of what stands between the worker and the engine, and of an engine that is named and not there."""

import json
import time
from collections.abc import Sequence
from dataclasses import replace

from tests.faults import gateway
from tests.faults.broker import note_outage_cost
from tests.faults.engine import hold_all_answers, note_catching_up
from tests.faults.gateway import Gateway, Reply, Request, Rule, engine_error
from tests.faults.scene import Scene
from tests.faults.worker import Worker

RETRY_AFTER_SECONDS = 6
RETRY_AFTER_SLACK_SECONDS = 1.0  # calls that were out when the gateway asked for it
REFUSALS: Sequence[tuple[str, Reply]] = (
    ("429 with Retry-After", Reply(429, b"slow down", {"Retry-After": str(RETRY_AFTER_SECONDS)})),
    ("503", Reply(503, b"<html>Service Unavailable</html>")),
    ("a login page with 200", Reply(200, b"<html>please log in</html>", {"Content-Type": "text/html"})),
    ("403 of a firewall", Reply(403, b"<html>blocked</html>")),
)
CUT_SECONDS = 3.0
PUNCTUAL_SECONDS = 10.0
NEW_TASK_SECONDS = 0.5
MOST_PER_SECOND = 5.0
WAITS_PER_SECOND = 1.0
SINGLES = 8


def refuses_complete(scene: Scene) -> None:
    """Gateway that refuses `complete` alone, in four ways, while all else passes."""
    with gateway.before(scene.engine) as between:
        worker = hold_all_extended(scene, CAMUNDA_BASE_URL=between.url, FAULT_TIERS_MS=scene.scale.tiers_ms)
        began, before = time.monotonic(), worker.usage()
        between.rule = lambda request: REFUSALS[0][1] if request.word == "complete" else request
        scene.observer.release()
        for what, reply in REFUSALS:
            between.rule = refusing("complete", reply)
            scene.pause(scene.scale.gateway_seconds / len(REFUSALS))
            scene.figures.notes.append(f"{what}: {len(between.since(began, 'complete'))} calls so far")
        note_outage_cost(scene, *worker.usage().since(before))
        check_retry_after(scene, between)
        between.rule = gateway.pass_on
        back_at = time.monotonic()
        scene.until(lambda: scene.api.finished_count(scene.key) >= scene.total, "all answers at the engine")
        note_catching_up(scene, time.monotonic() - back_at)
        check_nobody_blamed(scene)
        scene.finish()


def hold_all_extended(scene: Scene, **settings: str) -> Worker:
    """Bring all tasks to their systems, with full locks: none of them may come again."""
    worker = hold_all_answers(scene, **settings)
    scene.until(lambda: not scene.watch.note_risk(), "all locks extended")
    scene.watch.at_risk.clear()
    return worker


def refusing(word: str, reply: Reply) -> Rule:
    """Return the rule that answers one kind of call in the engine's place."""
    return lambda request: reply if request.word == word else request


def check_retry_after(scene: Scene, between: Gateway) -> None:
    """No `complete` comes before the time that the gateway asked for is over."""
    calls = [one for one in between.seen if one.word == "complete"]
    asked = [one.moment for one in calls if one.status == 429]
    early = sum(
        any(RETRY_AFTER_SLACK_SECONDS < one.moment - at < RETRY_AFTER_SECONDS - 0.1 for at in asked)
        for one in calls
    )
    scene.figures.notes.append(f"{len(asked)} times asked to wait, {early} calls too early")
    if early or not asked:
        scene.figures.problems.append(f"Retry-After: {scene.figures.notes[-1]}")


def check_nobody_blamed(scene: Scene) -> None:
    """No task was reported as failed: none of its system's answers was at fault."""
    if failures := scene.api.task_log_count(processDefinitionKey=scene.key, failureLog="true"):
        scene.figures.problems.append(f"{failures} tasks were reported as failed, and none was")


def cuts_polls(scene: Scene) -> None:
    """Gateway that cuts every request after 3 s: long polls get 504."""
    with gateway.before(scene.engine) as between:
        between.rule = cutting
        worker = scene.worker(CAMUNDA_BASE_URL=between.url)
        make_topic_known(scene)
        scene.until(lambda: "polls wait" in worker.text(), "shorter polls", 30.0)
        delays = start_singles(scene, scene.total // 50, pause_seconds=2.0)
        late = [delay for delay in delays if delay > PUNCTUAL_SECONDS]
        scene.figures.notes.append(f"{len(delays)} single tasks after at most {max(delays):.1f} s")
        if late:
            scene.figures.problems.append(f"{len(late)} single tasks were late: {max(late):.0f} s")
        with scene.load(scene.total - len(delays) - 1):
            pass
        scene.finish()


def make_topic_known(scene: Scene) -> None:
    """Bring one task through: a worker polls for the topics it has heard of."""
    scene.api.start_instance(scene.key, {"number": -1, "topic": scene.topics[0]})
    scene.until_seen(1)


def cutting(request: Request) -> Request:
    """Cut what takes long; the engine goes on with it, and may lock tasks for nobody."""
    return replace(request, patience_seconds=CUT_SECONDS)


def answers_polls_at_once(scene: Scene) -> None:
    """Gateway that drops asyncResponseTimeout: long polls come back at once."""
    with gateway.before(scene.engine) as between:
        between.rule = not_waiting
        worker = scene.worker(CAMUNDA_BASE_URL=between.url)
        make_topic_known(scene)
        scene.until(lambda: "asyncResponseTimeout" in worker.text(), "a warning that names the cause", 30.0)
        check_idle(scene, between, worker)
        delays = start_singles(scene, SINGLES, pause_seconds=0.7)
        scene.figures.notes.append(f"single tasks after at most {max(delays):.2f} s")
        if max(delays) > NEW_TASK_SECONDS:
            scene.figures.problems.append(scene.figures.notes[-1])
        between.rule = gateway.pass_on
        scene.until(lambda: "polls wait at the engine again" in worker.text(), "polls that wait again", 30.0)
        check_rate(scene, between, WAITS_PER_SECOND)
        if worker.text().count("ignores asyncResponseTimeout") != 1:
            scene.figures.problems.append("the warning came more than once")
        with scene.load(scene.total - SINGLES - 1):
            pass
        scene.finish()


def not_waiting(request: Request) -> Request:
    """Let no poll wait."""
    if request.word != "fetchAndLock":
        return request
    return replace(request, body=json.dumps({**json.loads(request.body), "asyncResponseTimeout": 0}).encode())


def check_idle(scene: Scene, between: Gateway, worker: Worker) -> None:
    """With nothing to do the engine is asked five times a second at most."""
    before = worker.usage()
    check_rate(scene, between, MOST_PER_SECOND)
    note_outage_cost(scene, *worker.usage().since(before))


def check_rate(scene: Scene, between: Gateway, most_per_second: float) -> None:
    """Count the requests of an idle worker."""
    began = time.monotonic()
    scene.pause(scene.scale.idle_seconds)
    per_second = len(between.since(began)) / (time.monotonic() - began)
    scene.figures.notes.append(f"idle: {per_second:.1f} requests/s")
    if per_second > most_per_second:
        scene.figures.problems.append(
            f"idle: {per_second:.1f} requests/s, at most {most_per_second:g} are allowed"
        )


def start_singles(scene: Scene, count: int, *, pause_seconds: float) -> list[float]:
    """Start tasks one by one, and return after how many seconds each was in its queue."""
    started: dict[int, float] = {}
    for number in range(10_000, 10_000 + count):
        scene.pause(scene.random.uniform(0.5, 1.5) * pause_seconds)
        started[number] = time.time()
        scene.api.start_instance(scene.key, {"number": number, "topic": scene.topics[0]})
    scene.until(
        lambda: started.keys() <= {message.number for message in scene.observer.messages[:]}, "all singles"
    )
    seen: dict[int, float] = {}
    for message in scene.observer.messages[:]:
        seen.setdefault(message.number, message.seen_at)
    return [seen[number] - at for number, at in started.items()]


NO_ENGINE = engine_error(400, "InvalidRequestException", "No process engine available")
NULL_POINTER = engine_error(500, "NullPointerException", None)


def named_engine(scene: Scene) -> None:
    """Named engine missing, then being deployed (NullPointerException), its version null, while answers arrive."""
    with gateway.before(scene.engine) as between:
        between.rule = version_null
        worker = hold_all_extended(
            scene, CAMUNDA_BASE_URL=f"{between.url}/engine/default", FAULT_TIERS_MS=scene.scale.tiers_ms
        )
        before = worker.usage()
        between.rule = missing
        scene.observer.release()
        scene.pause(scene.scale.engine_silent_seconds)
        between.rule = deployed
        scene.pause(scene.scale.engine_silent_seconds)
        note_outage_cost(scene, *worker.usage().since(before))
        between.rule = version_null
        back_at = time.monotonic()
        scene.until(lambda: scene.api.finished_count(scene.key) >= scene.total, "all answers at the engine")
        note_catching_up(scene, time.monotonic() - back_at)
        check_nobody_blamed(scene)
        scene.finish()


def version_null(request: Request) -> Reply | Request:
    """Let the engine work, and not know its version."""
    if request.word == "version":
        return Reply(200, b'{"version": null}', {"Content-Type": "application/json"})
    return request


def missing(request: Request) -> Reply | Request:
    """Ask for an engine that does not exist: all but `/version` fails."""
    return replace(request, path=request.path.replace("/engine/default/", "/engine/not-there/", 1))


def deployed(request: Request) -> Reply | Request:
    """Answer as an engine does while it is deployed."""
    return NULL_POINTER if "/external-task" in request.path else version_null(request)
