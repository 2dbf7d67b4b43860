"""Is the engine reachable, what can it do, what may we do, and which topics and tasks does it have."""

import re
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from bridge import clock
from bridge.contract import TaskState
from bridge.counted import counted
from bridge.routing import is_served, matches
from config import RoutingConfig, Settings
from tools.lib.diagnosis import remedies
from tools.lib.diagnosis.finding import Check, Level, Seen
from tools.lib.inspection import Inspection
from tools.lib.operations import Operations

ESSENTIAL = 2  # without an answer and a login nothing else can be known
MOST_TASKS = 5_000
MOST_READ = 300
SKEW_SECONDS = 5.0  # the header that tells the time has whole seconds
OLDEST = (7, 13)
FEATURES = {(7, 15): "tasks cannot be locked one by one", (7, 21): "tasks cannot be sorted by age"}


class EngineChecks:
    """The checks of the engine, in the order in which they make sense."""

    def __init__(
        self, inspection: Inspection, operations: Operations, settings: Settings, routing: RoutingConfig
    ) -> None:
        self._inspection = inspection
        self._operations = operations
        self._settings = settings
        self._routing = routing

    def checks(self) -> list[Check]:
        """Return the checks; the first ESSENTIAL must succeed for the others to mean anything."""
        url, user = self._settings.camunda_base_url, self._settings.camunda_auth_username
        login = f"as {user!r}" if user else "without a login"
        return [
            Check(
                "engine: reachable",
                f"GET {url}/engine",
                self._reachable,
                remedies.ENGINE_AWAY,
                remedies.for_engine,
            ),
            Check(
                "engine: login and version",
                f"GET {url}/version {login}",
                self._version,
                RIGHTS,
                remedies.for_engine,
            ),
            Check("engine: proxy", "CAMUNDA_PROXY, http_proxy, https_proxy, no_proxy", self._proxy, PROXY),
            Check("engine: permissions", "GET /authorization/check", self._permissions, RIGHTS),
            Check("engine: clock", "its Date header against our clock", self._clock, CLOCK),
            Check("engine: dates", "the time of the newest deployment", self._dates, READ),
            Check("engine: Spin plugin", "a Json variable for a task that is not there", self._spin, SPIN),
            Check("topics: routing", "the latest version of every process", self._topics, READ),
            Check("topics: other workers", "tasks that are locked now", self._others, READ),
            Check("tasks: failed", "tasks with no retries left", self._failed, READ),
            Check("tasks: given out", GIVEN_OUT_TRIED, self._given_out, READ),
            Check("engine: uncaught BPMN errors", "the REST API", _uncaught, ""),
        ]

    def _reachable(self) -> Seen:
        began = clock.now()
        names = self._inspection.engines()
        named = self._inspection.named_engine
        if not names or (named and named not in names):
            there = f"no engine {named!r}, only: {', '.join(names)}" if names else "no engine is registered yet"
            return Seen(Level.PROBLEM, f"answers, but there is {there}", MISSING)
        return Seen(Level.OK, f"answers in {(clock.now() - began) * 1000:.0f} ms: {', '.join(names)}")

    def _version(self) -> Seen:
        return judged_version(self._inspection.version())

    def _proxy(self) -> Seen:
        proxy = self._inspection.proxy
        return Seen(
            Level.OK, f"the engine is called through {proxy}" if proxy else "the engine is called directly"
        )

    def _dates(self) -> Seen:
        return judged_date(self._inspection.date_as_written())

    def _permissions(self) -> Seen:
        if self._settings.camunda_auth_username is None:
            return Seen(Level.OK, "no login: the engine lets everybody do everything")
        missing = self._inspection.missing_rights()
        if not missing:
            return Seen(Level.OK, "may fetch and answer the tasks of every process")
        saw = f"may not {' and not '.join(missing)} of every process"
        if self._inspection.topics_with_tasks():  # a user who serves some processes only
            return Seen(Level.WARNING, f"{saw}, though of some", RIGHTS)
        return Seen(Level.PROBLEM, f"{saw}, and sees no task of any", RIGHTS)

    def _clock(self) -> Seen:
        theirs = self._inspection.server_time()
        if theirs is None:
            return Seen(Level.NOTE, "the engine, or a proxy before it, does not tell the time")
        return judged_skew((theirs - datetime.now(UTC)).total_seconds())

    def _spin(self) -> Seen:
        if self._inspection.knows_json():
            return Seen(Level.OK, "variables of type Json are taken")
        saw = "variables of type Json are not known: untyped objects become String variables with JSON"
        return Seen(Level.NOTE, saw, SPIN)

    def _topics(self) -> Seen:
        processes = self._inspection.deployed_topics()
        for topic in self._inspection.topics_with_tasks():
            processes.setdefault(topic, set())
        return judged_topics(processes, self._routing, self._is_ours)

    def _is_ours(self, topic: str) -> bool:
        return is_served(topic, self._settings.camunda_topics_include, self._settings.camunda_topics_exclude)

    def _others(self) -> Seen:
        ids = (self._settings.camunda_worker_id, *self._settings.camunda_accept_worker_ids)
        locked = self._operations.tasks({"locked": True}, limit=MOST_TASKS)
        theirs = [task for task in locked if not matches(task.worker_id or "", ids)]
        return judged_others([task for task in theirs if self._is_ours(task.topic)])

    def _failed(self) -> Seen:
        failed = self._operations.tasks({"noRetriesLeft": True}, limit=MOST_TASKS)
        if not failed:
            return Seen(Level.OK, "none")
        topics = Counter(task.topic for task in failed)
        lines = tuple(f"{topic}: {count}" for topic, count in sorted(topics.items()))
        return Seen(Level.WARNING, f"no retries left: {counted(len(failed), 'task')}", FAILED, lines)

    def _given_out(self) -> Seen:
        """Read some of each topic and process first: a process that cannot be parsed spoils all its tasks."""
        open_tasks = self._operations.tasks({"withRetriesLeft": True}, limit=MOST_TASKS)
        ours = [task for task in open_tasks if self._is_ours(task.topic)]
        some = list({(task.topic, task.process_key): task for task in ours}.values())
        read = [*some, *(task for task in ours if task not in some)][:MOST_READ]
        reasons = {task: self._inspection.why_unreadable(task.execution_id) for task in read}
        return judged_given_out({task: reason for task, reason in reasons.items() if reason}, len(read))


