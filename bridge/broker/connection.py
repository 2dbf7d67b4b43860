"""A connection to RabbitMQ that comes back by itself, on a thread of its own."""

from collections.abc import Callable, Sequence
from typing import Protocol

from loguru import logger
from pika.channel import Channel
from pika.connection import Connection
from pika.exceptions import (
    AMQPConnectionError,
)

from bridge import clock, heartbeats, metrics
from bridge.backoff import Backoff
from bridge.broker.bent_pika import ANSWER_SECONDS, LineConnection
from bridge.broker.broker import CONNECTION_ERRORS, Broker
from bridge.broker.renewal import LoginRenewal
from bridge.broker.rights import Act
from bridge.broker.topology import Topology
from bridge.broker.watch import QueueWatch
from bridge.contract import Publication
from bridge.errors import RightMissing, SettingsError, Unavailable, WrongQueue
from bridge.texts import Said

TICK_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 3.0  # work flows again within 5 s of the broker's return
LONGEST_PAUSE_WITHOUT_RIGHT_SECONDS = 10.0  # nobody's account is locked for it
CLOSE_SECONDS = 3.0  # a broker that blocks us does not even read that we want to close


class ChannelUser(Protocol):
    """What works at a connection: told on the connection's thread when a channel opens and when it is lost.

    `act` is what it does there.
    """

    act: Act

    def on_channel(self, channel: Channel) -> None:
        """Begin to work on a new channel."""

    def on_lost(self) -> None:
        """Forget the channel: nothing on it can be known any more."""

    def on_blocked(self, *, blocked: bool) -> None:
        """Hold publishing back while the broker is short of memory or disk."""

    def on_tick(self) -> None:
        """Do what is due; called every TICK_SECONDS while connected."""


