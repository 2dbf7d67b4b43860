"""A sample OpenProject: opens projects."""

from sandbox.systems.loop import Answer, Task, complete, serve


def create_project(task: Task) -> Answer:
    """Opens a project and answers with its identifier and its members."""
    name = str(task.variables.get("title", "project"))
    identifier = name.lower().replace(" ", "-")
    return complete(project_identifier=identifier, project_members=["anna", "boris"])


if __name__ == "__main__":
    serve("openproject.queue", create_project)
