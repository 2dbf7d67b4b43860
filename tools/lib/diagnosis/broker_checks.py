"""Is the broker reachable, may we use it, is its topology what we declare, who listens, does a message arrive."""

from contextlib import ExitStack

from bridge.broker import Broker, QueueState, Topology
from bridge.broker.topology import ERROR_QUEUE, RESPONSE_EXCHANGE, Exchange, Queue
from bridge.contract import ERROR_EXCHANGE, RESPONSE_QUEUE, TASK_EXCHANGE
from bridge.errors import Unavailable
from bridge.texts import Said, gettext, ngettext
from config import Settings
from tools.lib.diagnosis import remedies
from tools.lib.diagnosis.finding import Check, Level, Seen
from tools.lib.inspector import Inspector

ESSENTIAL = 1
OLDEST = (3, 10)


class BrokerChecks:
    """The checks of the broker, which share one connection; to be closed after them."""

    def __init__(self, broker: Broker, topology: Topology, settings: Settings) -> None:
        self._broker = broker
        self._topology = topology
        self._settings = settings
        self._exit_stack = ExitStack()
        self._inspector: Inspector | None = None
        self.queues: dict[str, QueueState | None] = {}

    def close(self) -> None:
        """Close the connection, if there is one."""
        self._exit_stack.close()

    @property
    def inspector(self) -> Inspector:
        """The connection; opened by the first check."""
        if self._inspector is None:
            inspector = Inspector(self._broker, name=f"{self._settings.camunda_worker_id} diagnostics")
            self._inspector = self._exit_stack.enter_context(inspector)
        return self._inspector

    def checks(self) -> list[Check]:
        """Return the checks; the first ESSENTIAL must succeed for the others to mean anything."""
        settings = self._settings
        login = gettext("connect to {place}, virtual host {vhost!r} as {user!r}").format(
            place=f"{settings.rabbitmq_host}:{settings.rabbitmq_port}",
            vhost=settings.rabbitmq_virtual_host,
            user=settings.rabbitmq_username,
        )
        topology = gettext("look for every exchange and queue")
        rights = gettext("publish and take it back, declare again, read answers")
        canary = gettext("publish with confirm to a queue of our own, and read it back")
        listeners = gettext("count messages and consumers of every queue")
        dead_letters = gettext("count what is in {queue}").format(queue=ERROR_QUEUE)
        return [
            Check(gettext("broker: reachable"), login, self._reachable, "", self._remedy),
            Check(gettext("broker: topology"), topology, self._wanted, RIGHTS),
            Check(gettext("broker: permissions"), rights, self._rights, RIGHTS),
            Check(gettext("broker: canary"), canary, self._canary, RIGHTS),
            Check(gettext("queues: listeners"), listeners, self._listeners, RIGHTS),
            Check(gettext("queues: dead letters"), dead_letters, self._dead_letters, RIGHTS),
        ]

    def _remedy(self, error: Unavailable) -> str:
        return remedies.for_broker(error, self._settings)

    def _reachable(self) -> Seen:
        return judged_version(*self.inspector.server())

    def _wanted(self) -> Seen:
        names = [exchange.name for exchange in self._topology.exchanges]
        exchanges = {name: self.inspector.has_exchange(name) for name in names}
        self.queues.update({queue.name: self.inspector.look(queue.name) for queue in self._topology.queues})
        present = {name for name, found in (exchanges | self.queues).items() if found}
        missing = tuple(name for name in (*exchanges, *self.queues) if name not in present)
        different = () if self._topology.passive else self._different(present)
        return judged_topology(missing, different, passive=self._topology.passive, user=self._broker.username)

    def _different(self, present: set[str]) -> tuple[str, ...]:
        """Return what differs from what we declare: it would stop its system, or a worker that starts."""
        declared: list[Exchange | Queue] = [*self._topology.exchanges, *self._topology.queues]
        refusals = {each.name: self.inspector.differs(each) for each in declared if each.name in present}
        return tuple(f"{name}: {refusal}" for name, refusal in refusals.items() if refusal)

    def _rights(self) -> Seen:
        """Try only what exists: of the rest the broker does not say what we would be allowed to do."""
        written = [name for name in (TASK_EXCHANGE, ERROR_EXCHANGE) if self.inspector.has_exchange(name)]
        write = gettext("write to {name}")
        denied = [write.format(name=name) for name in written if not self.inspector.may_publish(name, CANARY_KEY)]
        answers = self.queues.get(RESPONSE_QUEUE)
        # Reading takes a message, so only an empty queue is read; one with a consumer is read already.
        is_idle = answers and not answers.ready and not answers.consumers
        if is_idle and not self.inspector.may_read(RESPONSE_QUEUE):
            denied.append(gettext("read {name}").format(name=RESPONSE_QUEUE))
        if denied:
            saw = gettext("{user!r} may not {acts}")
            acts = gettext(", not ").join(denied)
            return Seen(Level.PROBLEM, saw.format(user=self._broker.username, acts=acts), RIGHTS)
        if not written or not answers:
            remedy = gettext("start the worker, then ask again")
            return Seen(Level.SKIPPED, gettext("known only when the topology is there"), remedy)
        return Seen(Level.OK, gettext("may write tasks, read answers and set aside what cannot be used"))

    def _canary(self) -> Seen:
        exchange = RESPONSE_EXCHANGE if self.inspector.has_exchange(RESPONSE_EXCHANGE) else ""
        seconds = self.inspector.canary(exchange)
        if seconds is None:
            saw = gettext("{user!r} may declare no queue for it, which harms nothing else")
            return Seen(Level.NOTE, saw.format(user=self._broker.username))
        default = gettext("the default exchange, for there is no {name} yet").format(name=RESPONSE_EXCHANGE)
        saw = gettext("confirmed and back in {milliseconds:.0f} ms through {exchange}")
        return Seen(Level.OK, saw.format(milliseconds=seconds * 1000, exchange=exchange or default))

    def _listeners(self) -> Seen:
        watched = {queue.name for queue in self._topology.watched} - {ERROR_QUEUE}
        return judged_listeners({name: state for name, state in self.queues.items() if state and name in watched})

    def _dead_letters(self) -> Seen:
        state = self.queues.get(ERROR_QUEUE)
        if state and state.ready:
            remedy = gettext("see why: python tools/dead_letters.py list; then replay or drop them")
            saw = ngettext("{number} answer could not be used", "{number} answers could not be used", state.ready)
            return Seen(Level.WARNING, saw.format(number=state.ready), remedy)
        return Seen(Level.OK, gettext("none"))


