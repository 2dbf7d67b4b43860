"""What the demo did, as the engine's history and an observer of the broker tell it; not the worker's own words."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from statistics import median

from rich.console import Console
from rich.table import Table

from sandbox.engine_api import EngineApi
from sandbox.observer import Observer


@dataclass(frozen=True)
class Case:
    """One instance to start, and the end event at which it should arrive."""

    key: str
    variables: dict[str, object]
    end: str


@dataclass
class Row:
    """One system's share; latencies in milliseconds from the task's creation to its completion."""

    answered: int = 0
    retried: int = 0
    errors: int = 0
    latencies: list[float] = field(default_factory=list)


class Report:
    """Compares what was started with what became of it."""

    def __init__(self, api: EngineApi, observer: Observer, cases: Sequence[Case]) -> None:
        self.cases = cases
        self.instances: list[str] = []
        self._api = api
        self._observer = observer

    def lost(self) -> int:
        """Counts the instances that did not arrive at the end event that they should."""
        ends = {row["processInstanceId"]: row["activityId"] for row in self._ends()}
        pairs = zip(self.instances, self.cases, strict=True)
        return sum(1 for instance, case in pairs if ends.get(instance) != case.end)

    def is_good(self) -> bool:
        """Says whether every instance ended as it should, and no message went out twice."""
        return len(self.instances) == len(self.cases) and not self.lost() and not self._observer.doubled()

    def print(self, console: Console) -> None:
        """Prints a row per system and the totals."""
        table = Table("system", title="What the systems did")
        for title in ("published", "answered", "retried", "BPMN errors", "median ms"):
            table.add_column(title, justify="right")
        rows = self._rows()
        for system, count in sorted(self._observer.published().items()):
            row = rows[system]
            middle = f"{median(row.latencies):.0f}" if row.latencies else "-"
            table.add_row(system, str(count), str(row.answered), str(row.retried), str(row.errors), middle)
        console.print(table)
        lost = self.lost()
        console.print(
            f"instances: {len(self.cases)} started, {len(self.cases) - lost} ended as they should; "
            f"tasks: {lost} lost, {self._observer.doubled()} doubled",
            style="green" if self.is_good() else "red",
            soft_wrap=True,
        )

    def _rows(self) -> dict[str, Row]:
        rows: defaultdict[str, Row] = defaultdict(Row)
        systems = self._observer.system_by_task()
        created: dict[str, datetime] = {}
        for log in self._api.request(
            "GET", "/history/external-task-log", params={"sortBy": "timestamp", "sortOrder": "asc"}
        ):
            task, moment = log["externalTaskId"], datetime.fromisoformat(log["timestamp"])
            row = rows[systems.get(task, "nowhere")]
            if log["creationLog"]:
                created[task] = moment
            elif log["successLog"]:
                row.answered += 1
                row.latencies.append((moment - created[task]).total_seconds() * 1000)
            elif log["failureLog"]:
                row.retried += 1
        for task in self._business_errors():
            row = rows[systems.get(task, "nowhere")]
            row.errors += 1
            row.answered += 1
        return rows

    def _business_errors(self) -> Iterator[str]:
        """Yields the tasks that ended with a BPMN error: the history says so of the boundary event."""
        refused = {row["processInstanceId"] for row in self._ends() if row["activityId"] == "refused"}
        for log in self._api.request("GET", "/history/external-task-log", params={"deletionLog": "true"}):
            if log["processInstanceId"] in refused:
                yield log["externalTaskId"]

    def _ends(self) -> list[dict[str, str]]:
        rows: list[dict[str, str]] = self._api.request(
            "GET", "/history/activity-instance", params={"activityType": "noneEndEvent"}
        )
        return rows