MISSING = "wait for it to finish its start, or correct the engine's name in CAMUNDA_BASE_URL"
RIGHTS = (
    "in Admin grant the user of CAMUNDA_AUTH_USERNAME READ and UPDATE on Process Instance * "
    "(or READ_INSTANCE and UPDATE_INSTANCE on Process Definition *); without it the engine says there are no tasks"
)
PROXY = "set CAMUNDA_PROXY to a URL, or to none"
DATES = "the worker learns the zone from the ends of its locks and logs it; the tools show dates as they are"
CLOCK = (
    "run a time service (chrony, systemd-timesyncd) on both machines: systems compare lock_expires_at with theirs"
)
SPIN = "add the Spin plugin to the engine where processes read JSON objects"
READ = "grant the user of CAMUNDA_AUTH_USERNAME READ on Process Definition * and Process Instance *"
UNROUTED = "{}, because no system claims it"
UNROUTED_REMEDY = (
    "add them to a system in ROUTING_FILE, or leave them to other workers with CAMUNDA_TOPICS_EXCLUDE; "
    "nothing is lost: they go to {}"
)
GIVEN_OUT_TRIED = f"what a fetch reads of open tasks, up to {MOST_READ} of them"
GIVEN_OUT = (
    "repair the variable or deploy what its type needs; a process whose BPMN cannot be parsed any more must be "
    "deployed again and its instances migrated or deleted; then: python tools/retry_incidents.py --topic TOPIC"
)
OTHERS = (
    "to leave them to that worker, name these topics in CAMUNDA_TOPICS_EXCLUDE, with commas between; else stop "
    "that worker"
)
FAILED = (
    "see why: python tools/camunda_processes.py --incidents; then python tools/retry_incidents.py --topic TOPIC"
)


def judged_version(version: str) -> Seen:
    """Judge an engine's version; Operaton and CIB seven count anew from 1 and know all that is needed."""
    numbers = re.match(r"(\d+)\.(\d+)", version)
    if not numbers:
        return Seen(Level.WARNING, f"version {version!r} says nothing", "needed: Camunda 7.13 or newer")
    found = (int(numbers[1]), int(numbers[2]))
    if found[0] < OLDEST[0]:
        return Seen(Level.OK, f"version {version} (a successor of Camunda 7)")
    if found < OLDEST:
        return Seen(Level.PROBLEM, f"version {version} cannot list its topics", "needed: Camunda 7.13 or newer")
    missing = tuple(what for since, what in FEATURES.items() if found < since)
    return Seen(Level.NOTE if missing else Level.OK, f"version {version}", details=missing)


