"""Faults of what stands at the broker: queues and exchanges deleted, full, or other than wanted."""

import time
from collections import Counter

from tests.faults.broker import check_recoveries, note_outage_cost
from tests.faults.scene import OTHER_QUEUE, QUEUE, Scene
from tests.faults.worker import Worker

DEFAULT_QUEUE = "default.queue"
RESPONSE_QUEUE = "camunda.responses.queue"
TASK_EXCHANGE, RESPONSE_EXCHANGE = "camunda.external.tasks", "camunda.task.responses"
# What is deleted with a queue comes back when the full lock ends, so that one is short here.
SHORT_LOCK = {"CAMUNDA_LOCK_DURATION": "30000", "CAMUNDA_RETRY_TIMEOUT": "1000"}
STEADY = 30  # tasks per second, so that some are on their way all the time
WRONG_SETTINGS = 78
NOTICED_SECONDS = 5.0
UNROUTED_EXCHANGE, STRAYS = "camunda.unrouted.tasks", "strays"
CHURNS = 40
TASKS_OF_A_CHURN = 600  # at a steady pace, so that some are left when it is over


def task_queue_deleted(scene: Scene) -> None:
    """A task queue deleted with the messages that wait in it."""
    scene.observer.serve(DEFAULT_QUEUE)
    with scene.load(per_second=STEADY):
        scene.worker(**SHORT_LOCK)
        for number in scene.strikes():
            scene.observer.leave(QUEUE)
            scene.until(lambda: scene.broker.api.queue(scene.name, QUEUE).ready > 0, "a message that waits")
            delete_queue(scene, QUEUE)
            deleted_at = time.time()
            scene.observer.declares = number % 2 == 0  # in turn its system and the worker are the first to do so
            scene.observer.serve(QUEUE)
            scene.note_recovery(deleted_at, count_repeats=False, queue=QUEUE)
    check_recoveries(scene)
    scene.finish()


def exchange_deleted(scene: Scene) -> None:
    """An exchange deleted: that of the tasks, that of the responses."""
    scene.observer.answer_through(RESPONSE_EXCHANGE)
    with scene.load(per_second=STEADY):
        scene.worker()
        for number in scene.strikes(min(4, 2 * scene.scale.kills)):
            scene.watch.note_risk()
            scene.broker.api.delete_exchange(scene.name, (TASK_EXCHANGE, RESPONSE_EXCHANGE)[number % 2])
            scene.watch.note_risk()
            note_answers_flow(scene)
    check_recoveries(scene)
    scene.finish()


def response_queue_deleted(scene: Scene) -> None:
    """The response queue deleted under the consumer."""
    with scene.load(per_second=STEADY):
        scene.worker(**SHORT_LOCK)
        for _ in scene.strikes():
            delete_queue(scene, RESPONSE_QUEUE)
            note_answers_flow(scene)
    check_recoveries(scene)
    scene.finish()


