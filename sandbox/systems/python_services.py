"""A sample of the Python services: sends mail, or rather says so."""

from sandbox.systems.loop import Answer, Task, complete, serve


def send_email(task: Task) -> Answer:
    """Answers to whom a mail would have gone."""
    return complete(email_sent=True, email_recipient=str(task.variables.get("recipient", "nobody@example.com")))


if __name__ == "__main__":
    serve("python-services.queue", send_email, prefetch=10)
