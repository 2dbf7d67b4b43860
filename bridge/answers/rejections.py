"""From a rejected message to its task: a failure at once, where else nothing happened until the lock's end."""

import threading

from loguru import logger

from bridge import metrics
from bridge.answers.calls import AnswerCalls
from bridge.answers.side_queues import SideQueues
from bridge.broker import Delivery, RejectedReader
from bridge.contract import RejectedMessage
from bridge.engine import FOR_NOW, Verdict
from bridge.errors import TaskGone, Unavailable, Unprocessable
from bridge.leases import LeaseTable

FREE_AGAIN_SECONDS = 0.1  # another answer of the same process is being applied
AGAIN_SECONDS = 2.0


class Rejections:
    """Fails the tasks whose messages were rejected or given back too often; `work` is the body of its thread."""

    def __init__(
        self,
        reader: RejectedReader,
        calls: AnswerCalls,
        leases: LeaseTable,
        side_queues: SideQueues,
        stopping: threading.Event,
    ) -> None:
        self._reader = reader
        self._calls = calls
        self._leases = leases
        self._side_queues = side_queues
        self._stopping = stopping

    def work(self) -> None:
        """Deal with the messages one by one until the reader is closed."""
        while (delivery := self._reader.take()) is not None:
            self.handle(delivery)

    def handle(self, delivery: Delivery) -> None:
        """Bring one message to its end; left unacknowledged, it comes again."""
        try:
            rejected = RejectedMessage.of(delivery.properties.headers or {}, delivery.correlation_id)
        except Unprocessable as error:
            self._side_queues.set_aside(delivery, error, task_id=None, topic=None)
            return
        if rejected.has_expired or self._has_told(rejected, delivery):
            self._reader.ack(delivery)

    def _has_told(self, rejected: RejectedMessage, delivery: Delivery) -> bool:
        """Tell the engine, however long that takes; False when stopping, or when the broker has it again."""
        while not self._stopping.is_set() and delivery.is_acknowledgeable:
            pause = AGAIN_SECONDS
            try:
                if self._tell(rejected):
                    return True
                pause = FREE_AGAIN_SECONDS
            except TaskGone:
                return True
            except Unavailable as error:
                logger.warning("a rejected message waits: {}", error)
            self._stopping.wait(pause)
        return False

    def _tell(self, rejected: RejectedMessage) -> bool:
        """Fail the task; False where an answer of its process is being applied. Raises TaskGone, Unavailable."""
        with self._leases.answering(rejected.task, lambda: None) as is_free:
            if not is_free:
                return False
            told = self._calls.report_failure(
                rejected.task, lambda system: rejected.told_of(system.name), costs_retry=rejected.costs_retry
            )
        if told.verdict in FOR_NOW:
            raise Unavailable(told.detail)
        if told.verdict is Verdict.ACCEPTED:
            system = self._calls.system_of(rejected.task.task_id).name
            metrics.rejected(system, rejected.reason).inc()
            logger.error("task {}: {}", rejected.task.task_id, rejected.told_of(system))
        return True
