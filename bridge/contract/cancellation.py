"""The message that tells a system that one of its tasks needs no answer any more."""

from dataclasses import dataclass
from datetime import UTC, datetime

from bridge.contract.wire import Publication, encode_json


@dataclass(frozen=True, slots=True)
class CancelledTask:
    """A task whose activity was cancelled; `expires_in_ms`: how long that is worth knowing."""

    task_id: str
    topic: str
    process_instance_id: str
    attempt: str
    worker_id: str
    system: str
    expires_in_ms: int


def cancelled_queue(system: str) -> str:
    """Return the queue that tells a system of cancelled tasks; no consumer of its tasks sees it."""
    return f"{system}.cancelled"


def cancellation_message(task: CancelledTask) -> Publication:
    """Return the message, with the ids of the task's own message."""
    now = datetime.now(UTC)
    ids = {
        "task_id": task.task_id,
        "process_instance_id": task.process_instance_id,
        "worker_id": task.worker_id,
        "attempt": task.attempt,
    }
    document = {
        **ids,
        "topic": task.topic,
        "system": task.system,
        "timestamp": now.isoformat(timespec="milliseconds"),
    }
    return Publication(
        exchange="",
        routing_key=cancelled_queue(task.system),
        body=encode_json(document),
        headers={"camunda_topic": task.topic, "target_system": task.system, **ids},
        properties={
            "content_type": "application/json",
            "content_encoding": "utf-8",
            "delivery_mode": 2,
            "correlation_id": task.task_id,
            "message_id": f"{task.task_id}:{task.attempt}",
            "type": "camunda.external-task.cancelled",
            "timestamp": int(now.timestamp()),
            "app_id": task.worker_id,
            "expiration": str(task.expires_in_ms),
        },
    )
