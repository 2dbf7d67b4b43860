"""What pika shows of a connection and its channels, as far as the worker uses it, over the simulated broker."""

import heapq
import random
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from pika.exceptions import AMQPConnectionError, ChannelClosedByBroker, ConnectionClosedByClient
from pika.spec import Basic, BasicProperties

from bridge.broker import Broker as Door
from bridge.broker import Topology
from bridge.contract import Publication
from bridge.errors import Unavailable
from tests.simulation.broker import Broker, Message, Queue
from tests.simulation.clockwork import Clockwork, Process, Thread

ANSWER_SECONDS = 10.0
SPREAD = (0.4, 1.0, 4.0, 10.0)
SERVER = {"product": "RabbitMQ", "version": "3.10.8"}


class Node:
    """The broker's side of all connections: whether it is down, frozen, or short of memory."""

    def __init__(self, clockwork: Clockwork, broker: Broker, chance: random.Random | None, latency: float) -> None:
        self.clockwork = clockwork
        self.broker = broker
        self.chance = chance
        self._latency = latency
        self.is_down = self.is_frozen = self.in_alarm = False
        self.connections: list[Connection] = []
        self.connects = 0
        self.on_publish: Callable[[Message], None] = lambda _: None

    @property
    def is_well(self) -> bool:
        return not (self.is_down or self.is_frozen or self.in_alarm)

    def latency(self) -> float:
        if self.chance is None:
            return self._latency
        return self._latency * SPREAD[int(self.chance.random() * len(SPREAD))]

    def go_down(self) -> None:
        """End all connections; what they sent and was not read is lost, queues and messages stay."""
        self.is_down = True
        self.drop_all("the broker went away")

    def drop_all(self, reason: str) -> None:
        for connection in list(self.connections):
            connection.lose(reason)

    def freeze(self) -> None:
        self.is_frozen = True

    def alarm(self) -> None:
        """Block each connection that publishes, from its next publication on."""
        self.in_alarm = True

    def recover(self) -> None:
        self.is_down = self.is_frozen = self.in_alarm = False
        for connection in list(self.connections):
            connection.go_on()


class Loop:
    """The connection's event loop, on the thread that starts it."""

    def __init__(self, clockwork: Clockwork) -> None:
        self._clockwork = clockwork
        self._inbox: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self._timers: list[tuple[float, int, Callable[[], object]]] = []
        self._sequence = 0
        self._is_stopped = False
        self._waiting: tuple[Thread, int] | None = None

    def start(self) -> None:
        while not self._is_stopped:
            while self._inbox and not self._is_stopped:
                function, arguments = self._inbox.popleft()
                function(*arguments)
            while self._timers and self._timers[0][0] <= self._clockwork.now and not self._is_stopped:
                heapq.heappop(self._timers)[2]()
            if not self._inbox and not self._is_stopped:
                self._wait()

    def _wait(self) -> None:
        self._waiting = self._clockwork.ticket()
        self._clockwork.park(max(0.0001, self._timers[0][0] - self._clockwork.now) if self._timers else None)
        self._waiting = None

    def post(self, function: Callable[..., object], *arguments: object) -> None:
        """Run something on the loop's thread."""
        self._inbox.append((function, arguments))
        if self._waiting is not None:
            self._clockwork.wake(self._waiting)
            self._waiting = None

    def add_callback_threadsafe(self, function: Callable[[], object]) -> None:
        self.post(function)

    def call_later(self, seconds: float, function: Callable[[], object]) -> None:
        self._sequence += 1
        moment = self._clockwork.now + max(4 * seconds, self._clockwork.grain)
        heapq.heappush(self._timers, (moment, self._sequence, function))

    def stop(self) -> None:
        self._is_stopped = True
        if self._waiting is not None:
            self._clockwork.wake(self._waiting)

    def close(self) -> None:
        """Nothing is held."""


