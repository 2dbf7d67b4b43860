"""A sample Bitrix24: makes tasks, and is a little slow at it."""

from sandbox.systems.loop import Answer, Task, complete, serve

_WORK_SECONDS = 0.1


def create_task(task: Task) -> Answer:
    """Makes a task of a title and answers with its number."""
    task.pause(_WORK_SECONDS)
    title = str(task.variables.get("title", "untitled"))
    return complete(bitrix_task_id=len(title) * 1000, bitrix_task_title=title)


if __name__ == "__main__":
    serve("bitrix24.queue", create_task)
