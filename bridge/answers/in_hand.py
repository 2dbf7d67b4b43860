"""The answers that wait in this process: delivered by the broker, and not applied yet."""

from bridge.broker import Consumer
from bridge.contract import named_task


class AnswersInHand:
    """Says of which tasks an answer waits here; `consumer` is None in a process that reads none."""

    def __init__(self, consumer: Consumer | None) -> None:
        self._consumer = consumer

    def has(self, task_id: str) -> bool:
        """Whether an answer for this task waits. From any thread."""
        deliveries = self._consumer.messages_in_hand() if self._consumer else []
        named = (named_task(delivery.body, delivery.correlation_id) for delivery in deliveries)
        return any(one is not None and one.task_id == task_id for one in named)
