"""A sample 1C: takes over data; some customers are blocked, and sometimes its first attempt fails."""

from sandbox.systems.loop import Answer, Task, bpmn_error, complete, failure, serve

_RETRY_MILLISECONDS = 1000


def sync_data(task: Task) -> Answer:
    """Takes over a customer's data; the variables say what goes wrong, so that every run is the same."""
    if task.variables.get("customer_blocked"):
        return bpmn_error("CUSTOMER_BLOCKED", "The customer is blocked in 1C")
    if task.variables.get("fails_first") and task.attempt == "first":
        return failure("The 1C database is locked by a backup", retry_timeout=_RETRY_MILLISECONDS)
    return complete(synced=True, sync_attempt=str(task.attempt))


if __name__ == "__main__":
    serve("1c.queue", sync_data)
