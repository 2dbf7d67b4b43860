"""The tasks in flight: leases made into full locks, second publications avoided, silence reported.

Only a cache: the engine and the broker are the store. A lease is the short lock that a task is fetched with;
a little after its message is confirmed it is extended to the full lock of its system, unless an answer came
first. Deadlines count on the monotonic clock from the moment a request was sent; moments at the engine are
compared only with moments at the engine.
"""

from bridge.leases.cancellations import Cancellations
from bridge.leases.extension import Extension
from bridge.leases.keeper import LeaseKeeper
from bridge.leases.lease import Lease
from bridge.leases.rules import STALE_SECONDS, LeaseRules, retry_policy
from bridge.leases.silence import Silence
from bridge.leases.table import LeaseTable

__all__ = [
    "STALE_SECONDS",
    "Cancellations",
    "Extension",
    "Lease",
    "LeaseKeeper",
    "LeaseRules",
    "LeaseTable",
    "Silence",
    "retry_policy",
]
