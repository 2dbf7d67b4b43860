"""Is the engine reachable, what can it do, what may we do, and which topics and tasks does it have."""

import re
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from bridge import clock
from bridge.contract import TaskState
from bridge.routing import is_served, matches
from bridge.texts import Said, gettext, ngettext, translated
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
FEATURES = {
    (7, 15): Said("tasks cannot be locked one by one"),
    (7, 21): Said("tasks cannot be sorted by age"),
}


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
        login = gettext("as {user!r}").format(user=user) if user else gettext("without a login")
        away, of_engine, proxies = remedies.ENGINE_AWAY, remedies.for_engine, ", ".join(PROXIES)
        read = gettext("what a fetch reads of open tasks, up to {number} of them").format(number=MOST_READ)
        answering, version = f"GET {url}/engine", f"GET {url}/version {login}"
        return [
            Check(gettext("engine: reachable"), answering, self._reachable, away, of_engine),
            Check(gettext("engine: login and version"), version, self._version, RIGHTS, of_engine),
            Check(gettext("engine: proxy"), proxies, self._proxy, PROXY),
            Check(gettext("engine: permissions"), "GET /authorization/check", self._permissions, RIGHTS),
            Check(gettext("engine: clock"), gettext("its Date header against our clock"), self._clock, CLOCK),
            Check(gettext("engine: dates"), gettext("the time of the newest deployment"), self._dates, READ),
            Check(
                gettext("engine: Spin plugin"),
                gettext("a Json variable for a task that is not there"),
                self._spin,
                SPIN,
            ),
            Check(gettext("topics: routing"), gettext("the latest version of every process"), self._topics, READ),
            Check(gettext("topics: other workers"), gettext("tasks that are locked now"), self._others, READ),
            Check(gettext("tasks: failed"), gettext("tasks with no retries left"), self._failed, READ),
            Check(gettext("tasks: given out"), read, self._given_out, READ),
            Check(gettext("engine: uncaught BPMN errors"), gettext("the REST API"), _uncaught, ""),
        ]

    def _reachable(self) -> Seen:
        began = clock.now()
        names = self._inspection.engines()
        named = self._inspection.named_engine
        if not names or (named and named not in names):
            only = gettext("answers, but there is no engine {name!r}, only: {names}")
            saw = only if names else gettext("answers, but there is no engine registered yet")
            return Seen(Level.PROBLEM, saw.format(name=named, names=", ".join(names)), MISSING)
        saw = gettext("answers in {milliseconds:.0f} ms: {names}")
        took = (clock.now() - began) * 1000
        return Seen(Level.OK, saw.format(milliseconds=took, names=", ".join(names)))

    def _version(self) -> Seen:
        return judged_version(self._inspection.version())

    def _proxy(self) -> Seen:
        proxy = self._inspection.proxy
        through = gettext("the engine is called through {proxy}").format(proxy=proxy)
        return Seen(Level.OK, through if proxy else gettext("the engine is called directly"))

    def _dates(self) -> Seen:
        return judged_date(self._inspection.date_as_written())

    def _permissions(self) -> Seen:
        if self._settings.camunda_auth_username is None:
            return Seen(Level.OK, gettext("no login: the engine lets everybody do everything"))
        missing = self._inspection.missing_rights()
        if not missing:
            return Seen(Level.OK, gettext("may fetch and answer the tasks of every process"))
        acts = gettext(" and not ").join(map(translated, missing))
        if self._inspection.topics_with_tasks():  # a user who serves some processes only
            saw = gettext("may not {acts} of every process, though of some")
            return Seen(Level.WARNING, saw.format(acts=acts), RIGHTS)
        saw = gettext("may not {acts} of every process, and sees no task of any")
        return Seen(Level.PROBLEM, saw.format(acts=acts), RIGHTS)

    def _clock(self) -> Seen:
        theirs = self._inspection.server_time()
        if theirs is None:
            return Seen(Level.NOTE, gettext("the engine, or a proxy before it, does not tell the time"))
        return judged_skew((theirs - datetime.now(UTC)).total_seconds())

    def _spin(self) -> Seen:
        if self._inspection.knows_json():
            return Seen(Level.OK, gettext("variables of type Json are taken"))
        saw = gettext("variables of type Json are not known: untyped objects become String variables with JSON")
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
            return Seen(Level.OK, gettext("none"))
        topics = Counter(task.topic for task in failed)
        lines = tuple(f"{topic}: {count}" for topic, count in sorted(topics.items()))
        saw = ngettext("no retries left: {number} task", "no retries left: {number} tasks", len(failed))
        return Seen(Level.WARNING, saw.format(number=len(failed)), FAILED, lines)

    def _given_out(self) -> Seen:
        """Read some of each topic and process first: a process that cannot be parsed spoils all its tasks."""
        open_tasks = self._operations.tasks({"withRetriesLeft": True}, limit=MOST_TASKS)
        ours = [task for task in open_tasks if self._is_ours(task.topic)]
        some = list({(task.topic, task.process_key): task for task in ours}.values())
        read = [*some, *(task for task in ours if task not in some)][:MOST_READ]
        reasons = {task: self._inspection.why_unreadable(task.execution_id) for task in read}
        return judged_given_out({task: reason for task, reason in reasons.items() if reason}, len(read))