class BrokerConnection:
    """Keeps one connection with one channel open until `stop`; all callbacks run on the thread of `run`."""

    def __init__(
        self, broker: Broker, topology: Topology, user: ChannelUser, watch: QueueWatch, *, name: str
    ) -> None:
        self._broker = broker
        self._watch = watch
        self._blocked = False
        self._topology = topology
        self._user = user
        self._name = name
        self._kind = name.rpartition(" ")[2]  # without the worker id, which is the same for all
        self._stopping = clock.Event()
        self._backoff = Backoff(longest=LONGEST_PAUSE_SECONDS)
        self._backoffs: dict[type[Exception], Backoff] = {
            RightMissing: Backoff(longest=LONGEST_PAUSE_WITHOUT_RIGHT_SECONDS),
        }
        self._lock = clock.Lock()
        self._connection: LineConnection | None = None
        self._lost_because: BaseException | None = None
        self._was_open = self._is_up = False
        self._began = 0.0
        self._login = LoginRenewal(broker.tokens, name=name)
        self.trouble: str = Said("not connected yet")

    def run(self) -> None:
        """Connect, work, and connect again, until `stop`. Raises SettingsError before the first success."""
        while not self._stopping.is_set():
            self._began = clock.now()
            try:
                self._serve()
            except SettingsError as error:
                if not self._was_open:
                    raise
                self._pause("ERROR", error)
            except Unavailable as error:
                self._pause(error.log_level, error, error.wait_seconds)

    def _pause(self, level: str, error: Exception, seconds: float = 0.0) -> None:
        """Wait before the next attempt: `seconds`, if they are given, else longer each time.

        An attempt that took its time without a connection was a pause already.
        """
        pause = seconds or self._backoffs.get(type(error), self._backoff).pause()
        if type(error) is Unavailable and not self._is_up:
            pause = max(0.0, pause - (clock.now() - self._began))
        self.trouble = str(error)
        logger.log(level, "{}: {}; next attempt in {:.1f} s", self._name, error, pause)
        heartbeats.beat()
        self._stopping.wait(pause)

    def _serve(self) -> None:
        self._is_up = False
        # Until the first tick a broker that freezes is noticed by its heartbeats alone.
        patience = heartbeats.PATIENCE_SECONDS + 2 * self._broker.heartbeat_seconds
        heartbeats.beat(within=patience)
        self._declare_topology()
        heartbeats.beat(within=patience)
        try:
            self._loop_until_lost()
        except CONNECTION_ERRORS as error:
            raise self._broker.trouble(error, self._user.act) from error

    def _declare_topology(self) -> None:
        """Declare all; a wrong queue of a system stops that system alone, one of ours stops us at the start."""
        try:
            self._broker.declare(self._topology, name=self._name)
        except WrongQueue as error:
            if error.ours and not self._was_open:
                raise
            self._watch.note_troubles(error.troubles)

    def _loop_until_lost(self) -> None:
        connection = self._broker.open(self._name, on_open=self._on_open, on_lost=self._on_lost)
        connection.add_on_connection_blocked_callback(lambda *_: self._on_blocked(blocked=True))
        connection.add_on_connection_unblocked_callback(lambda *_: self._on_blocked(blocked=False))
        self._lost_because = None
        with self._lock:
            self._connection = connection
        if self._stopping.is_set():  # a stop that came before had no connection to close
            self._close()
        try:
            connection.ioloop.start()
        finally:
            with self._lock:
                self._connection = None
            self._watch.lost()
            self._user.on_lost()
            connection.ioloop.close()
        if self._lost_because and not self._stopping.is_set():
            raise self._lost_because

    def _on_open(self, connection: LineConnection) -> None:
        self._broker.note_certificates(connection)
        self._login.begin(connection)
        connection.channel(on_open_callback=self._on_channel_open)

    def _on_channel_open(self, channel: Channel) -> None:
        channel.add_on_close_callback(self.on_channel_closed)
        if self._was_open:
            metrics.reconnects(self._kind).inc()
        self._was_open = self._is_up = True
        logger.info("{}: connected to RabbitMQ at {}", self._name, self._broker.place)
        self._blocked = False
        self._user.on_channel(channel)
        channel.connection.channel(on_open_callback=self._watch.open)
        self._tick()

    def _tick(self) -> None:
        """Look at the queues, and give up a connection whose broker does not answer."""
        if self._connection is None or not self._connection.is_open:
            return
        self._connection.ioloop.call_later(TICK_SECONDS, self._tick)
        heartbeats.beat()
        self._login.tick(self._connection)
        self._watch.tick()
        self._user.on_tick()
        if self._watch.silent_seconds > ANSWER_SECONDS and not self._blocked:
            self.abort(f"the broker has not answered for {ANSWER_SECONDS:.0f} s")

    def _on_blocked(self, *, blocked: bool) -> None:
        self._blocked = blocked
        self._watch.restart_patience()
        logger.warning("{}: RabbitMQ {} publishing", self._name, "blocks" if blocked else "allows again")
        self._user.on_blocked(blocked=blocked)

    def worked(self) -> None:
        """Note that the broker did what we are here for: only that ends the trouble and the growing of pauses.

        A channel opens for everybody; what we may do on it shows later.
        """
        self.trouble = ""
        for backoff in (self._backoff, *self._backoffs.values()):
            backoff.reset()

    def on_channel_closed(self, channel: Channel, reason: Exception) -> None:
        """Give the connection up with a channel that we work on."""
        if channel.connection.is_open:
            self._lost_because = reason
            channel.connection.close()

    def _on_lost(self, _connection: Connection, reason: BaseException | str) -> None:
        if self._lost_because is None:
            self._lost_because = reason if isinstance(reason, BaseException) else AMQPConnectionError(reason)
        if self._connection is not None:
            self._connection.ioloop.stop()

    def call(self, function: Callable[[], None]) -> bool:
        """Run `function` on the connection's thread soon; False where there is no connection now."""
        with self._lock:
            if self._connection is None:
                return False
            self._connection.ioloop.add_callback_threadsafe(function)
            return True

    def publish(self, channel: Channel, publications: Sequence[Publication]) -> None:
        """Send mandatory messages on an open channel of this connection; only on the connection's thread."""
        if self._connection is not None:
            self._connection.publish(channel.channel_number, publications)

    def acknowledge(self, channel: Channel, tags: Sequence[int]) -> None:
        """Acknowledge deliveries on an open channel of this connection; only on the connection's thread."""
        if self._connection is not None:
            self._connection.acknowledge(channel.channel_number, tags)

    def call_later(self, seconds: float, function: Callable[[], None]) -> None:
        """Run `function` after a while, if the connection is still there; only from its own thread."""
        if self._connection is not None:
            self._connection.ioloop.call_later(seconds, function)

    def abort(self, reason: str) -> None:
        """Give the connection up, which cannot be ended in good order; only from its own thread."""
        if self._connection is not None:
            self._connection.abort(reason)

    @property
    def holds_nothing(self) -> bool:
        """Whether there is no connection, not even one that is being opened or closed in good order."""
        return self._connection is None

    @property
    def unsent_bytes(self) -> int:
        """How many bytes the broker has not taken yet."""
        return 0 if self._connection is None else self._connection.unsent_bytes

    def stop(self) -> None:
        """Close the connection in good order and let `run` return."""
        self._stopping.set()
        self.call(self._close)

    def _close(self) -> None:
        connection = self._connection
        if connection is None:
            return
        if connection.is_open:
            connection.close()
            connection.ioloop.call_later(CLOSE_SECONDS, lambda: connection.abort("it did not close in time"))
        else:
            connection.ioloop.stop()