class Connection:
    """A connection as the worker's side sees it; what it sends is read in order, later, or never."""

    server_properties = SERVER

    def __init__(
        self, node: Node, process: Process, on_open: Callable[..., object], on_lost: Callable[..., object]
    ) -> None:
        self.node = node
        self.process = process
        self.ioloop = Loop(node.clockwork)
        self.is_open = False
        self.is_attached = True
        self._on_lost = on_lost
        self._sent: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self._stalled = 0
        self._channels: list[Channel] = []
        self._blocked: list[Callable[..., object]] = []
        self._unblocked: list[Callable[..., object]] = []
        self._is_blocked = False
        self._next_arrival = 0.0
        node.connects += 1
        if node.is_down:
            self.is_attached = False
            node.clockwork.after(0.001, self.ioloop.post, on_lost, self, AMQPConnectionError("connection refused"))
        else:
            node.connections.append(self)
            self.send(self._accept, on_open)

    def _accept(self, on_open: Callable[..., object]) -> None:
        self.is_open = True
        self.ioloop.post(on_open, self)

    # --- towards the broker -----------------------------------------------------------------------------------

    def send(self, function: Callable[..., object], *arguments: object) -> None:
        """Let the broker do something once it has read all that was sent before."""
        self._sent.append((function, arguments))
        clockwork = self.node.clockwork
        self._next_arrival = max(self._next_arrival, clockwork.now + self.node.latency())
        clockwork.at(self._next_arrival, self._read_one)

    def send_now(self, function: Callable[..., object], *arguments: object) -> None:
        """As `send`, at once where nothing else is under way: for what is asked often and hurts nobody."""
        if self._sent or self._is_held():
            self.send(function, *arguments)
        elif self.is_attached:
            function(*arguments)

    def _is_held(self) -> bool:
        return self.node.is_frozen or (self._is_blocked and self.node.in_alarm)

    def _read_one(self) -> None:
        if self._is_held():
            self._stalled += 1
        elif self._sent:
            function, arguments = self._sent.popleft()
            function(*arguments)

    def go_on(self) -> None:
        """Read what came while the broker did not."""
        if self._is_blocked and not self.node.in_alarm:
            self._is_blocked = False
            for callback in self._unblocked:
                self.ioloop.post(callback, self, None)
        stalled, self._stalled = self._stalled, 0
        for _ in range(stalled):
            self.node.clockwork.after(0.0, self._read_one)

    def has_published(self) -> None:
        if self.node.in_alarm and not self._is_blocked:
            self._is_blocked = True
            self.node.clockwork.after(2 * self.node.latency(), self._tell_blocked)

    def _tell_blocked(self) -> None:
        """Say so a little later than the confirm of what was published last."""
        if self._is_blocked:
            for callback in self._blocked:
                self.ioloop.post(callback, self, None)

    def lose(self, reason: str) -> None:
        """End the connection from outside: what it sent and was not read is lost."""
        if not self.is_attached:
            return
        self._sent.clear()
        self._detach()
        self.ioloop.post(self._on_lost, self, AMQPConnectionError(reason))

    def vanish(self) -> None:
        """Let the broker notice that the process at the other end is gone; it may have read the last of it."""
        if self.node.chance is not None and self.node.chance.random() < 0.5:
            self._sent.clear()
        self.send(self._detach)

    def _detach(self) -> None:
        self.is_open, self.is_attached = False, False
        if self in self.node.connections:
            self.node.connections.remove(self)
        for channel in self._channels:
            channel.end()

    # --- what pika offers -------------------------------------------------------------------------------------

    def add_on_connection_blocked_callback(self, callback: Callable[..., object]) -> None:
        self._blocked.append(callback)

    def add_on_connection_unblocked_callback(self, callback: Callable[..., object]) -> None:
        self._unblocked.append(callback)

    def acknowledge(self, channel: int, tags: Iterable[int]) -> None:
        for tag in tags:
            self._channels[channel - 1].basic_ack(tag)

    def channel(self, on_open_callback: Callable[["Channel"], object]) -> None:
        channel = Channel(self, len(self._channels) + 1)
        self._channels.append(channel)
        self.send_now(self.ioloop.post, on_open_callback, channel)

    def close(self) -> None:
        """End in good order: all that was sent is read first."""
        self.is_open = False
        self.send(self._closed)

    def _closed(self) -> None:
        if self.is_attached:
            self._detach()
            self.ioloop.post(self._on_lost, self, ConnectionClosedByClient(200, "Normal shutdown"))

    def abort(self, reason: str) -> None:
        """Give up; a frozen broker still reads later what was sent, and sees the end after that."""
        if self.is_open or self.is_attached:
            self.is_open = False
            for channel in self._channels:
                channel.is_open = False
            self.send(self._detach)
            self.ioloop.post(self._on_lost, self, AMQPConnectionError(reason))

    def publish(self, channel: int, publications: Sequence[Publication]) -> None:
        for one in publications:
            properties = BasicProperties(headers=one.headers, **one.properties)
            self._channels[channel - 1].basic_publish(
                one.exchange, one.routing_key, one.body, properties, mandatory=True
            )

    @property
    def unsent_bytes(self) -> int:
        return 0


