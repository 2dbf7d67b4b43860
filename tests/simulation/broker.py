"""RabbitMQ's exchanges and queues, without connections: routing, expiry at the head, prefetch, dead letters."""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from pika.spec import BasicProperties

from tests.simulation.clockwork import Clockwork

Arguments = Mapping[str, Any]


@dataclass(slots=True, eq=False)
class Message:
    """A message; `expires` on the virtual clock, None: never. `returns` counts how often it came back."""

    exchange: str
    routing_key: str
    body: bytes
    properties: BasicProperties
    expires: float | None = None
    returns: int = 0

    @property
    def task_id(self) -> str:
        return self.properties.correlation_id or ""


class Consumer(Protocol):
    """Who takes messages of a queue."""

    prefetch: int
    unacked: dict[Message, None]  # in the order in which they were taken

    def take(self, queue: "Queue", message: Message) -> None: ...


@dataclass(slots=True, eq=False)
class Queue:
    """A durable queue; `most`: how many ready messages a policy with reject-publish allows."""

    name: str
    arguments: Arguments
    ready: deque[Message] = field(default_factory=deque)
    consumers: list[Consumer] = field(default_factory=list)
    most: int | None = None
    looked_at_again: float = 0.0


@dataclass(slots=True, eq=False)
class Exchange:
    """An exchange with its bindings, each a queue's name and a key; `links` lead to other exchanges."""

    kind: str
    arguments: Arguments
    bindings: set[tuple[str, str]] = field(default_factory=set)
    links: set[tuple[str, str]] = field(default_factory=set)

    def targets(self, bindings: set[tuple[str, str]], routing_key: str) -> list[str]:
        """Return where a message goes; of a topic exchange only keys that end with `.#` are known."""
        return sorted({name for name, key in bindings if self._fits(key, routing_key)})

    def _fits(self, key: str, routing_key: str) -> bool:
        if self.kind == "fanout":
            return True
        if self.kind == "topic" and key.endswith(".#"):
            return routing_key == key[:-2] or routing_key.startswith(key[:-1])
        return key == routing_key


