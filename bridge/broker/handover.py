"""Handing deliveries to the threads of a pool, so that each wakes one thread and no more."""

from collections import deque
from threading import Lock
from typing import Generic, TypeVar

from bridge import clock

Item = TypeVar("Item")


class Handover(Generic[Item]):
    """A queue between threads without bounds; the thread that began to wait last gets the next item.

    Its caches and its connection to the engine are the warmest. With `queue.SimpleQueue` all wait for one
    lock, and each that takes an item lets another one look in vain, which costs as much as a small answer.
    """

    def __init__(self) -> None:
        self._lock = clock.Lock()
        self._items: deque[Item] = deque()
        self._waiting: list[Lock] = []

    def put(self, item: Item) -> None:
        """Add an item and wake a thread that waits, if there is one."""
        with self._lock:
            self._items.append(item)
            waiting = self._waiting.pop() if self._waiting else None
        if waiting:
            waiting.release()

    def take(self) -> Item:
        """Return the oldest item; wait until there is one."""
        while True:
            with self._lock:
                if self._items:
                    return self._items.popleft()
                turn = clock.Lock()
                turn.acquire()
                self._waiting.append(turn)
            turn.acquire()  # until an item comes, which a thread that did not wait may take first
