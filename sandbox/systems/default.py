"""A sample reader of the default queue: whatever topic no system is known for."""

from sandbox.systems.loop import Answer, Task, complete, serve


def take_note(task: Task) -> Answer:
    """Answers with the topic it saw."""
    return complete(handled_by="default", handled_topic=task.topic)


if __name__ == "__main__":
    serve("default.queue", take_note)
