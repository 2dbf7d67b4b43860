"""The systems that work: they take messages, answer once, twice, late or never, fail, reject, and are down."""

import json
from collections import Counter, defaultdict
from collections.abc import Callable
from datetime import datetime
from typing import Any

from pika.spec import BasicProperties

from bridge.contract import RESPONSE_QUEUE
from tests.simulation.amqp import Node
from tests.simulation.broker import Message, Queue
from tests.simulation.engine import EPOCH
from tests.simulation.plan import System as Plan

RETRY_SECONDS = 0.5


def lock_end_of(message: Message) -> float:
    """Return when the lock ends that a task's message tells of, on the virtual clock."""
    text = (message.properties.headers or {})["lock_expires_at"]
    return (datetime.fromisoformat(str(text)) - EPOCH).total_seconds()


class System:
    """One system, a careful one: it works once on what comes twice, and answers again what it answered before."""

    def __init__(self, plan: Plan, node: Node, on_work: Callable[[str, str, float], None]) -> None:
        self.plan = plan
        self.prefetch = plan.prefetch
        self.unacked: dict[Message, None] = {}
        self.is_up = False
        self.up_since = 0.0
        self.answers: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.attempts: Counter[str] = Counter()
        self._unsent: Counter[str] = Counter()
        self._node = node
        self._at = node.clockwork.after
        self._on_work = on_work
        self._queue: Queue | None = None
        self._at_work: dict[str, float] = {}  # message id -> until when its task is locked
        self._answered: dict[str, dict[str, Any]] = {}

    def begin(self) -> None:
        """Connect now, and go and come as planned."""
        if not any(start <= 0.0 for start, _ in self.plan.down):
            self._come()
        for start, end in self.plan.down:
            self._at(start, self._go)
            self._at(end, self._come)

    def _come(self) -> None:
        self.is_up = True
        self.up_since = self._node.clockwork.now
        self.look()

    def _go(self) -> None:
        """Leave; what it works on is forgotten, and what it has not acknowledged goes back."""
        self.is_up = False
        self._at_work.clear()
        if self._queue is not None:
            queue, self._queue = self._queue, None
            self._node.broker.leave(queue, self)

    def look(self) -> None:
        """Subscribe where it is not subscribed: the broker or the queue may have been away."""
        if not self.is_up:
            return
        queue = self._node.broker.queues.get(f"{self.plan.name}.queue")
        if self._node.is_down or self._node.is_frozen or queue is None:
            self._at(RETRY_SECONDS, self.look)
        elif queue is not self._queue:
            if self._queue is not None:
                self._node.broker.leave(self._queue, self)
            self._queue = queue
            queue.consumers.append(self)
            self._node.broker.pump(queue)

    def cancelled(self) -> None:
        """The queue was deleted."""
        self._queue = None
        self._at(RETRY_SECONDS, self.look)

    def disconnected(self) -> None:
        """The broker went away."""
        if self._queue is not None:
            queue, self._queue = self._queue, None
            self._node.broker.leave(queue, self)
        self._at(RETRY_SECONDS, self.look)

    def works_until(self, task_id: str) -> float:
        """Return when the lock ends of a task that it works on."""
        ends = [end for message_id, end in self._at_work.items() if message_id.startswith(f"{task_id}:")]
        return max(ends, default=0.0)

    def has_unsent(self, task_id: str) -> bool:
        """Whether it could not send its answer yet."""
        return self._unsent[task_id] > 0

    def take(self, queue: Queue, message: Message) -> None:
        self._at(self._node.latency(), self._consider, queue, message)

    def _consider(self, queue: Queue, message: Message) -> None:
        if message not in self.unacked:
            return  # it went back meanwhile
        message_id, task_id = message.properties.message_id or "", message.task_id
        if message_id in self._at_work:
            self._node.broker.ack(queue, self, message)
        elif message_id in self._answered:
            self._node.broker.ack(queue, self, message)
            self._send(task_id, self._answered[message_id], lock_end_of(message))
        else:
            self._begin_work(queue, message, message_id, task_id)

    def _begin_work(self, queue: Queue, message: Message, message_id: str, task_id: str) -> None:
        kind = self.plan.answers[min(self.attempts[task_id], len(self.plan.answers) - 1)]
        if kind in ("reject", "requeue"):
            self.attempts[task_id] += 1
            self._on_work(kind, task_id, lock_end_of(message))
            if kind == "reject":
                self._node.broker.reject(queue, self, message)
            else:
                self.unacked.pop(message)
                queue.ready.appendleft(message)
                self._at(RETRY_SECONDS, self._node.broker.pump, queue)
            return
        self.attempts[task_id] += 1
        self._on_work("taken", task_id, lock_end_of(message))
        self._node.broker.ack(queue, self, message)
        if kind == "silence":
            return
        self._at_work[message_id] = lock_end_of(message)
        self._at(self.plan.work, self._answer, message_id, task_id, kind)
        if self.plan.heartbeat:
            self._at(self.plan.heartbeat, self._beat, message_id, task_id)

    def _beat(self, message_id: str, task_id: str) -> None:
        if message_id in self._at_work:
            self._say_alive(message_id, task_id)
            self._at(self.plan.heartbeat, self._beat, message_id, task_id)

    def _say_alive(self, message_id: str, task_id: str) -> None:
        until = self._node.clockwork.now + self.plan.lock
        self._send(task_id, {"response_type": "extend_lock", **self._echo(message_id)}, until)

    def _echo(self, message_id: str) -> dict[str, str]:
        return {"attempt": message_id.rpartition(":")[2]} if self.plan.echoes_attempt else {}

    def _answer(self, message_id: str, task_id: str, kind: str) -> None:
        lock_end = self._at_work.pop(message_id, None)
        if lock_end is None:
            return
        word, _, pause = kind.partition(" ")
        body: dict[str, Any] = {"response_type": word, **self._echo(message_id)}
        if word == "failure":
            body |= {"retry_timeout": int(float(pause) * 1000), "error_message": "it did not work"}
            if kind != self.plan.answers[-1]:
                body["retries"] = (
                    len(self.plan.answers) + 1 - self.attempts[task_id]
                )  # more will come of this task
        elif word == "bpmn_error":
            body["error_code"] = "no"
        if word in ("complete", "bpmn_error"):
            self._answered[message_id] = body
        self._send(task_id, body, lock_end)
        if self.plan.twice:
            self._at(0.01, self._send, task_id, body)
        if self.plan.afterthought:
            self._at(self.plan.afterthought, self._say_alive, message_id, task_id)

    def _send_again(self, task_id: str, body: dict[str, Any], lock_end: float) -> None:
        self._unsent[task_id] -= 1
        self._send(task_id, body, lock_end)

    def _send(self, task_id: str, body: dict[str, Any], lock_end: float = 0.0) -> None:
        """Publish an answer; while the broker takes none, try again."""
        if not self._node.is_well or RESPONSE_QUEUE not in self._node.broker.queues:
            self._unsent[task_id] += 1
            self._at(RETRY_SECONDS, self._send_again, task_id, body, lock_end)
            return
        self.answers[task_id][body["response_type"]] += 1
        self._on_work(f"answers {body['response_type']} for", task_id, lock_end)
        raw = json.dumps({"task_id": task_id, **body}).encode()
        properties = BasicProperties(correlation_id=task_id, user_id=self.plan.name)
        self._node.broker.publish(Message("", RESPONSE_QUEUE, raw, properties))
