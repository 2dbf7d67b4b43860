"""The time and whatever waits for it: the only door to both, so that a simulation can bring a world of its own.

Names are looked up at each use (`clock.now()`), never imported one by one.
"""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue

__all__ = ["BoundedSemaphore", "Condition", "Event", "Lock", "RLock", "SimpleQueue", "ThreadPoolExecutor", "now"]

now = time.monotonic  # seconds; only differences mean anything
Event = threading.Event
Lock = threading.Lock
RLock = threading.RLock
Condition = threading.Condition
BoundedSemaphore = threading.BoundedSemaphore
