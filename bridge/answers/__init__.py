"""From the queues to the engine: what a response means there, and where it goes that cannot be applied now."""

from bridge.answers.calls import AnswerCalls
from bridge.answers.circuit_breaker import CircuitBreaker
from bridge.answers.in_vain import InVain
from bridge.answers.rejections import Rejections
from bridge.answers.side_queues import SECOND_TIER, SLOW_TIER, TIERS, UNKNOWN, Originals, SideQueues, tier_of

__all__ = [
    "SECOND_TIER",
    "SLOW_TIER",
    "TIERS",
    "UNKNOWN",
    "AnswerCalls",
    "CircuitBreaker",
    "InVain",
    "Originals",
    "Rejections",
    "SideQueues",
    "tier_of",
]