class Channel:
    """A channel, and as a consumer of the broker the one consumer on it."""

    def __init__(self, connection: Connection, number: int) -> None:
        self.connection = connection
        self.channel_number = number
        self.is_open = True
        self.prefetch = 1
        self.unacked: dict[Message, None] = {}
        self._node, self._broker = connection.node, connection.node.broker
        self._post = connection.ioloop.post
        self._closed: list[Callable[..., object]] = []
        self._cancelled: list[Callable[..., object]] = []
        self._returned: list[Callable[..., object]] = []
        self._confirmed: Callable[..., object] | None = None
        self._has_transaction = False
        self._published = 0
        self._outcomes: list[tuple[int, bool]] = []
        self._queue: Queue | None = None
        self._tags: dict[int, Message] = {}
        self._last_tag = 0
        self._next_delivery = 0.0
        self._on_message: Callable[..., object] | None = None

    def end(self) -> None:
        """Let the broker forget the channel."""
        self.is_open = False
        if self._queue is not None:
            queue, self._queue = self._queue, None
            self._broker.leave(queue, self)

    def add_on_close_callback(self, callback: Callable[..., object]) -> None:
        self._closed.append(callback)

    def add_on_return_callback(self, callback: Callable[..., object]) -> None:
        self._returned.append(callback)

    def add_on_cancel_callback(self, callback: Callable[..., object]) -> None:
        self._cancelled.append(callback)

    def close(self, reply_code: int = 0, reply_text: str = "") -> None:
        self._fail(reply_code, reply_text)

    def _fail(self, code: int, text: str) -> None:
        """Close the channel, as the broker does after an error."""
        if self.is_open:
            self.end()
            for callback in self._closed:
                self._post(callback, self, ChannelClosedByBroker(code, text))

    # --- publishing -------------------------------------------------------------------------------------------

    def confirm_delivery(self, ack_nack_callback: Callable[..., object], callback: Callable[..., object]) -> None:
        self._confirmed = ack_nack_callback
        self.connection.send_now(self._post, callback, None)

    def basic_publish(
        self,
        exchange: str,
        routing_key: str,
        body: bytes,
        properties: BasicProperties | None = None,
        mandatory: bool = False,
    ) -> None:
        message = Message(exchange, routing_key, body, properties or BasicProperties())
        self._node.on_publish(message)
        self.connection.send(self._take_publication, message, mandatory)

    def tx_select(self, callback: Callable[..., object]) -> None:
        self._has_transaction = True
        self.connection.send(self._post, callback, None)

    def tx_rollback(self, callback: Callable[..., object]) -> None:
        self.connection.send(self._post, callback, None)

    def _take_publication(self, message: Message, mandatory: bool) -> None:
        if message.exchange and message.exchange not in self._broker.exchanges:
            self._fail(404, f"NOT_FOUND - no exchange '{message.exchange}' in vhost '/'")
            return
        if self._has_transaction:
            self.connection.has_published()  # nothing is ever committed
            return
        self._published += 1
        is_routed, is_taken = self._broker.publish(message)
        if mandatory and not is_routed:
            method = Basic.Return(312, "NO_ROUTE", message.exchange, message.routing_key)
            for callback in self._returned:
                self._post(callback, self, method, message.properties, message.body)
        if self._confirmed is not None:
            if not self._outcomes:
                self._node.clockwork.after(self._node.latency(), self._confirm)
            self._outcomes.append((self._published, is_taken))
        self.connection.has_published()

    def _confirm(self) -> None:
        """Confirm what was published since the last time: together where all were taken."""
        outcomes, self._outcomes = self._outcomes, []
        if not self.connection.is_attached or not outcomes:
            return
        if all(is_taken for _, is_taken in outcomes):
            frames: list[Any] = [Basic.Ack(outcomes[-1][0], multiple=True)]
        else:
            frames = [Basic.Ack(tag) if is_taken else Basic.Nack(tag) for tag, is_taken in outcomes]
        for frame in frames:
            self._post(self._confirmed, SimpleNamespace(method=frame))  # type: ignore[arg-type]

    # --- queues -----------------------------------------------------------------------------------------------

    def queue_declare(
        self,
        queue: str,
        passive: bool = False,
        durable: bool = False,
        arguments: Mapping[str, Any] | None = None,
        callback: Callable[..., object] | None = None,
    ) -> None:
        self.connection.send_now(self._declare, queue, passive, arguments or {}, callback)

    def _declare(
        self, name: str, passive: bool, arguments: Mapping[str, Any], callback: Callable[..., object] | None
    ) -> None:
        if passive and name not in self._broker.queues:
            self._fail(404, f"NOT_FOUND - no queue '{name}' in vhost '/'")
        elif not passive and not self._broker.declare_queue(name, arguments):
            self._fail(406, f"PRECONDITION_FAILED - inequivalent arg for queue '{name}' in vhost '/'")
        elif callback is not None:
            queue = self._broker.queues[name]
            self._broker.expire(queue)
            counts = SimpleNamespace(message_count=len(queue.ready), consumer_count=len(queue.consumers))
            self._post(callback, SimpleNamespace(method=counts))

    def exchange_declare(
        self,
        exchange: str,
        exchange_type: str,
        durable: bool = False,
        arguments: Mapping[str, Any] | None = None,
        callback: Callable[..., object] | None = None,
    ) -> None:
        self.connection.send_now(self._broker.declare_exchange, exchange, exchange_type, arguments or {})
        if callback is not None:
            self.connection.send_now(self._post, callback, None)

    def queue_bind(
        self, queue: str, exchange: str, routing_key: str, callback: Callable[..., object] | None = None
    ) -> None:
        self.connection.send_now(self._bind, self._broker.bind, "queue", queue, exchange, routing_key, callback)

    def exchange_bind(
        self, destination: str, source: str, routing_key: str, callback: Callable[..., object] | None = None
    ) -> None:
        bind = self._broker.bind_exchange
        self.connection.send_now(self._bind, bind, "exchange", destination, source, routing_key, callback)

    def _bind(
        self,
        bind: Callable[[str, str, str], bool],
        kind: str,
        name: str,
        exchange: str,
        key: str,
        callback: Callable[..., object] | None,
    ) -> None:
        if not self.is_open:
            return
        if not bind(name, exchange, key):
            missing = f"{kind} '{name}'" if exchange in self._broker.exchanges else f"exchange '{exchange}'"
            self._fail(404, f"NOT_FOUND - no {missing} in vhost '/'")
        elif callback is not None:
            self._post(callback, None)

    # --- consuming --------------------------------------------------------------------------------------------

    def basic_qos(self, prefetch_count: int, callback: Callable[..., object]) -> None:
        self.prefetch = prefetch_count
        self.connection.send_now(self._post, callback, None)

    def basic_consume(
        self,
        queue: str,
        on_message_callback: Callable[..., object],
        callback: Callable[..., object] = lambda _: None,
    ) -> str:
        self._on_message = on_message_callback
        self.connection.send(self._consume, queue, callback)
        return "ctag"

    def _consume(self, name: str, callback: Callable[..., object]) -> None:
        queue = self._broker.queues.get(name)
        if queue is None:
            self._fail(404, f"NOT_FOUND - no queue '{name}' in vhost '/'")
        elif self.is_open:
            self._queue = queue
            queue.consumers.append(self)
            self._post(callback, None)
            self._broker.pump(queue)

    def take(self, queue: Queue, message: Message) -> None:
        self._last_tag += 1
        self._tags[self._last_tag] = message
        method = SimpleNamespace(delivery_tag=self._last_tag)
        # In their order, however long each takes.
        self._next_delivery = max(self._next_delivery + 1e-6, self._node.clockwork.now + self._node.latency())
        self._node.clockwork.at(self._next_delivery, self._hand_over, method, message)

    def _hand_over(self, method: SimpleNamespace, message: Message) -> None:
        if self.is_open and self._on_message is not None:
            self._post(self._on_message, self, method, message.properties, message.body)

    def basic_ack(self, tag: int) -> None:
        self.connection.send_now(self._ack, tag)

    def _ack(self, tag: int) -> None:
        message = self._tags.pop(tag, None)
        if message is not None and self._queue is not None:
            self._broker.ack(self._queue, self, message)
        elif message is not None:
            self.unacked.pop(message, None)

    def basic_cancel(self, _tag: str) -> None:
        self.connection.send(self._cancel)

    def _cancel(self) -> None:
        """Stop delivering; what was delivered can still be acknowledged."""
        if self._queue is not None and self in self._queue.consumers:
            self._queue.consumers.remove(self)

    def cancelled(self) -> None:
        """The queue was deleted."""
        self._queue = None
        for callback in self._cancelled:
            self._post(callback, None)


