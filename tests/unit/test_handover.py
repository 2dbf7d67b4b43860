"""Deliveries between the consumer and the pool: each goes to one thread, and none is lost or taken twice."""

import threading
import time
from itertools import chain

from bridge.broker.handover import Handover

PATIENCE_SECONDS = 5.0


def test_what_was_put_before_is_taken_in_its_order() -> None:
    handover: Handover[int] = Handover()
    for number in range(3):
        handover.put(number)

    assert [handover.take() for _ in range(3)] == [0, 1, 2]


def test_the_thread_that_began_to_wait_last_gets_the_next_item() -> None:
    handover: Handover[str] = Handover()
    taken: dict[str, str] = {}
    done = threading.Semaphore(0)

    def take(name: str) -> None:
        taken[name] = handover.take()
        done.release()

    threads = [threading.Thread(target=take, args=(name,)) for name in ("first", "last")]
    for count, thread in enumerate(threads, start=1):
        thread.start()
        wait_until_so_many_wait(handover, count)
    for item in ("a", "b"):
        handover.put(item)
        assert done.acquire(timeout=PATIENCE_SECONDS)

    assert taken == {"last": "a", "first": "b"}


def test_every_item_is_taken_once_by_many_threads_from_many() -> None:
    handover: Handover[int] = Handover()
    taken: list[list[int]] = [[] for _ in range(4)]

    def take(into: list[int]) -> None:
        while (item := handover.take()) >= 0:
            into.append(item)

    takers = [threading.Thread(target=take, args=(into,)) for into in taken]

    def put(first: int) -> None:
        for number in range(first, first + 1000):
            handover.put(number)

    putters = [threading.Thread(target=put, args=(first,)) for first in range(0, 4000, 1000)]
    for thread in (*takers, *putters):
        thread.start()
    for thread in putters:
        thread.join(PATIENCE_SECONDS)
    for _ in takers:
        handover.put(-1)
    for thread in takers:
        thread.join(PATIENCE_SECONDS)

    assert sorted(chain.from_iterable(taken)) == list(range(4000))


def wait_until_so_many_wait(handover: Handover[str], count: int) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while len(handover._waiting) < count and time.monotonic() < deadline:
        time.sleep(0.001)
    assert len(handover._waiting) == count