PROXIES = ("CAMUNDA_PROXY", "http_proxy", "https_proxy", "no_proxy")
NEWER = Said("needed: Camunda 7.13 or newer")
MISSING = Said("wait for it to finish its start, or correct the engine's name in CAMUNDA_BASE_URL")
RIGHTS = Said(
    "in Admin grant the user of CAMUNDA_AUTH_USERNAME READ and UPDATE on Process Instance * "
    "(or READ_INSTANCE and UPDATE_INSTANCE on Process Definition *); without it the engine says there are no tasks"
)
PROXY = Said("set CAMUNDA_PROXY to a URL, or to none")
DATES = Said("the worker learns the zone from the ends of its locks and logs it; the tools show dates as they are")
CLOCK = Said(
    "run a time service (chrony, systemd-timesyncd) on both machines: systems compare lock_expires_at with theirs"
)
SPIN = Said("add the Spin plugin to the engine where processes read JSON objects")
READ = Said("grant the user of CAMUNDA_AUTH_USERNAME READ on Process Definition * and Process Instance *")
GIVEN_OUT = Said(
    "repair the variable or deploy what its type needs; a process whose BPMN cannot be parsed any more must be "
    "deployed again and its instances migrated or deleted; then: python tools/retry_incidents.py --topic TOPIC"
)
OTHERS = Said(
    "to leave them to that worker, name these topics in CAMUNDA_TOPICS_EXCLUDE, with commas between; else stop "
    "that worker"
)
FAILED = Said(
    "see why: python tools/camunda_processes.py --incidents; then python tools/retry_incidents.py --topic TOPIC"
)


def judged_version(version: str) -> Seen:
    """Judge an engine's version; Operaton and CIB seven count anew from 1 and know all that is needed."""
    numbers = re.match(r"(\d+)\.(\d+)", version)
    if not numbers:
        saw = gettext("version {version!r} says nothing").format(version=version)
        return Seen(Level.WARNING, saw, NEWER)
    found = (int(numbers[1]), int(numbers[2]))
    if found[0] < OLDEST[0]:
        saw = gettext("version {version} (a successor of Camunda 7)").format(version=version)
        return Seen(Level.OK, saw)
    if found < OLDEST:
        saw = gettext("version {version} cannot list its topics").format(version=version)
        return Seen(Level.PROBLEM, saw, NEWER)
    missing = tuple(what for since, what in FEATURES.items() if found < since)
    saw = gettext("version {version}").format(version=version)
    return Seen(Level.NOTE if missing else Level.OK, saw, details=missing)


def judged_given_out(reasons: Mapping[TaskState, str], read: int) -> Seen:
    """Judge the tasks that the engine cannot read, each with its words; `read` were looked at."""
    if not reasons:
        saw = ngettext(
            "the engine can give out each of {number} task", "the engine can give out each of {number} tasks", read
        )
        return Seen(Level.OK, saw.format(number=read))
    line = gettext("task {task} of topic {topic}: {reason}")
    lines = tuple(
        line.format(task=task.id, topic=task.topic, reason=translated(reason)) for task, reason in reasons.items()
    )
    saw = ngettext(
        "the engine cannot give out {some} of {number} task",
        "the engine cannot give out {some} of {number} tasks",
        read,
    )
    return Seen(Level.PROBLEM, saw.format(some=len(reasons), number=read), GIVEN_OUT, lines)


