"""From the queues to the engine: what a response means there, and where it goes that cannot be applied now."""

from bridge.answers.calls import AnswerCalls, CallRules
from bridge.answers.circuit_breaker import CircuitBreaker
from bridge.answers.in_vain import InVain
from bridge.answers.side_queues import SECOND_TIER, SLOW_TIER, TIERS, UNKNOWN, SideQueues, tier_of

__all__ = [
    "SECOND_TIER",
    "SLOW_TIER",
    "TIERS",
    "UNKNOWN",
    "AnswerCalls",
    "CallRules",
    "CircuitBreaker",
    "InVain",
    "SideQueues",
    "tier_of",
]
