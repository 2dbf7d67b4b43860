"""What the simulation has found, each as the shortest plan that shows it; kept so that it stays mended."""

from dataclasses import dataclass

from tests.simulation.plan import Fault, Plan, Start, System


@dataclass(frozen=True)
class Story:
    """What went wrong, the rule that it broke, and how it came about."""

    name: str
    rule: str
    plan: Plan


def failing(*answers: str, **options: float) -> tuple[System, ...]:
    return (System("bitrix24", lock=100.0, answers=(*answers, "complete"), **options),)  # type: ignore[arg-type]


ONE = (Start(5.0, ("bitrix24",)),)

STORIES = [
    Story(
        "a system that is down is charged with a retry for each lock",
        "false blame",
        Plan((System("bitrix24", lock=100.0, down=((0.0, 400.0),)),), (Start(5.0, ("bitrix24",), 5),)),
    ),
    Story(
        "the lost reply to a failure turns its pause into a full lock",
        "pause became a lock",
        Plan(failing("failure 5"), ONE, (Fault("reset", "failure"),)),
    ),
    Story(
        "a sign of life after a failure turns its pause into a full lock",
        "pause became a lock",
        Plan(failing("failure 5", afterthought=0.5), ONE),
    ),
    Story(
        "a task whose answer cannot be used waits out its lock, and its system is blamed for silence",
        "locked for nobody",
        Plan((System("bitrix24", lock=100.0, answers=("invalid", "complete")),), ONE),
    ),
    Story(
        "a system that goes down and gives back what it had not begun is charged with silence",
        "false blame",
        Plan(
            (
                System("bitrix24"),
                System("1c", lock=10.0, work=2.0, down=((12.0, 72.0),), afterthought=0.001, prefetch=1),
            ),
            (
                Start(10.0, ("1c", "bitrix24", "1c"), 2),
                Start(3.0, ("1c",)),
                Start(10.0, ("1c", "bitrix24")),
            ),
            seed=2048328,
            max_tasks=1,
            broker_latency=0.05,
        ),
    ),
    Story(
        "a process that was stopped publishes what it had in hand after its lease",
        "published too late",
        Plan(
            (System("bitrix24"),),
            (Start(0.5, ("bitrix24", "bitrix24")),),
            (Fault("freeze", of="0", when="fetchAndLock", after=0.02, lasts=40.0),),
            seed=2127345,
        ),
    ),
    Story(
        "a task that failed without a pause is fetched before its answer is forgotten, for nobody",
        "locked for nobody",
        Plan(
            (System("1c", lock=60.0, answers=("failure 0", "complete")), System("mail")),
            (
                Start(0.5, ("mail", "1c")),
                Start(3.05, ("1c",)),
                *(Start(3.1 + i * 0.007, ("mail",)) for i in range(60)),
            ),
            seed=7,
        ),
    ),
    Story(
        "a cancelled task counts as in flight for as long as its lock would have lasted",
        "in flight for ever",
        Plan(
            (System("bitrix24", lock=300.0, answers=("silence",)), System("1c")),
            (Start(5.0, ("bitrix24",), 2), Start(100.0, ("1c",))),
            (Fault("cancel", when="published", after=5.0),),
        ),
    ),
    Story(
        "a task that another process answered counts as in flight",
        "in flight for ever",
        Plan(
            (System("bitrix24", lock=300.0, work=3.0),),
            (Start(5.0, ("bitrix24",), 2), Start(100.0, ("bitrix24",))),
            processes=("worker", "handler"),
        ),
    ),
    Story(
        "a task whose answer waits for the end of a suspension is handed out again after it",
        "answered and handed out",
        Plan(
            (System("bitrix24", lock=60.0, work=5.0),),
            ONE,
            (Fault("suspend", when="taken", after=0.5, lasts=100.0),),
        ),
    ),
    Story(
        "a batch that waits for the confirms of others is published after its lease",
        "published too late",
        Plan(
            (System("bitrix24", work=1.0),),
            (Start(5.0, ("bitrix24",), 50),),
            (Fault("memory alarm", when="published", lasts=60.0),),
            max_tasks=1,
            broker_latency=0.05,
        ),
    ),
    Story(
        "a worker that starts hands out tasks whose answers wait",
        "answered and handed out",
        Plan(
            (System("bitrix24", lock=10.0),),
            (Start(0.5, ("bitrix24", "bitrix24")),),
            (Fault("kill", "0", when="published", lasts=12.0),),
        ),
    ),
    Story(
        "a broker that comes back brings answers, and their tasks are handed out first",
        "answered and handed out",
        Plan(
            (System("1c", lock=20.0),),
            (Start(0.5, ("1c", "1c")),),
            (Fault("broker down", when="answered", lasts=35.0),),
            seed=1,
        ),
    ),
    Story(
        "with the shortest lock a poll brings tasks too late to be published, again and again",
        "locked for nobody",
        Plan((System("1c", lock=10.0, answers=("silence",)),), (Start(10.0, ("1c",)),)),
    ),
    Story(
        "after a restart at CAMUNDA_MAX_IN_FLIGHT nothing is fetched ever again",
        "starved",
        Plan(
            (System("bitrix24"),),
            (Start(3.0, ("bitrix24",), 2),),
            (Fault("kill", "0", when="fetchAndLock", lasts=0.5),),
            max_in_flight=2,
        ),
    ),
    Story(
        "the lock ends before the moment that the message told its system",
        "doubled",
        Plan(
            (System("mail", work=44.0, answers=("failure 0", "complete"), down=((0.0, 25.0),)),),
            (Start(3.0, ("mail",)),),
        ),
    ),
    Story(
        "a late answer makes the worker forget the attempt that goes on",
        "doubled",
        Plan((System("1c", lock=60.0, work=66.0, answers=("failure 1", "complete")),), (Start(0.5, ("1c",)),)),
    ),
    Story(
        "without a pause after a failure, silence is reported while the system may still work",
        "doubled",
        Plan((System("1c", work=44.0),), (Start(30.0, ("1c",), 5),), max_in_flight=5, retry_pause=0.0),
    ),
    Story(
        "a system is charged with silence while its answer is in our hand",
        "false silence",
        Plan(
            (System("bitrix24", lock=10.0, echoes_attempt=False), System("1c")),
            (Start(3.0, ("1c", "bitrix24")),),
            (Fault("lose", "3 complete", lasts=12.0),),
        ),
    ),
    Story(
        "a task of a known system goes to the default queue while its own is missing",
        "wrong queue",
        Plan(
            (System("bitrix24"),),
            (Start(30.0, ("bitrix24",)),),
            (Fault("queue deleted", "bitrix24", "fetchAndLock"),),
        ),
    ),
    Story(
        "the worker says that nobody listens to the responses while it is the one that paused",
        "wrong alarm",
        Plan(
            (System("bitrix24", afterthought=3.0),),
            (Start(0.5, ("bitrix24", "bitrix24")),),
            (Fault("engine down", when="taken", lasts=70.0),),
        ),
    ),
    Story(
        "without a pause after a failure, a full queue is tried more than a hundred times a second",
        "spinning",
        Plan(
            (System("mail"),),
            (Start(10.0, ("mail",)), Start(30.0, ("mail",))),
            (Fault("queue full", "mail", after=0.3, lasts=70.0),),
            retry_pause=0.0,
        ),
    ),
    Story(
        "a lease ends during a long call of its process instance, and the task is published twice",
        "doubled",
        Plan(
            (
                System("bitrix24"),
                System(
                    "1c",
                    lock=20.0,
                    work=16.0,
                    answers=(
                        "failure 5",
                        "complete",
                    ),
                    heartbeat=6.666666666666667,
                ),
                System("mail", lock=60.0, work=66.0, prefetch=1),
            ),
            (
                Start(
                    3.0,
                    (
                        "mail",
                        "1c",
                        "mail",
                    ),
                    count=5,
                ),
            ),
            faults=(
                Fault("lose", of="complete", when="published", nth=5, lasts=12.0),
                Fault("trouble", of="read", when="fetchAndLock", nth=2, lasts=12.0),
            ),
            seed=4035305,
            processes=(
                "both",
                "both",
            ),
            max_tasks=3,
            retry_pause=0.0,
        ),
    ),
    Story(
        "a system is charged with silence by a look at the engine that took long, while its answer was applied",
        "false blame",
        Plan(
            (
                System("bitrix24", work=0.05),
                System(
                    "1c",
                    lock=60.0,
                    work=48.0,
                    down=(
                        (
                            3.0,
                            8.0,
                        ),
                    ),
                    heartbeat=20.0,
                ),
                System(
                    "mail",
                    lock=20.0,
                    work=22.0,
                    answers=(
                        "failure 1",
                        "failure 60",
                        "complete",
                    ),
                    prefetch=1,
                ),
            ),
            (
                Start(
                    10.0,
                    (
                        "1c",
                        "bitrix24",
                        "mail",
                    ),
                    count=5,
                ),
            ),
            faults=(Fault("late", of="3 read", when="failure", nth=5, after=41.0, lasts=12.0),),
            seed=4035850,
            processes=(
                "worker",
                "handler",
            ),
            max_tasks=3,
            max_in_flight=5,
            retry_pause=20.0,
        ),
    ),
    Story(
        "a late answer is applied between the look at a refused task and its failure, and is undone",
        "lost retry",
        Plan(
            (
                System("bitrix24", work=48.0, heartbeat=20.0, prefetch=1),
                System("1c"),
                System(
                    "mail",
                    work=44.0,
                    answers=(
                        "failure 5",
                        "requeue",
                        "complete",
                    ),
                    prefetch=1,
                    echoes_attempt=False,
                ),
            ),
            (
                Start(
                    3.0,
                    (
                        "mail",
                        "bitrix24",
                    ),
                    count=5,
                ),
            ),
            faults=(Fault("queue full", of="mail", when="published", after=41.0, lasts=12.0),),
            seed=4042367,
            max_in_flight=5,
            retry_pause=1.0,
            extend_after=0.0,
            broker_latency=0.05,
        ),
    ),
    Story(
        "a late sign of life locks a task whose message never left, for nobody",
        "locked for nobody",
        Plan(
            (
                System(
                    "1c",
                    answers=(
                        "failure 0",
                        "complete",
                    ),
                    afterthought=0.3,
                    echoes_attempt=False,
                ),
            ),
            (Start(3.0, ("1c",)),),
            faults=(Fault("broker down", when="answered", after=0.3, lasts=40.0),),
        ),
    ),
    Story(
        "a failure in another process, after which a task looks as before but for its lock, is no sign of life",
        "pause became a lock",
        Plan(
            (
                System(
                    "1c",
                    lock=20.0,
                    answers=(
                        "failure 60",
                        "failure 60",
                        "complete",
                    ),
                ),
            ),
            (Start(3.0, ("1c",)),),
            faults=(
                Fault("kill", of="1", when="extendLock", lasts=12.0),
                Fault("set retries", after=20.0, lasts=12.0),
            ),
            processes=("worker", "handler"),
        ),
    ),
]