def judged_date(written: str | None) -> Seen:
    """Judge how the engine writes dates."""
    if written is None:
        return Seen(Level.SKIPPED, gettext("nothing is deployed, so that there is no date to look at"))
    try:
        has_zone = datetime.fromisoformat(written).tzinfo is not None
    except ValueError:
        return Seen(Level.NOTE, gettext("in an order of its own: {date!r}").format(date=written[:40]), DATES)
    if has_zone:
        return Seen(Level.OK, gettext("as usual, with a zone"))
    return Seen(Level.NOTE, gettext("no zone: {date!r}").format(date=written), DATES)


def judged_skew(seconds: float) -> Seen:
    """Judge how far the engine's clock is ahead of ours."""
    if abs(seconds) <= SKEW_SECONDS:
        return Seen(Level.OK, gettext("the clocks agree within a few seconds"))
    ahead = gettext("the engine's clock is {seconds:.0f} s ahead of ours")
    saw = ahead if seconds > 0 else gettext("the engine's clock is {seconds:.0f} s behind ours")
    return Seen(Level.WARNING, saw.format(seconds=abs(seconds)), CLOCK)


def judged_topics(
    processes: Mapping[str, set[str]], routing: RoutingConfig, is_ours: Callable[[str], bool]
) -> Seen:
    """Judge where each topic goes; `processes` are the keys of the processes that use it."""
    ways = {topic: _way(topic, routing, is_ours) for topic in sorted(processes)}
    lines = tuple(f"{topic} -> {way}{_used_by(processes[topic])}" for topic, way in ways.items())
    nobodys = [topic for topic, way in ways.items() if way == _unrouted(routing)]
    if nobodys:
        saw = ngettext(
            "{number} topic, {some} of them in no routing: {topics}",
            "{number} topics, {some} of them in no routing: {topics}",
            len(ways),
        ).format(number=len(ways), some=len(nobodys), topics=", ".join(nobodys))
        remedy = gettext(
            "add them to a system in ROUTING_FILE, or leave them to other workers with CAMUNDA_TOPICS_EXCLUDE; "
            "nothing is lost: they go to {queue}"
        )
        return Seen(Level.WARNING, saw, remedy.format(queue=routing.default.queue), lines)
    saw = ngettext("{number} topic, each has its place", "{number} topics, each has its place", len(ways))
    return Seen(Level.OK, saw.format(number=len(ways)), details=lines)


def _way(topic: str, routing: RoutingConfig, is_ours: Callable[[str], bool]) -> str:
    if "${" in topic or "#{" in topic:
        return gettext("decided while the process runs")
    if not is_ours(topic):
        return gettext("left to others (CAMUNDA_TOPICS_INCLUDE, CAMUNDA_TOPICS_EXCLUDE)")
    systems = routing.systems_of(topic)
    if systems == (routing.default,) and topic not in routing.topics:
        return _unrouted(routing)
    return gettext(" or ").join(system.queue for system in systems)


def _unrouted(routing: RoutingConfig) -> str:
    return gettext("{queue}, because no system claims it").format(queue=routing.default.queue)


def _used_by(keys: set[str]) -> str:
    return f" ({', '.join(sorted(keys))})" if keys else gettext(" (of an older version that still runs)")


def judged_others(tasks: list[TaskState]) -> Seen:
    """Judge the tasks that other worker ids hold, of topics that this worker takes too."""
    if not tasks:
        return Seen(Level.OK, gettext("no other worker id holds a task of a topic of ours"))
    holders = Counter((task.topic, task.worker_id) for task in tasks)
    line = gettext("{topic}: {number} held by {worker}")
    lines = tuple(
        line.format(topic=topic, number=count, worker=worker)
        for (topic, worker), count in sorted(holders.items(), key=str)
    )
    saw = ngettext(
        "{number} task of topics that this worker takes too",
        "{number} tasks of topics that this worker takes too",
        len(tasks),
    )
    return Seen(Level.WARNING, saw.format(number=len(tasks)), OTHERS, lines)


def _uncaught() -> Seen:
    saw = gettext(
        "does not tell what the engine does with a bpmn_error that no event catches: by default the path just ends"
    )
    remedy = gettext("set enableExceptionsAfterUnhandledBpmnError=true in the engine: it then says so")
    return Seen(Level.NOTE, saw, remedy)