def queue_full(scene: Scene) -> None:
    """A queue full with reject-publish: its topics pause, those of another system flow."""
    scene.add_system()
    scene.observer.leave(QUEUE)
    only_few_fit = {"max-length": 50, "overflow": "reject-publish"}
    scene.broker.api.set_policy(scene.name, "full", f"^{QUEUE}$", only_few_fit)
    full_since = time.monotonic()
    with scene.load():
        worker = scene.worker(CAMUNDA_RETRY_TIMEOUT="5000")
        scene.until(lambda: seen_in(scene, OTHER_QUEUE) >= scene.total // 2, "all tasks of the other system")
        before = worker.usage()
        scene.pause(scene.scale.alarm_seconds)
        note_outage_cost(scene, *worker.usage().since(before))
    check_attempts(scene, time.monotonic() - full_since)
    scene.observer.serve(QUEUE)
    scene.finish()


def wrong_arguments(scene: Scene) -> None:
    """Arguments that do not match at declare, when the worker starts and later."""
    scene.add_system()
    scene.observer.serve(DEFAULT_QUEUE)
    refuse_to_start(scene)
    with scene.load(per_second=STEADY):
        worker = scene.worker(**SHORT_LOCK)
        for _ in scene.strikes():
            make_wrong(scene)
            check_alarm(scene, worker)
            make_right(scene)
            scene.note_recovery(time.time(), count_repeats=False, queue=QUEUE)
    check_recoveries(scene)
    scene.finish()


def queue_made_anew(scene: Scene) -> None:
    """A system's queue wrong at the start, then deleted or made anew in a loop under load."""
    scene.add_system()
    watch_default_queue(scene)
    scene.observer.leave(QUEUE)
    scene.until(lambda: QUEUE in scene.broker.api.queues(scene.name), "the queue of the system")
    delete_queue(scene, QUEUE)
    scene.broker.api.declare_queue(scene.name, QUEUE, {"x-max-priority": 3})
    rounds = scene.scale.kills
    scene.total = max(scene.total, rounds * TASKS_OF_A_CHURN)
    worker = scene.worker(**SHORT_LOCK)
    with scene.load(scene.total // rounds, per_second=STEADY):
        check_wrong_at_start(scene, worker)
        churn_until_served(scene)
    for number in range(1, rounds):
        wait_for_all_but(scene, scene.total - number * (scene.total // rounds))
        scene.observer.leave(QUEUE)
        with scene.load(scene.total // rounds, per_second=STEADY):
            churn_until_served(scene)
    check_recoveries(scene)
    scene.finish()
    check_nothing_by_default(scene)


def wait_for_all_but(scene: Scene, tasks: int) -> None:
    """Wait until what was lost with a queue came back: lost twice in a row, a task is locked for two locks."""
    scene.until(lambda: scene.api.finished_count(scene.key) >= scene.total - tasks, "all tasks of a round done")


def churn_until_served(scene: Scene) -> None:
    """Delete the system's queue again and again; then its system listens at once to the last one made."""
    with scene.connect() as connection:
        channel = connection.channel()
        for number in range(CHURNS):
            scene.watch.note_risk()
            channel.queue_delete(QUEUE)
            if number % 2:  # else the worker declares it
                channel.queue_declare(QUEUE, durable=True)
            scene.pause(scene.random.uniform(0.0, 0.4))
    scene.observer.serve(QUEUE)
    scene.note_recovery(time.time(), count_repeats=False, queue=QUEUE)


def watch_default_queue(scene: Scene) -> None:
    """Let a queue of the test's own have a copy of whatever reaches the default queue through its two bindings."""
    with scene.connect() as connection:
        channel = connection.channel()
        channel.exchange_declare(UNROUTED_EXCHANGE, "fanout", durable=True)
        channel.queue_declare(STRAYS, durable=True)
        channel.queue_bind(STRAYS, UNROUTED_EXCHANGE, "")


def check_wrong_at_start(scene: Scene, worker: Worker) -> None:
    """The tasks of the other system flow; those of this one stay in the engine, and the log says why."""
    scene.until(lambda: seen_in(scene, OTHER_QUEUE) >= STEADY, "tasks of the other system")
    missing = [
        word
        for word in (f"{QUEUE!r} that differs", "x-max-priority", "tasks for bitrix24 stay in the engine")
        if word not in worker.text()
    ]
    if missing or seen_in(scene, QUEUE):
        scene.figures.problems.append(f"a queue that is wrong at the start: the log lacks {missing}")


def check_nothing_by_default(scene: Scene) -> None:
    """No task of a known system took the way of those that nobody claims, and no system was blamed."""
    with scene.connect() as connection:
        strays = connection.channel().queue_declare(STRAYS, passive=True).method.message_count
    rows = scene.api.task_log(processDefinitionKey=scene.key, failureLog="true")
    silent = [row for row in rows if "no answer from" in str(row.get("errorMessage"))]
    scene.figures.notes.append(f"{strays} tasks in the default queue, {len(silent)} blamed on their system")
    if strays or silent:
        scene.figures.problems.append(f"B2: {scene.figures.notes[-1]}")


def delete_queue(scene: Scene, queue: str) -> None:
    """Delete a queue with all that is in it."""
    scene.watch.note_risk()
    scene.broker.api.delete_queue(scene.name, queue)
    scene.watch.note_risk()


def note_answers_flow(scene: Scene) -> None:
    """Note how long it takes until an answer is applied that was not given yet."""
    given = scene.observer.answers_given
    seconds = scene.until(lambda: scene.api.finished_count(scene.key) > given, "answers that flow")
    scene.figures.recovery_seconds.append(seconds)


def seen_in(scene: Scene, queue: str) -> int:
    """Count the tasks that came through a queue."""
    return len({message.task_id for message in scene.observer.messages[:] if message.queue == queue})


def check_attempts(scene: Scene, seconds: float) -> None:
    """I6: at most one attempt per second and message."""
    rows = scene.api.task_log(processDefinitionKey=scene.key, failureLog="true")
    attempts = Counter(row["externalTaskId"] for row in rows)
    most = max(attempts.values(), default=0)
    scene.figures.notes.append(f"{len(attempts)} tasks refused by their queue, at most {most} times each")
    if not attempts or most > seconds:
        scene.figures.problems.append(f"I6: {scene.figures.notes[-1]} in {seconds:.0f} s")


def make_wrong(scene: Scene) -> None:
    """Put a queue with other arguments into the place of the system's."""
    scene.until(lambda: QUEUE in scene.broker.api.queues(scene.name), "the right queue")
    scene.observer.leave(QUEUE)
    delete_queue(scene, QUEUE)
    scene.broker.api.declare_queue(scene.name, QUEUE, {"x-max-length": 7})


def make_right(scene: Scene) -> None:
    """Delete the wrong queue and let its system make it as it should be."""
    delete_queue(scene, QUEUE)
    scene.observer.serve(QUEUE)


def refuse_to_start(scene: Scene) -> None:
    """Start a worker that must not run, for a queue of ours is wrong, and that says why."""
    scene.broker.api.declare_queue(scene.name, RESPONSE_QUEUE, {"x-max-length": 7})
    worker = scene.worker("refused")
    worker.is_wanted = False
    scene.until(lambda: not worker.running(), "the end of a worker with a wrong queue")
    if worker.exit_code != WRONG_SETTINGS:
        scene.figures.problems.append(f"the refused worker ended with {worker.exit_code}")
    missing = [word for word in (RESPONSE_QUEUE, "x-max-length", "none", "'7'") if word not in worker.text()]
    if missing:
        scene.figures.problems.append(f"the refused worker does not name {missing}")
    delete_queue(scene, RESPONSE_QUEUE)


def check_alarm(scene: Scene, worker: Worker) -> None:
    """The one system pauses and the log says why, also after a lost connection; the other's tasks flow."""
    said = worker.text().count("tasks for bitrix24 stay in the engine")
    seconds = scene.until(lambda: worker.text().count("tasks for bitrix24 stay in the engine") > said, "the alarm")
    scene.figures.noticed_seconds = max(seconds, scene.figures.noticed_seconds or 0.0)
    if seconds > NOTICED_SECONDS:
        scene.figures.problems.append(f"a wrong queue was noticed after {seconds:.1f} s")
    scene.broker.ctl("close_all_connections", "--vhost", scene.name, "the test wants it")
    seen = seen_in(scene, OTHER_QUEUE)
    scene.until(lambda: seen_in(scene, OTHER_QUEUE) > seen, "tasks of the other system")
