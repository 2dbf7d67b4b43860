"""From the engine to the queues: what is asked for, what may be fetched now, and the way out."""

from bridge.intake.admission import Admission, Limits
from bridge.intake.backlogs import Backlogs
from bridge.intake.failed_tasks import FailedTasks
from bridge.intake.held_tasks import HeldTask, HeldTasks, MessageRules
from bridge.intake.narrowing import Narrowing
from bridge.intake.odd_names import OddNames
from bridge.intake.outbox import Outbox
from bridge.intake.polls import Polls
from bridge.intake.topics import Topics

__all__ = [
    "Admission",
    "Backlogs",
    "FailedTasks",
    "HeldTask",
    "HeldTasks",
    "Limits",
    "MessageRules",
    "Narrowing",
    "OddNames",
    "Outbox",
    "Polls",
    "Topics",
]