class SimulatedDoor(Door):
    """The worker's door to the simulated broker."""

    def __init__(self, node: Node, process: Process) -> None:
        super().__init__("broker", 5672, "/", "worker", lambda: "secret")
        object.__setattr__(self, "_node", node)
        object.__setattr__(self, "_process", process)
        object.__setattr__(self, "connections", [])

    def open(self, connection_name: str, *, on_open: Any, on_lost: Any) -> Any:
        connection = Connection(self._node, self._process, on_open, on_lost)  # type: ignore[attr-defined]
        self.connections.append(connection)  # type: ignore[attr-defined]
        return connection

    def declare(self, topology: Topology, *, name: str) -> None:
        node: Node = self._node  # type: ignore[attr-defined]
        node.clockwork.sleep(0.005)
        if node.is_down:
            raise Unavailable("RabbitMQ cannot be reached: connection refused")
        if node.is_frozen:
            node.clockwork.sleep(ANSWER_SECONDS)
            raise Unavailable("RabbitMQ has not answered")
        for exchange in topology.exchanges:
            node.broker.declare_exchange(exchange.name, exchange.kind, exchange.arguments)
            for source, key in exchange.bindings:
                node.broker.bind_exchange(exchange.name, source, key)
        for queue in topology.queues:
            node.broker.declare_queue(queue.name, queue.arguments_at(SERVER))
            for source, key in queue.bindings:
                node.broker.bind(queue.name, source, key)
