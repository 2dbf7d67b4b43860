"""Variables that the message names by a URL, and whose name no URL can hold: found by their ids at the engine."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache

from loguru import logger

from bridge import metrics
from bridge.contract import ExternalTask, has_path
from bridge.engine import StoredVariable, StoredVariables
from bridge.errors import Unavailable, Unprocessable
from bridge.routing import Routing

Parents = Callable[[str], Mapping[str, str]]  # the scopes of a process instance, each with the one around it


class OddNames:
    """Looks up the ids of such variables, once for each name in a batch; few tasks have any."""

    def __init__(self, stored_variables: StoredVariables, routing: Routing) -> None:
        self._stored_variables = stored_variables
        self._routing = routing

    def of(self, task: ExternalTask) -> list[str]:
        """Return the names of the variables of a task that need an id."""
        takes_references = self._routing.system_of(task).large_variables == "reference"
        named = task.files + (task.large_variables if takes_references else [])
        return [name for name in named if not has_path(name)]

    def with_ids(self, tasks: Sequence[ExternalTask]) -> list[ExternalTask]:
        """Return the tasks with the ids of these variables, as far as the engine tells them.

        While no engine answers none is returned: their leases end, and they are offered again.
        """
        try:
            for name in dict.fromkeys(name for task in tasks for name in self.of(task)):
                tasks = self._with_id(name, tasks)
        except Unavailable as error:
            self._let_go(tasks, error)
            return []
        return list(tasks)

    def _with_id(self, name: str, tasks: Sequence[ExternalTask]) -> list[ExternalTask]:
        """Return the tasks with the id of one of their variables. Raises Unavailable."""
        instances = sorted({task.process_instance_id for task in tasks if name in task.variables})
        parents = cache(self._stored_variables.parents)
        try:
            stored = self._stored_variables.named(name, instances)
            return [_with_id(task, name, _seen_by(task, stored, parents)) for task in tasks]
        except Unprocessable as error:
            logger.error("messages do not say where variable {!r} is: {}", name, error.detail)
            return list(tasks)

    def _let_go(self, tasks: Iterable[ExternalTask], error: Unavailable) -> None:
        for task in tasks:
            metrics.lapsed(self._routing.system_of(task).name).inc()
            logger.warning("task {} is offered again when its lease ends: {}", task.id, error)


def _with_id(task: ExternalTask, name: str, variable_id: str | None) -> ExternalTask:
    if name not in task.variables:
        return task
    if variable_id is None:
        logger.error("the message of task {} does not say where variable {!r} is: it is not found", task.id, name)
        return task
    return replace(task, variable_ids={**task.variable_ids, name: variable_id})


def _seen_by(task: ExternalTask, stored: Iterable[StoredVariable], parents: Parents) -> str | None:
    """Return the id of the variable in the scope nearest to the task. Raises Unavailable, Unprocessable."""
    by_scope: dict[str, list[str]] = {}
    for variable in stored:
        if variable.process_instance_id == task.process_instance_id:
            by_scope.setdefault(variable.scope, []).append(variable.id)
    scope = str(task.fields.get("activityInstanceId"))
    if len(by_scope) == 1:
        (scope,) = by_scope
    while scope not in by_scope:
        around = parents(task.process_instance_id)
        if scope not in around:
            return None
        scope = around[scope]
    # Each round of a multi-instance may have one in the scope of them all, and which is whose is not told.
    return by_scope[scope][0] if len(by_scope[scope]) == 1 else None