@dataclass(eq=False)
class Broker:
    """One virtual host. `on_change` is told of what becomes of messages: a word, the queue's name, the message."""

    clockwork: Clockwork
    on_change: Callable[[str, str, Message], None] = lambda *_: None
    exchanges: dict[str, Exchange] = field(default_factory=dict)
    queues: dict[str, Queue] = field(default_factory=dict)

    def declare_exchange(self, name: str, kind: str, arguments: Arguments) -> None:
        self.exchanges.setdefault(name, Exchange(kind, dict(arguments)))

    def declare_queue(self, name: str, arguments: Arguments) -> bool:
        """Make a queue unless it is there; False where that one has other arguments."""
        queue = self.queues.setdefault(name, Queue(name, dict(arguments), most=arguments.get("x-max-length")))
        return dict(queue.arguments) == dict(arguments)

    def bind(self, queue: str, exchange: str, key: str) -> bool:
        """Bind a queue; False where one of the two is missing."""
        if exchange not in self.exchanges or queue not in self.queues:
            return False
        self.exchanges[exchange].bindings.add((queue, key))
        return True

    def bind_exchange(self, name: str, source: str, key: str) -> bool:
        """Let an exchange get what another one has for it; False where one of the two is missing."""
        if name not in self.exchanges or source not in self.exchanges:
            return False
        self.exchanges[source].links.add((name, key))
        return True

    def delete_queue(self, name: str) -> None:
        """Delete a queue with its messages and bindings; its consumers are cancelled."""
        queue = self.queues.pop(name, None)
        if queue is None:
            return
        for exchange in self.exchanges.values():
            exchange.bindings = {binding for binding in exchange.bindings if binding[0] != name}
        for message in queue.ready:
            self.on_change("deleted", name, message)
        for consumer in list(queue.consumers):
            cancelled = getattr(consumer, "cancelled", None)
            if cancelled:
                cancelled()

    def publish(self, message: Message) -> tuple[bool, bool]:
        """Return whether any queue was found, and whether all that were found took the message."""
        names = self._route(message.exchange, message.routing_key)
        taken = [self._enqueue(self.queues[name], message) for name in names]
        return bool(names), all(taken)

    def _route(self, exchange: str, key: str, *, is_last: bool = False) -> list[str]:
        if exchange == "":
            return [key] if key in self.queues and not is_last else []
        found = self.exchanges.get(exchange)
        if found is None:
            return []
        links = found.targets(found.links, key)
        names = {name for name in found.targets(found.bindings, key) if name in self.queues}
        if not names and not links:
            return self._route(str(found.arguments.get("alternate-exchange", "")), key, is_last=True)
        return sorted(names.union(*(self._route(link, key) for link in links)))

    def _enqueue(self, queue: Queue, message: Message) -> bool:
        self.expire(queue)
        if queue.most is not None and len(queue.ready) >= queue.most:
            return False
        times = [int(message.properties.expiration) / 1000] if message.properties.expiration else []
        if "x-message-ttl" in queue.arguments:
            times.append(queue.arguments["x-message-ttl"] / 1000)
        own = Message(message.exchange, message.routing_key, message.body, message.properties)
        own.expires = self.clockwork.now + min(times) if times else None
        queue.ready.append(own)
        self.on_change("enqueued", queue.name, own)
        self.pump(queue)
        return True

    def pump(self, queue: Queue) -> None:
        """Give the consumers what they can take, and look again when the message at the head expires."""
        self.expire(queue)
        for consumer in list(queue.consumers):
            while queue.ready and len(consumer.unacked) < consumer.prefetch:
                message = queue.ready.popleft()
                consumer.unacked[message] = None
                self.on_change("delivered", queue.name, message)
                consumer.take(queue, message)
                self.expire(queue)  # what was behind it, and too old, is at the head now
        if queue.consumers:
            queue.consumers.append(queue.consumers.pop(0))
        self._watch_head(queue)

    def _watch_head(self, queue: Queue) -> None:
        if queue.ready and (expires := queue.ready[0].expires) is not None and expires != queue.looked_at_again:
            queue.looked_at_again = expires
            self.clockwork.at(expires, self._expire_now, queue)

    def _expire_now(self, queue: Queue) -> None:
        if self.queues.get(queue.name) is queue:
            self.expire(queue)

    def expire(self, queue: Queue) -> None:
        """Take from the head what is too old; behind a younger one it stays."""
        while queue.ready and queue.ready[0].expires is not None and queue.ready[0].expires <= self.clockwork.now:
            message = queue.ready.popleft()
            self.on_change("expired", queue.name, message)
            self._dead_letter(queue, message)
        self._watch_head(queue)

    def _dead_letter(self, queue: Queue, message: Message) -> None:
        if "x-dead-letter-routing-key" in queue.arguments:
            properties = BasicProperties(**{**vars(message.properties), "expiration": None})
            key = queue.arguments["x-dead-letter-routing-key"]
            self.publish(Message(queue.arguments["x-dead-letter-exchange"], key, message.body, properties))

    def ack(self, queue: Queue, consumer: Consumer, message: Message) -> None:
        if message in consumer.unacked:
            del consumer.unacked[message]
            self.on_change("acked", queue.name, message)
            self.pump(queue)

    def reject(self, queue: Queue, consumer: Consumer, message: Message) -> None:
        """Drop a message that its consumer does not want."""
        consumer.unacked.pop(message, None)
        self.on_change("rejected", queue.name, message)
        self._dead_letter(queue, message)
        self.pump(queue)

    def leave(self, queue: Queue, consumer: Consumer) -> None:
        """End a consumer; what it did not acknowledge goes back to its place."""
        if consumer in queue.consumers:
            queue.consumers.remove(consumer)
        self.give_back(queue, consumer)

    def give_back(self, queue: Queue, consumer: Consumer) -> None:
        """Take back what a consumer has not acknowledged."""
        limit = queue.arguments.get("x-delivery-limit")
        back = list(consumer.unacked)
        consumer.unacked.clear()
        for message in reversed(back):
            message.returns += 1
            if self.queues.get(queue.name) is not queue:
                self.on_change("deleted", queue.name, message)
            elif limit is not None and message.returns > limit:
                self.on_change("dropped", queue.name, message)
                self._dead_letter(queue, message)
            else:
                queue.ready.appendleft(message)
                self.on_change("returned", queue.name, message)
        if self.queues.get(queue.name) is queue:
            self.pump(queue)