RIGHTS = Said('grant them (configure, write, read): rabbitmqctl set_permissions -p VHOST USER ".*" ".*" ".*"')
DECLARE = Said("{grant}; or RABBITMQ_TOPOLOGY=passive where the broker's administrator declares", grant=RIGHTS)
PASSIVE = Said("RABBITMQ_TOPOLOGY=passive declares nothing: let the broker's administrator declare them")
START = Said("start the worker: it declares them")
DIFFERENT = Said("delete them when they are empty, or make RABBITMQ_QUEUE_TYPE or the broker's policies fit")
CANARY_KEY = "canary.diagnostics"
LISTENERS = Said(
    "start the systems that read these queues; for camunda.responses.queue start the worker: python main.py"
)


def judged_version(product: str, version: str) -> Seen:
    """Judge the broker's version."""
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())
    if product == "RabbitMQ" and numbers < OLDEST:
        return Seen(Level.WARNING, f"{product} {version}", gettext("needed: RabbitMQ 3.10 or newer"))
    return Seen(Level.OK, f"{product} {version}")


def judged_topology(missing: tuple[str, ...], different: tuple[str, ...], *, passive: bool, user: str) -> Seen:
    """Judge what is missing and what differs from what we declare (a name and the broker's words)."""
    if any("ACCESS_REFUSED" in line for line in different):
        saw = gettext("{user!r} may not declare all of it").format(user=user)
        return Seen(Level.PROBLEM, saw, DECLARE, different)
    if different:
        saw = ngettext("{number} differs", "{number} differ", len(different)).format(number=len(different))
        return Seen(Level.PROBLEM, saw, DIFFERENT, different)
    if missing:
        level, remedy = (Level.PROBLEM, PASSIVE) if passive else (Level.WARNING, START)
        saw = ngettext("{number} is missing", "{number} are missing", len(missing)).format(number=len(missing))
        return Seen(level, saw, remedy, missing)
    if passive:
        return Seen(Level.OK, gettext("every exchange and queue is there"))
    return Seen(Level.OK, gettext("every exchange and queue is there as wanted"))


def judged_listeners(queues: dict[str, QueueState]) -> Seen:
    """Judge who listens; messages that nobody reads are a problem, an empty queue may wait for its system."""
    if not queues:
        return Seen(Level.SKIPPED, gettext("there are no queues yet"), START)
    line = gettext("{queue}: {ready} ready, {consumers} listening")
    lines = tuple(
        line.format(queue=name, ready=state.ready, consumers=state.consumers) for name, state in queues.items()
    )
    unread = [name for name, state in queues.items() if not state.consumers]
    waiting = [name for name in unread if queues[name].is_unheard]
    if waiting:
        saw = gettext("messages wait and nobody listens: {queues}").format(queues=", ".join(waiting))
        return Seen(Level.PROBLEM, saw, LISTENERS, lines)
    if unread:
        saw = gettext("nobody listens: {queues}").format(queues=", ".join(unread))
        return Seen(Level.WARNING, saw, LISTENERS, lines)
    saw = ngettext(
        "somebody listens to each of {number} queue", "somebody listens to each of {number} queues", len(queues)
    )
    return Seen(Level.OK, saw.format(number=len(queues)), details=lines)
