"""Sends bad answers, each confirmed: `python -m tests.faults.flood HOST VHOST USER TASK PORT COUNT HUGE`."""

import json
import sys
from collections.abc import Iterator

import pika

EXCHANGE, KEY = "camunda.task.responses", "camunda.responses.queue"
HUGE_BYTES = 64_000_000


def reasons(count: int, huge: int) -> dict[str, int]:
    """Return for which reasons the answers are set aside, and how many for each."""
    return {"forged": (count + 1) // 2, "invalid": count // 2, "too_large": huge}


def bodies(task_id: str, count: int, huge: int) -> Iterator[bytes]:
    """Yield answers for another's task and what is no answer, in turn, with huge ones among them."""
    forged = json.dumps({"task_id": task_id, "response_type": "complete"}).encode()
    every = max(1, count // max(1, huge))
    sent_huge = 0
    for number in range(count):
        yield b'{"task_id": [%d' % number if number % 2 else forged
        if number % every == every - 1 and sent_huge < huge:
            sent_huge += 1
            yield b"x" * HUGE_BYTES
    for _ in range(huge - sent_huge):
        yield b"x" * HUGE_BYTES


def main(host: str, vhost: str, user: str, task_id: str, *numbers: str) -> None:
    """Send all of them; the password is the user's name."""
    port, count, huge = map(int, numbers)
    login = pika.PlainCredentials(user, user)
    with pika.BlockingConnection(pika.ConnectionParameters(host, port, vhost, login, heartbeat=0)) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        properties = pika.BasicProperties(user_id=user, delivery_mode=2)
        for body in bodies(task_id, count, huge):
            channel.basic_publish(EXCHANGE, KEY, body, properties)


if __name__ == "__main__":
    main(*sys.argv[1:])