def judged_given_out(reasons: Mapping[TaskState, str], read: int) -> Seen:
    """Judge the tasks that the engine cannot read, each with its words; `read` were looked at."""
    if not reasons:
        return Seen(Level.OK, f"the engine can give out each of {counted(read, 'task')}")
    lines = tuple(f"task {task.id} of topic {task.topic}: {reason}" for task, reason in reasons.items())
    return Seen(
        Level.PROBLEM, f"the engine cannot give out {len(reasons)} of {counted(read, 'task')}", GIVEN_OUT, lines
    )


def judged_date(written: str | None) -> Seen:
    """Judge how the engine writes dates."""
    if written is None:
        return Seen(Level.SKIPPED, "nothing is deployed, so that there is no date to look at")
    try:
        has_zone = datetime.fromisoformat(written).tzinfo is not None
    except ValueError:
        return Seen(Level.NOTE, f"in an order of its own: {written[:40]!r}", DATES)
    return (
        Seen(Level.OK, "as usual, with a zone") if has_zone else Seen(Level.NOTE, f"no zone: {written!r}", DATES)
    )


def judged_skew(seconds: float) -> Seen:
    """Judge how far the engine's clock is ahead of ours."""
    if abs(seconds) <= SKEW_SECONDS:
        return Seen(Level.OK, "the clocks agree within a few seconds")
    direction = "ahead of" if seconds > 0 else "behind"
    return Seen(Level.WARNING, f"the engine's clock is {abs(seconds):.0f} s {direction} ours", CLOCK)


def judged_topics(
    processes: Mapping[str, set[str]], routing: RoutingConfig, is_ours: Callable[[str], bool]
) -> Seen:
    """Judge where each topic goes; `processes` are the keys of the processes that use it."""
    ways = {topic: _way(topic, routing, is_ours) for topic in sorted(processes)}
    lines = tuple(f"{topic} -> {way}{_used_by(processes[topic])}" for topic, way in ways.items())
    nobodys = [topic for topic, way in ways.items() if way == UNROUTED.format(routing.default.queue)]
    if nobodys:
        saw = f"{counted(len(ways), 'topic')}, {len(nobodys)} of them in no routing: {', '.join(nobodys)}"
        return Seen(Level.WARNING, saw, UNROUTED_REMEDY.format(routing.default.queue), lines)
    return Seen(Level.OK, f"{counted(len(ways), 'topic')}, each has its place", details=lines)


def _way(topic: str, routing: RoutingConfig, is_ours: Callable[[str], bool]) -> str:
    if "${" in topic or "#{" in topic:
        return "decided while the process runs"
    if not is_ours(topic):
        return "left to others (CAMUNDA_TOPICS_INCLUDE, CAMUNDA_TOPICS_EXCLUDE)"
    systems = routing.systems_of(topic)
    if systems == (routing.default,) and topic not in routing.topics:
        return UNROUTED.format(routing.default.queue)
    return " or ".join(system.queue for system in systems)


def _used_by(keys: set[str]) -> str:
    return f" ({', '.join(sorted(keys))})" if keys else " (of an older version that still runs)"


def judged_others(tasks: list[TaskState]) -> Seen:
    """Judge the tasks that other worker ids hold, of topics that this worker takes too."""
    if not tasks:
        return Seen(Level.OK, "no other worker id holds a task of a topic of ours")
    holders = Counter((task.topic, task.worker_id) for task in tasks)
    lines = tuple(
        f"{topic}: {count} held by {worker}" for (topic, worker), count in sorted(holders.items(), key=str)
    )
    saw = f"{counted(len(tasks), 'task')} of topics that this worker takes too"
    return Seen(Level.WARNING, saw, OTHERS, lines)


def _uncaught() -> Seen:
    saw = (
        "does not tell what the engine does with a bpmn_error that no event catches: by default the path just ends"
    )
    return Seen(Level.NOTE, saw, "set enableExceptionsAfterUnhandledBpmnError=true in the engine: it then says so")
